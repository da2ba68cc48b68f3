"""A problem: the parts that a user implements or chooses, put together and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any

import numpy as np

from pint.comm import private
from pint.controls import ControlField, ControlSpace, Regulariser, SharedControl, TimeControl
from pint.controls.fields import check_field_name
from pint.errors import check_methods, integer
from pint.grid import TimeGrid
from pint.interface.adjoint import Adjoint
from pint.interface.differences import DifferenceAdjoint
from pint.interface.examples import Examples
from pint.interface.objective import Objective
from pint.interface.stepper import TimeStepper
from pint.interface.tangent import Tangent
from pint.states import StateSpace


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
