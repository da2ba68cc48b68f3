"""What a user implements: the time step, its adjoint, the objective; and the problem they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any

import numpy as np

from pint.comm import private
from pint.controls import ControlField, ControlSpace, Regulariser, SharedControl, TimeControl
from pint.controls.fields import check_field_name
from pint.errors import check_methods, integer, overrides
from pint.grid import Runs, Steps, TimeGrid
from pint.states import StateSpace, Transfer, space_like
from pint.states.slopes import central_slope, complex_slope, is_analytic
from pint.tangent import Tangent

Fields = Mapping[str, Any]
"""Control values, or derivatives with respect to them, by field name."""


class TimeStepper(ABC):
    r"""The one-step map of the state equation, ``y_{n+1} = Phi_n(y_n, u_n, theta)``.

    Attributes
    ----------
    batched : bool
        Whether `step` advances B independent steps at once: states have shape (B, \*shape),
        blocks of u (B, \*field shape), ``s.t0``, ``s.t1``, ``s.dt`` (B, 1, ..., 1).
        Otherwise `step` makes one step a call, and these are one state, one block, and floats.
    in_place : bool
        Whether `step` takes ``out=``, as the functions of numpy do.
    uses_guess : bool
        Whether `step` reads ``s.guess``, because it solves its equation iteratively.
    initial_state : array_like
        y_0, where it does not depend on theta.
    kept_shape : tuple of int or None
        Shape of the array that one step can keep for its transposes in ``s.kept``.
    host_times : bool
        Whether indices and times of steps are arrays of numpy where states are tensors, too: for
        steps that pass their sizes on as plain numbers.
    kept_type : type
        Of the array's entries: float, or object, for example for graphs of automatic
        differentiation, whose own memory is not limited by ``kept_bytes``.
    """

    batched: bool = False
    in_place: bool = False
    uses_guess: bool = False
    initial_state: Any
    host_times: bool = False
    kept_shape: tuple[int, ...] | None = None
    kept_type: type = float

    @property
    def space(self) -> StateSpace:
        """The space of the states; by default arrays of shape and precision of `initial_state`."""
        return space_like(self)

    @abstractmethod
    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        """Return the state at ``s.t1`` that follows from `y` at ``s.t0``.

        Never changes its arguments. It must accept the step size of every level of the grid.

        Parameters
        ----------
        s : Steps
            Which step or steps, and their times. If ``s.kept`` is not None, the step may write
            there what its transposes need. If ``s.guess`` is not None, it is near the result.
        y : state, or batch of states
        u : mapping of str to array
            The block of each time-dependent field that belongs to the step.
        theta : mapping of str to array
            The shared fields.
        out : state, or batch of states, optional
            Only with `in_place`: the step writes its result there, and returns it. `out` shares
            memory with no argument but ``s.guess``.

        Raises
        ------
        NumericalError
            Where its equation cannot be solved. The result then counts as NaN, that of the whole
            batch if steps are batched: a line search shortens its step, and a first solve ends
            with the message on every rank. The same holds for all methods of a problem.
        """

    def advance(
        self, s: Runs, start: Any, u: Fields, theta: Fields, out: Any, rhs: Any = None
    ) -> None:
        """Take runs of steps, each step from the result of the one before, in place.

        Define it, for `batched` steps and states that are numpy arrays, if one call for many
        steps is much cheaper than a call for each. All blocks ascend in time, and have a row for
        each row of `s`; rows that are in no run are neither read nor written.

        Parameters
        ----------
        s : Runs
        start : batch of states
            Where each run begins.
        u, theta
            As in `step`.
        out : batch of states
            For the results; of one row, if there is one run, for the last result alone.
        rhs : batch of states, optional
            Added to each result, before the next step begins there.
        """
        raise NotImplementedError

    def initial(self, theta: Fields) -> Any:
        """Return y_0(theta); by default `initial_state`, as an array if it is a list or number."""
        state = self.initial_state
        return state if hasattr(state, "shape") else np.asarray(state, dtype=float)

    def coarsen(self, level: int) -> TimeStepper:
        """Return the stepper of a coarser level; by default this one, with the larger step.

        Its `space` may be another one, as that of a coarser mesh, if `transfer` says how states
        get there. Its steps are given the control of level 0 all the same.
        """
        return self

    def tangent(self) -> Tangent | None:
        """Return the derivatives of the steps along directions, for a `Problem` without one.

        By default None: they are then taken numerically.
        """
        return None

    def transfer(self, level: int) -> Transfer | None:
        """Return how states go from ``level - 1`` to `level`, and corrections back.

        By default None: the stepper of `level`, from `coarsen`, has the states of the one before.
        Only the stepper of level 0 is asked.
        """
        return None


class Adjoint(ABC):
    """The transposes of the derivatives of one `TimeStepper`; batched like it.

    Attributes
    ----------
    in_place : bool
        Whether `vjp`, and `step` if it is defined, take ``out=`` for ``Phi_y^T lam``.
    leaves_out : bool
        Whether `vjp` also takes ``out=False``: it may then return None in place of
        ``Phi_y^T lam``. This pays if that product is a large part of the cost, and `step` is
        defined, too.
    """

    in_place: bool = False
    leaves_out: bool = False

    @abstractmethod
    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        """Return ``Phi_y^T lam``, ``Phi_u^T lam`` and ``Phi_theta^T lam``.

        Phi is linearised at (y, u, theta), y being the state at ``s.t0``. Never changes its
        arguments.

        Parameters
        ----------
        s, y, u, theta
            As in `TimeStepper.step`. If ``s.kept`` is not None, it holds what the step kept. If
            ``s.guess`` is not None, it is near the state at ``s.t1``.
        lam : state, or batch of states
            The adjoint at ``s.t1``.
        out : state, or batch of states, optional
            Only with `in_place`: the method writes ``Phi_y^T lam`` there, and returns it first.

        Returns
        -------
        dy : state, or batch of states
        du : mapping of str to array
            By time-dependent field; with a leading axis of length B for a batch. A field left
            out has derivative zero.
        dtheta : mapping of str to array
            By shared field; summed over a batch. A field left out has derivative zero.
        """

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        """Return ``Phi_y^T lam`` alone; define it if that is cheaper than `vjp`.

        With `in_place` a step that is defined takes ``out=``, too.
        """
        return self.vjp(s, y, u, theta, lam)[0]

    def advance(
        self,
        s: Runs,
        y: Any,
        u: Fields,
        theta: Fields,
        start: Any,
        out: Any,
        rhs: Any = None,
        into: tuple[Fields, Fields] | None = None,
    ) -> None:
        """Take runs of transposed steps, from the end of each run to its beginning, in place.

        As `TimeStepper.advance`, which the stepper then defines, too. Row i of `y` is the state
        where step i begins, `start` the adjoint at the end of each run, row i of `out` the adjoint
        where step i begins. With `into`, places for the time-dependent and for the shared fields,
        the derivatives with respect to the control are added there.
        """
        raise NotImplementedError

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing depends on theta."""
        return {}

    def coarsen(self, level: int) -> Adjoint:
        """Return the adjoint of the stepper of a coarser level; by default this one."""
        return self


