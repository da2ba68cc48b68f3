"""What a user implements: the time step, its adjoint, the objective, regularisers, the problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from pint.controls import ControlSpace, Regulariser
from pint.grid import Steps, TimeGrid
from pint.states import ArraySpace, StateSpace

Fields = Mapping[str, Any]
"""Control values, or derivatives with respect to them, by field name."""


class TimeStepper(ABC):
    r"""The one-step map of the state equation, ``y_{n+1} = Phi_n(y_n, u_n, theta)``.

    Attributes
    ----------
    batched : bool
        Whether `step` advances B independent steps at once: states have shape (B, \*shape),
        blocks of u (B, \*field shape), ``s.t0``, ``s.t1``, ``s.dt`` (B, 1, ..., 1).
        Otherwise one step is made a call, and these are one state, one block, and floats.
    initial_state : array_like
        y_0, where it does not depend on theta.
    kept_shape : tuple of int or None
        Shape of the float64 array that one step can keep for its transposes in ``s.kept``.
    """

    batched: bool = False
    initial_state: Any
    kept_shape: tuple[int, ...] | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Let a class that defines `step` anew inherit no `step_into` of the step before it."""
        super().__init_subclass__(**keywords)
        if "step" in vars(cls) and "step_into" not in vars(cls):
            cls.step_into = TimeStepper.step_into  # type: ignore[method-assign]

    @property
    def space(self) -> StateSpace:
        """The states' space; by default arrays of the shape of `initial_state`."""
        return ArraySpace(np.shape(self.initial_state))

    @abstractmethod
    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, *, guess: Any = None) -> Any:
        """Return the state at ``s.t1`` that follows from `y` at ``s.t0``.

        Never changes its arguments. Any step size of the grid's levels may be asked for.

        Parameters
        ----------
        s : Steps
            Which step or steps, and their times.
        y : state, or batch of states
        u : mapping of str to array
            The block of each time-dependent field that belongs to the step.
        theta : mapping of str to array
            The shared fields.
        guess : state, optional
            Something near the result, for iterative solvers.
        """

    def step_into(self, out: Any, s: Steps, y: Any, u: Fields, theta: Fields) -> None:
        """Write the result of `step` to `out`, which overlaps no argument, in place.

        To be defined, beside `step`, where that saves a copy.
        """
        out[...] = checked(self.step(s, y, u, theta), out, self, "step")

    def initial(self, theta: Fields) -> Any:
        """Return y_0(theta); by default `initial_state`, as an array if it is a list or number."""
        state = self.initial_state
        return state if hasattr(state, "shape") else np.asarray(state, dtype=float)

    def coarsen(self, level: int) -> TimeStepper:
        """Return the stepper of a coarser level; by default this one, with the larger step."""
        return self


class Adjoint(ABC):
    """Transposes of the derivatives of one `TimeStepper`; batched like it.

    Attributes
    ----------
    derivative_from_kept : bool
        Whether `control_derivative` evaluates nothing where ``s.kept`` is there, so that steps
        made one by one had better leave it to batches.
    """

    derivative_from_kept = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Let a class with new transposes inherit no combinations of those before them."""
        super().__init_subclass__(**keywords)
        new = vars(cls)
        if "step" in new and "step_into" not in new:
            cls.step_into = Adjoint.step_into  # type: ignore[method-assign]
        if ("step" in new or "control_derivative" in new) and "step_with_derivative" not in new:
            cls.step_with_derivative = Adjoint.step_with_derivative  # type: ignore[method-assign]

    @property
    def combines(self) -> bool:
        """Whether the class defines `step_with_derivative`."""
        return type(self).step_with_derivative is not Adjoint.step_with_derivative

    @abstractmethod
    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        """Return ``(dPhi/dy)^T lam``, Phi linearised at (y, u, theta); y is the state at ``s.t0``.

        Never changes its arguments.
        """

    @abstractmethod
    def control_derivative(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Fields, Fields]:
        """Return ``(dPhi/du)^T lam`` and ``(dPhi/dtheta)^T lam`` by field name.

        For a batch the first has a leading axis of length B, the second is the sum over the
        batch. A field left out has derivative zero.
        """

    def step_into(self, out: Any, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> None:
        """Write the result of `step` to `out`, which overlaps no argument, in place."""
        out[...] = checked(self.step(s, y, u, theta, lam), out, self, "step")

    def step_with_derivative(
        self, out: Any, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Fields, Fields]:
        """Do as `step_into`, and return what `control_derivative` returns.

        To be defined where both have much in common.
        """
        self.step_into(out, s, y, u, theta, lam)
        return self.control_derivative(s, y, u, theta, lam)

    def initial_derivative(self, theta: Fields, lam0: Any) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing depends on theta."""
        return {}

    def coarsen(self, level: int) -> Adjoint:
        """Return the adjoint of the stepper of a coarser level; by default this one."""
        return self


