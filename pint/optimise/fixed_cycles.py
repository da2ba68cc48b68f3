"""The same number of cycles for every solve, or a tolerance: reduced space and one-shot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from pint.controls import Control
from pint.equations import Cycles
from pint.mgrit import Accuracy
from pint.optimise.point import Candidate, Point
from pint.optimise.strategy import MOST_EFFORT, Strategy


@dataclass
class FixedCycles(Strategy):
    """The same accuracy for every solve.

    After a failed line search the current update is done with twice the cycles, again and again
    up to `MOST_EFFORT` times as many.

    Attributes
    ----------
    accuracy : Accuracy
    effort : int
        Times as many cycles.
    truncated : bool
        Of `pint.equations.Cycles`.
    """

    accuracy: Accuracy
    effort: int = 1
    truncated: bool = False

    def __post_init__(self) -> None:
        self.tolerance = self.accuracy.relative or 0.0

    def begin(self, point: Point, control: Control) -> None:
        point.functional.state.solve(point.state, control, self._cycles())
        point.evaluate()
        if math.isfinite(point.value.objective):
            self._solve_adjoint(point)
            point.note_exactness()

    def solve_candidate(
        self, candidate: Candidate, point: Point, control: Control, decrease: float | None
    ) -> None:
        equation = candidate.functional.state
        # From the iterate, not from the candidate before, whose states may not be finite.
        equation.copy_guess(point.state, candidate.state)
        equation.solve(candidate.state, control, self._cycles())
        candidate.evaluate()
        candidate.note_exactness(refinable=self.effort < MOST_EFFORT)

    def accept(self, point: Point, candidate: Candidate) -> bool:
        self.effort = 1
        point.accept(candidate)
        self._solve_adjoint(point)
        point.note_exactness()
        return True

    def tighten(self, point: Point) -> None:
        self.effort *= 2
        point.functional.state.solve(point.state, point.control, self._cycles())
        point.evaluate()
        self._solve_adjoint(point)

    def restart(self, point: Point) -> None:
        self.effort = 1

    def state_dict(self) -> dict[str, Any]:
        return {"effort": self.effort}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        self.effort = int(values["effort"])

    def _cycles(self) -> Cycles:
        accuracy = replace(self.accuracy, cycles=self.effort * self.accuracy.cycles)
        return Cycles(accuracy, truncated=self.truncated)

    def _solve_adjoint(self, point: Point) -> None:
        point.functional.adjoint.solve(point.adjoint, point.state, self._cycles())
        point.form_gradient()