class Objective(ABC):
    """The cost ``F(sum_n l_n(y_n, y_{n+1}, u_n, theta) + psi(y_N, theta))``.

    Implement the step cost l, the terminal cost psi, or both, each with its derivative: a `Problem`
    insists on that. Step costs and their derivatives take and return batches as the stepper of the
    problem does.
    """

    @property
    def has_outer(self) -> bool:
        """Whether the class defines `outer`."""
        return overrides(self, Objective, "outer")

    @property
    def has_step_cost(self) -> bool:
        """Whether the class defines `step_cost`."""
        return overrides(self, Objective, "step_cost")

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return l of one step, or of each step of a batch, shape (B,)."""
        return 0.0

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        """Return the derivatives of l with respect to y0, y1, u and theta.

        The last two as in `Adjoint.vjp`: by field name, the last one summed over a batch. The
        first two may be the number 0.0 where l does not depend on the state.
        """
        raise TypeError(f"{type(self).__name__} defines `step_cost` but not its derivative.")

    def add_step_cost_derivative(
        self,
        s: Steps,
        y0: Any,
        y1: Any,
        u: Fields,
        theta: Fields,
        scale: float,
        dy0: Any,
        dy1: Any,
        into: tuple[Fields, Fields],
    ) -> None:
        """Add what `step_cost_derivative` returns, times `scale`, where it belongs, in place.

        Define it, beside that method, if it is much cheaper. `dy0` and `dy1` may share memory:
        they are rows of one block, one row apart.
        """
        raise NotImplementedError

    @property
    def has_hessian(self) -> bool:
        """Whether the class defines `step_cost_hessian` and `terminal_hessian`."""
        names = ("step_cost_hessian", "terminal_hessian")
        return all(overrides(self, Objective, name) for name in names)

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return the second derivatives of l of each step of a batch, shape (B, k, k).

        The k numbers are those of y0, y1, the blocks of u and theta, one after the other, in the
        order of the mappings. Optional, for batched steps: `GaussNewton` takes differences of
        `step_cost_derivative` otherwise.
        """
        raise NotImplementedError

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        """Return the second derivatives of psi in the numbers of y_N and theta."""
        raise NotImplementedError

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi(y_N, theta)."""
        return 0.0

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi with respect to y_N and to theta by field name.

        The first one may be the number 0.0.
        """
        return 0.0, {}

    def outer(self, value: float) -> float:
        """Return F(value); by default the value itself."""
        return value

    def outer_derivative(self, value: float) -> float:
        """Return F'(value)."""
        return 1.0