class Objective(ABC):
    """The cost ``F(sum_n l_n(y_n, y_{n+1}, u_n, theta) + psi(y_N, theta))``.

    Implement the step cost l, the terminal cost psi, or both, each with its derivative. Step
    costs and their derivatives take and return batches as the problem's stepper does.
    """

    @property
    def has_outer(self) -> bool:
        """Whether the class defines `outer`."""
        return type(self).outer is not Objective.outer

    @property
    def has_step_cost(self) -> bool:
        """Whether the class defines `step_cost`."""
        return type(self).step_cost is not Objective.step_cost

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return l of one step, or of each step of a batch, shape (B,)."""
        return 0.0

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        """Return the derivatives of l with respect to y0, y1, u and theta.

        Conventions of `Adjoint.control_derivative`: the last is summed over a batch. The first
        two may be the number 0.0.
        """
        raise TypeError(f"{type(self).__name__} defines `step_cost` but not its derivative.")

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi(y_N, theta)."""
        return 0.0

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi with respect to y_N and to theta by field name."""
        return 0.0 * y, {}

    def outer(self, value: float) -> float:
        """Return F(value); by default the value itself."""
        return value

    def outer_derivative(self, value: float) -> float:
        """Return F'(value)."""
        return 1.0


class Examples(ABC):
    """The examples over which a cost is the mean, of which it takes a batch at a time.

    Attributes
    ----------
    count : int
        Number of all examples.
    batch_size : int
        Most examples of a batch.
    """

    count: int
    batch_size: int

    @abstractmethod
    def select(self, indices: np.ndarray) -> None:
        """Make the cost the mean over some examples, in place: stepper and objective change.

        Every rank is given the same indices, at least one and at most `batch_size` of them.
        """


def checked(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Return a user's result if it has the shape of `expected`, or raise ValueError."""
    if getattr(result, "shape", ()) != expected.shape:
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return an array of shape {expected.shape}, "
            f"got {getattr(result, 'shape', type(result).__name__)}."
        )
    return result


@dataclass(frozen=True)
class Problem:
    """A time-dependent optimal-control problem.

    Minimise ``F(sum_n l_n + psi) + R`` over the control, subject to
    ``y_0 = y_0(theta)``, ``y_{n+1} = Phi_n(y_n, u_n, theta)`` and the bounds.

    Parameters
    ----------
    grid : TimeGrid
    stepper : TimeStepper
    adjoint : Adjoint
    objective : Objective
    controls : ControlSpace
        Made with the same grid.
    regularisers : sequence of Regulariser
    examples : Examples, optional
        Where the cost is the mean over a batch of examples.

    Raises
    ------
    TypeError
        If a part is not an instance of its interface; the message names it.
    ValueError
        If `controls` belongs to another grid.
    """

    grid: TimeGrid
    stepper: TimeStepper
    adjoint: Adjoint
    objective: Objective
    controls: ControlSpace
    regularisers: Sequence[Regulariser] = ()
    examples: Examples | None = None

    def __post_init__(self) -> None:
        kinds = {
            "grid": TimeGrid,
            "stepper": TimeStepper,
            "adjoint": Adjoint,
            "objective": Objective,
            "controls": ControlSpace,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"`Problem({name}=...)` must be a {kind.__name__}, "
                    f"got {type(getattr(self, name)).__name__}."
                )
        for regulariser in self.regularisers:
            if not isinstance(regulariser, Regulariser):
                raise TypeError(
                    "`Problem(regularisers=...)` must be a sequence of Regulariser, "
                    f"got a {type(regulariser).__name__}."
                )
        if not isinstance(self.examples, (Examples, NoneType)):
            raise TypeError(
                f"`Problem(examples=...)` must be an Examples, got {type(self.examples).__name__}."
            )
        if self.controls.grid is not self.grid:
            raise ValueError("`Problem(controls=...)` was made with another grid than `grid`.")
        if not isinstance(self.space, StateSpace):
            raise TypeError(f"`{type(self.stepper).__name__}.space` must be a StateSpace.")

    @property
    def space(self) -> StateSpace:
        """The states' space."""
        return self.stepper.space
