"""Gradients of batches by MGRIT cycles, a fixed number of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pint.comm import reduce
from pint.controls import Control
from pint.mgrit import Accuracy
from pint.optimise.point import Point

LARGE = 0.05
"""Residual of the states, relative to them, from which on a fixed number of cycles is doubtful."""

WATCHED = 10
"""Updates between two looks at this residual."""


class Gradients(ABC):
    """Solves state and adjoint of a batch, from the first guess. Methods are collective.

    Attributes
    ----------
    name : str
        Tells one way from the other.
    used : int
        Cycles of the last gradient; 0 for sequential steps.
    """

    name: str
    used: int

    @abstractmethod
    def solve(self, point: Point, control: Control, update: int, examples: int) -> None:
        """Move to `control`, in place: state, objective, adjoint, gradient and its error.

        `update` is the number of the update, `examples` those of the batch.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a restart needs."""

    @abstractmethod
    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What the run should say of its cycles; empty if nothing."""


def solve_cycles(point: Point, control: Control, cycles: int) -> None:
    """Solve state and adjoint from the first guess, in place; 0 cycles are sequential steps.

    Collective.
    """
    point.forget()  # states of other examples are no better than a first guess
    if cycles == 0:
        point.solve_exactly(control)
        return
    point.solve_state(control, Accuracy(cycles))
    point.solve_adjoint(Accuracy(cycles))


class Fixed(Gradients):
    """The same number of cycles for each batch; a warning where they leave large residuals."""

    def __init__(self, cycles: int) -> None:
        self.name, self.used, self.warned = f"{cycles} cycles", cycles, False

    def solve(self, point: Point, control: Control, update: int, examples: int) -> None:
        solve_cycles(point, control, self.used)
        point.note_exactness()
        convergence = point.state.convergence
        if convergence is None or not convergence.residuals or update % WATCHED or self.warned:
            return
        norm = _norm_of_states(point)
        if convergence.residual > LARGE * norm > 0:
            self.warned, relative = True, convergence.residual / norm
            point.functional.solves.warn(
                f"`Stochastic(cycles={self.used})`: at update {update} the residual of the states "
                f"is {relative:.1%} of their norm, and gradients may be far from right. Use more "
                '`cycles`, or `cycles="adaptive"`, which measures their error.'
            )

    def state_dict(self) -> dict[str, Any]:
        return {"warned": self.warned}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        self.warned = values["warned"]

    @property
    def note(self) -> str:
        return ""


def _norm_of_states(point: Point) -> float:
    """Return the norm of the states at the C-points. Collective."""
    functional = point.functional
    own = functional.state.solver.c_points(point.state.points)
    squared = reduce(functional.comm, functional.space.squared_norm(own))
    return float(reduce(functional.space.comm, squared)[0]) ** 0.5