class Examples(ABC):
    """The examples over which a cost is the mean; the cost takes one batch of them at a time.

    Before the first selection these are the first `batch_size` ones. A functional selects its own
    again where another functional of the problem has selected others.

    Attributes
    ----------
    count : int
        Number of all examples.
    batch_size : int
        Most examples of a batch.
    selected_by : object
        The selection of a functional that is in force: not for users.
    """

    count: int
    batch_size: int
    selected_by: object = None

    @abstractmethod
    def select(self, indices: np.ndarray) -> None:
        """Make the cost the mean over some examples, in place: stepper and objective change.

        Every rank is given the same indices, at least one and at most `batch_size` of them.
        """


class DifferenceAdjoint(Adjoint):
    """The transposes of a stepper by differentiating its step numerically: for trying out.

    Each entry of the state, of the control block and of the shared fields costs a step for each
    `vjp`: by a complex step of 1e-30, exact to rounding, where the step accepts complex numbers;
    else by central differences, with errors of about 1e-9. The first call finds out which, for
    the state and for each field. Write the transposes, or let SymPy derive them
    (`pint.steppers.SympyODE`), once the problem works.

    Parameters
    ----------
    stepper : TimeStepper
        With states that are numpy arrays.
    """

    def __init__(self, stepper: TimeStepper) -> None:
        self.stepper = stepper
        self._is_analytic: dict[tuple[str, str], bool] = {}

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        if not isinstance(y, (np.ndarray, np.generic, float)):
            raise TypeError(
                f"`Problem(adjoint=None)` needs states that are numpy arrays, got "
                f"{type(y).__name__}: write an Adjoint for them."
            )
        s, lead = s._replace(kept=None), 1 if self.stepper.batched else 0
        at: dict[tuple[str, str], Any] = {("y", ""): y}
        at |= {("u", name): block for name, block in u.items()}
        at |= {("theta", name): block for name, block in theta.items()}

        def step(at: Mapping[tuple[str, str], Any]) -> Any:
            blocks = {name: at["u", name] for name in u}
            return self.stepper.step(
                s, at["y", ""], blocks, {name: at["theta", name] for name in theta}
            )

        return (
            self._products(step, at, ("y", ""), lam, lead),
            {name: self._products(step, at, ("u", name), lam, lead) for name in u},
            {name: self._products(step, at, ("theta", name), lam) for name in theta},
        )

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        at = {("initial", name): block for name, block in theta.items()}

        def initial(at: Mapping[tuple[str, str], Any]) -> Any:
            return self.stepper.initial({name: at["initial", name] for name in theta})

        return {name: self._products(initial, at, ("initial", name), lam0) for name in theta}

    def coarsen(self, level: int) -> Adjoint:
        return DifferenceAdjoint(self.stepper.coarsen(level))

    def _products(
        self, function: Any, at: Mapping[tuple[str, str], Any], key: Any, lam: Any, lead: int = 0
    ) -> np.ndarray:
        """Return ``<lam, derivative>`` for each entry of an argument.

        Its first `lead` axes, 0 or 1, are the steps of a batch, which do not depend on each other.
        """
        if key not in self._is_analytic:
            self._is_analytic[key] = is_analytic(function, at, key)
        result = np.empty(np.shape(at[key]))
        for place in np.ndindex(result.shape[lead:]):
            direction = np.zeros(result.shape)
            direction[(..., *place)] = 1.0
            slope = None
            if self._is_analytic[key]:
                slope = complex_slope(function, at, key, direction)
            if slope is None:
                slope = central_slope(function, at, key, direction)
            result[(..., *place)] = (lam * slope).sum(axis=tuple(range(lead, np.ndim(lam))))
        return result


def _frozen(controls: Any) -> Mapping[str, ControlField]:
    """Return a user's fields as a read-only mapping, or raise TypeError."""
    if not isinstance(controls, Mapping):
        raise TypeError(
            "`Problem(controls=...)` must map names to TimeControl or SharedControl, "
            f'e.g. {{"u": pint.TimeControl(1)}}, got {type(controls).__name__}.'
        )
    for name, one in controls.items():
        check_field_name("Problem(controls=...)", name)
        if not isinstance(one, (TimeControl, SharedControl)):
            raise TypeError(
                f"`Problem(controls=...)`: `{name}` must be a TimeControl or a SharedControl, "
                f"got {type(one).__name__}."
            )
    return MappingProxyType(dict(controls))


