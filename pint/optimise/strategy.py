"""How accurately an optimisation solves states and adjoints: what all strategies have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pint.controls import Control
from pint.optimise.point import Candidate, Point


class Strategy(ABC):
    """Solves the states and the adjoints of an optimisation. The first four are collective.

    Attributes
    ----------
    lagged : bool
        Whether solves start from the right-hand sides of level 1 of the solves before.
    tolerance : float
        Relative residual to which states are solved; 0 without one.
    failed : bool
        Whether the last solve has not converged as it must: an exact one is to take its place.
    """

    lagged: bool = False
    tolerance: float = 0.0
    failed: bool = False

    @abstractmethod
    def begin(self, point: Point, control: Control) -> None:
        """Solve the first state, at `control`, and the first adjoint; form the gradient, in place.

        Where the objective is not finite, the adjoint is left out.
        """

    @abstractmethod
    def solve_candidate(
        self, candidate: Candidate, point: Point, control: Control, decrease: float | None
    ) -> None:
        """Solve the candidate's state at `control` from that of `point`, in place.

        `point` stays as it is. `decrease` is the constant of the Armijo test that will follow,
        None without one.
        """

    @abstractmethod
    def accept(self, point: Point, candidate: Candidate) -> bool:
        """Move the point to the candidate, solve the adjoint and form the gradient, in place.

        Returns whether the gradient has changed by more than its error, so that the change may
        serve the quasi-Newton method.
        """

    @abstractmethod
    def tighten(self, point: Point) -> None:
        """Solve more accurately from now on, `point` too, in place, after a line search failed."""

    @abstractmethod
    def restart(self, point: Point) -> None:
        """Prepare for solves that begin with the exact trajectories of `point`, in place."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what changes from update to update, as numbers by name; a restart restores it."""

    @abstractmethod
    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place; KeyError or TypeError if it is damaged."""


MOST_EFFORT = 16
"""Most times as many cycles that strategies with a number of cycles do after failed searches."""
