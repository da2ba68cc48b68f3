"""One-shot with cycles that begin with the coarse correction of the update before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pint.controls import Control
from pint.equations import Lagged as LaggedSolve
from pint.errors import integer
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.descent import Descent
from pint.optimise.point import Candidate, Point
from pint.optimise.strategy import MOST_EFFORT, Strategy
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Lagged(Descent):
    """A few lagged cycles of state and adjoint for each control update.

    Each cycle begins with the coarse correction, whose right-hand side is that of the last update.
    With F-relaxation a cycle then makes each step of level 0 once: a solve with one cycle has
    N/P + N/m steps on its critical path, not 2N/P + N/m as with `OneShot` [1]_. Line searches
    compare objectives that the adjoint corrects. The result is evaluated with exact state and
    adjoint.

    Parameters
    ----------
    cycles : int
        MGRIT cycles of each state and each adjoint solve; the first solves do one more.
    iterations, gradient_tolerance, relative_gradient_tolerance
    time_limit, evaluations, hessian, line_search, step
        As for `ReducedSpace`. Without a test of the objective, by ``line_search=fixed_step()``,
        nothing notices that one lagged cycle is too little.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.

    References
    ----------
    .. [1] `pint.mgrit.MGRIT.lagged_solve`
    """

    cycles: int = 1

    def __post_init__(self) -> None:
        self.check_common_options()
        object.__setattr__(self, "cycles", integer("Lagged", "cycles", self.cycles, 1))

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        self.require_levels(grid)

    def strategy(self, functional: ReducedFunctional) -> Strategy:
        return LaggedCycles(self.cycles)


@dataclass
class LaggedCycles(Strategy):
    """The same number of lagged cycles for every solve; one more for the first ones.

    After a failed line search the current update is done with twice the cycles, again and again
    up to `MOST_EFFORT` times as many.

    Attributes
    ----------
    cycles : int
    effort : int
        Times as many cycles.
    """

    cycles: int
    effort: int = 1
    lagged = True

    def begin(self, point: Point, control: Control) -> None:
        how = LaggedSolve(self.effort * self.cycles + 1)
        point.functional.state.solve(point.state, control, how)
        point.evaluate()
        if math.isfinite(point.value.objective):
            self._solve_adjoint(point)
            point.note_exactness()

    def solve_candidate(
        self, candidate: Candidate, point: Point, control: Control, decrease: float | None
    ) -> None:
        equation = candidate.functional.state
        # The next cycle would change the objective by more than a small step does: the adjoint
        # tells by how much.
        how = LaggedSolve(self.effort * self.cycles, point.adjoint, start=point.state)
        equation.solve(candidate.state, control, how)
        candidate.evaluate()
        candidate.note_exactness(refinable=self.effort < MOST_EFFORT)

    def accept(self, point: Point, candidate: Candidate) -> bool:
        # One cycle that was too little for an update stays so as the updates get smaller.
        self.effort = min(self.effort, 2)
        point.accept(candidate)
        self._solve_adjoint(point)
        point.note_exactness()
        return True

    def tighten(self, point: Point) -> None:
        self.effort *= 2
        how = LaggedSolve(self.effort * self.cycles, point.adjoint)
        point.functional.state.solve(point.state, point.control, how)
        point.evaluate()
        self._solve_adjoint(point)

    def restart(self, point: Point) -> None:
        # Right-hand sides that led to a failure are of no use. Without them the first cycle is a
        # coarse march.
        point.state.tau = point.adjoint.tau = None
        self.effort = 2

    def state_dict(self) -> dict[str, Any]:
        return {"effort": self.effort}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        self.effort = int(values["effort"])

    def _solve_adjoint(self, point: Point) -> None:
        # Without a right-hand side to continue, the first cycle is no more than a coarse march.
        is_first = point.adjoint.tau is None
        how = LaggedSolve(self.effort * self.cycles + is_first)
        point.functional.adjoint.solve(point.adjoint, point.state, how)
        point.form_gradient()