@dataclass(frozen=True)
class Problem:
    """A time-dependent optimal-control problem, apart from its time grid.

    Minimise ``F(sum_n l_n + psi) + R`` over the control, subject to
    ``y_0 = y_0(theta)``, ``y_{n+1} = Phi_n(y_n, u_n, theta)`` and the bounds.

    Parameters
    ----------
    stepper : TimeStepper
    adjoint : Adjoint or None
        None differentiates the steps numerically, for trying out: see `DifferenceAdjoint`.
    objective : Objective
    controls : mapping of str to TimeControl or SharedControl
        The fields of the control by name.
    regularisers : iterable of Regulariser
    examples : Examples, optional
        Where the cost is the mean over a batch of examples.
    comm : communicator, optional
        The ranks among which the examples are divided, so that each of them contributes a part of
        the derivative: see `ControlSpace`.
    tangent : Tangent, optional
        By default that of the stepper, ``stepper.tangent()``. Where there is none, steps are
        differentiated numerically in the first of these ways that is possible: by a complex step,
        exact to rounding; for states of up to 16 numbers by transposing `Adjoint.vjp`, exact too,
        with differences for shared fields; by central differences, with errors of about 1e-9.

    Notes
    -----
    `ReducedFunctional` compares the public attributes of the user's objects on all ranks in time:
    arrays and real numbers that differ are an error, other attributes a warning. A class whose
    objects may differ names these attributes in a tuple `may_differ`; names that begin with an
    underscore are not compared.

    Raises
    ------
    TypeError
        If a part is not an instance of its interface, or lacks a method that it needs: the
        derivative of a cost, or the cost of a derivative; the message names it.
    ValueError
        If a field has a name that cannot be one.
    """

    stepper: TimeStepper
    adjoint: Adjoint
    objective: Objective
    controls: Mapping[str, ControlField] = field(default_factory=dict)
    regularisers: Sequence[Regulariser] = ()
    examples: Examples | None = None
    comm: Any = None
    tangent: Tangent | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stepper, TimeGrid):
            raise TypeError(
                "`Problem(stepper=...)` must be a TimeStepper, got TimeGrid: a problem has no "
                "grid; give it to `pint.ReducedFunctional(problem, grid)`."
            )
        if self.adjoint is None and isinstance(self.stepper, TimeStepper):
            object.__setattr__(self, "adjoint", DifferenceAdjoint(self.stepper))
        kinds = {"stepper": TimeStepper, "adjoint": Adjoint, "objective": Objective}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"`Problem({name}=...)` must be a {kind.__name__}, "
                    f"got {type(getattr(self, name)).__name__}."
                )
        if not isinstance(self.tangent, (Tangent, NoneType)):
            raise TypeError(
                f"`Problem(tangent=...)` must be a Tangent, got {type(self.tangent).__name__}."
            )
        pairs = {name: f"{name}_derivative" for name in ("step_cost", "terminal", "outer")}
        check_methods(self.objective, Objective, pairs, ["step_cost", "terminal"])
        object.__setattr__(self, "controls", _frozen(self.controls))
        terms: Any = self.regularisers
        if not isinstance(terms, Iterable):
            raise TypeError(
                "`Problem(regularisers=...)` must be a sequence of Regulariser, "
                f"got a {type(terms).__name__}."
            )
        object.__setattr__(self, "regularisers", tuple(terms))
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
        if self.examples is not None:
            for name in ("count", "batch_size"):
                integer(type(self.examples).__name__, name, getattr(self.examples, name, None), 1)
        if not isinstance(self.space, StateSpace):
            raise TypeError(f"`{type(self.stepper).__name__}.space` must be a StateSpace.")
        if self.comm is not None:
            object.__setattr__(self, "comm", private(self.comm, "Problem(comm=...)"))
        if np.dtype(getattr(self.space, "dtype", float)).kind == "c":
            raise TypeError(
                f"`{type(self.stepper).__name__}.space` must be one of real numbers, got complex "
                "ones: make a state of real and imaginary parts."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # The mapping of the fields is a read-only view, which can be neither copied nor pickled.
        parts = (self.stepper, self.adjoint, self.objective)
        rest = (self.regularisers, self.examples, self.comm, self.tangent)
        return Problem, (*parts, dict(self.controls), *rest)

    @property
    def space(self) -> StateSpace:
        """The space of the states."""
        return self.stepper.space

    def control_space(self, grid: TimeGrid) -> ControlSpace:
        """Return the space of the controls on a time grid."""
        return ControlSpace(grid, self.comm, **self.controls)
