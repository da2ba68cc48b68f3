"""Exact solves in place of inexact ones wherever the inexact numbers cannot be right."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pint.controls import Control
from pint.optimise.line_search import Trial
from pint.optimise.point import ROUNDING, Candidate, Point
from pint.optimise.strategy import Strategy

logger = logging.getLogger(__name__)

FIRST_REST = 4
"""Updates with exact solves after the first failure; twice as many after each further one."""

MOST_REST = 2**20
"""The most updates with exact solves after a failure."""

MOST_DECREASE = 2.0
"""Times the decrease of the linear model. A convex objective decreases by at most that decrease."""

NOISE = 1e-3
"""Part of the objective that its changes by inexact solves may be without being suspicious."""

SLOW = 0.9
"""Where a cycle leaves more of the residual than this, more cycles are no way out."""

MOST_CYCLES = 10
"""A solve that misses its tolerance after so many cycles is dearer than sequential steps."""

MOST_SLOW = 3
"""Solves in a row whose cycles are slow, after which they have failed."""

MOST_DOUBTFUL = 3
"""Updates in a row, without error estimates, whose decrease is less than the error to expect."""

ROUNDED = 1e-12
"""Objectives of many steps differ by rounding so much, relative to their size, at an optimum."""

SMALL = 1e-6
"""Residuals so many times the first one may be rounding: their ratios say nothing."""


@dataclass
class Safeguard:
    """Solves by a strategy, and by sequential steps where the strategy's numbers cannot be right.

    Inexact solves have failed where

    - the objective or a residual is not finite, although exact states are;
    - the objective decreases by far more than its linear model, and an exact solve denies it;
    - the strategy says so, or the residuals of `MOST_SLOW` solves in a row hardly shrink;
    - no step is accepted, and more cycles do not help, or the decreases of `MOST_DOUBTFUL` updates
      in a row are less than the error to expect: that of a tolerance, or of rounding;
    - the exact gradient is above a tolerance that the inexact one has met.

    The point and the next `rest` updates are then solved exactly: a run is never stuck where
    the same method on one level is not. The strategy then continues from exact trajectories;
    each failure doubles the number of exact updates. Nothing is evaluated for the tests that a
    run does not evaluate anyway, unless they fail.

    Parameters
    ----------
    inner : Strategy

    Attributes
    ----------
    exact : int
        Updates that are still to be solved exactly.
    rest : int
        Updates to solve exactly after the next failure.
    slow : int
        Solves in a row whose residual hardly shrank.
    doubtful : int
        Updates in a row, without error estimates, whose decrease was less than the error to expect.
    start_residual : float
        Of the first solve.
    failed : bool
        Whether the solves of the last trial have failed.
    tightens : bool
        Whether the strategy could solve the last candidate more accurately.
    is_doubtful : bool
        Whether the last trial promised less than the error of the objectives.
    """

    inner: Strategy
    exact: int = 0
    rest: int = FIRST_REST
    slow: int = 0
    doubtful: int = 0
    start_residual: float = 0.0
    failed: bool = field(default=False, compare=False)
    tightens: bool = field(default=False, compare=False)
    is_doubtful: bool = field(default=False, compare=False)

    @property
    def tolerance(self) -> float:
        """Relative residual to which states are solved; 0 without one."""
        return 0.0 if self.exact else self.inner.tolerance

    def begin(self, point: Point, control: Control) -> None:
        """Solve the first state, at `control`, and the first adjoint; form the gradient, in place.

        Collective.

        Raises
        ------
        NotFiniteError
            If the objective is NaN or infinite for the exact state, too.
        """
        with np.errstate(all="ignore"):
            self.inner.begin(point, control)
        residuals = point.state.convergence.residuals if point.state.convergence else ()
        self.start_residual = max(residuals, default=0.0)
        if not is_plausible(point) or self._is_slow(point):
            self.solve_exactly(point, control)
            point.functional.require_finite(point.value)
            point.functional.solves.warn(
                "MGRIT does not converge for the first control: the first updates are computed by "
                "sequential steps. Fewer levels, a smaller coarsening factor or more relaxation "
                "may help; `pint.diagnose(functional, control)` measures which."
            )

    def trial(
        self, candidate: Candidate, point: Point, control: Control, decrease: float | None
    ) -> Trial:
        """Solve the candidate's state at `control` from that of `point`, in place. Collective.

        Returns what the line search judges. `point` stays as it is. `decrease` is the constant of
        the Armijo test that will follow, None without one.
        """
        self.failed = self.tightens = False
        if self.exact:
            candidate.solve_exactly(control)
            return candidate.trial(point)
        self.inner.solve_candidate(candidate, point, control, decrease)
        trial, self.tightens = candidate.trial(point), candidate.refinable
        if not candidate.is_inexact:
            return trial
        self.is_doubtful = abs(trial.predicted) <= point.comparison_error(self.tolerance)
        self.failed = self._is_slow(candidate)
        if self.inner.failed or not is_plausible(candidate) or self._is_too_good(trial, point):
            candidate.solve_exactly(control)
            change, trial = abs(candidate.value.objective - trial.objective), candidate.trial(point)
            if math.isfinite(trial.objective):  # otherwise the step is too long
                self.failed |= self.inner.failed or not change <= 0.5 * abs(trial.predicted)
        # If no step is accepted, the inexact numbers may be the reason.
        return replace(trial, refinable=decrease is not None)

    def accept(self, point: Point, candidate: Candidate) -> bool:
        """Move the point to the candidate, solve the adjoint and form the gradient, in place.

        Returns whether the gradient has changed by more than its error, so that the change may
        serve the quasi-Newton method. Collective.
        """
        if self.exact:
            point.accept(candidate)
            point.solve_adjoint_exactly()
            self.exact -= 1
            if not self.exact:
                self.inner.restart(point)
            return True
        if self.failed:
            point.accept(candidate)
            self.solve_exactly(point)
            return True
        with np.errstate(all="ignore"):
            reliable = self.inner.accept(point, candidate)
        # Where errors are estimated, the strategy has allowed for them.
        unknown = self.tolerance > 0 or math.isnan(point.objective_error)
        self.doubtful = self.doubtful + 1 if self.is_doubtful and unknown else 0
        if self.doubtful >= MOST_DOUBTFUL:
            self._say_limit(point, self.solve_exactly(point))
        elif self.inner.failed or not is_plausible(point):
            self.solve_exactly(point)
        return reliable

    def tighten(self, point: Point) -> None:
        """Solve more accurately from now on, `point` too, in place. Collective."""
        if not self.failed and self.tightens:
            self.inner.tighten(point)
            if is_plausible(point):
                return
        met_tolerance = not self.failed and self.inner.tolerance > 0
        error = self.solve_exactly(point)
        if met_tolerance:
            self._say_limit(point, error)

    def solve_exactly(self, point: Point, control: Control | None = None) -> float:
        """Solve the point, and the next updates, exactly, in place. Collective.

        Returns by how much the gradient changes, in norm.
        """
        old = point.gradient if control is None else None
        point.solve_exactly(control)
        self._rest()
        if old is None or not math.isfinite(change := old.space.norm(point.gradient - old)):
            return math.nan
        logger.info("exact solves for %d updates: gradient error %.3g", self.exact, change)
        return change

    def rest_from(self, point: Point, inexact: Control, tolerance: float) -> None:
        """Solve the next updates exactly, because an inexact gradient met a tolerance. Collective.

        `point` has been solved exactly, and its gradient does not meet it.
        """
        error = inexact.space.norm(point.gradient - inexact)
        if not self.exact and self.inner.tolerance > 0 and error > tolerance:
            self._say_limit(point, error)
        self._rest()

    @staticmethod
    def _say_limit(point: Point, error: float) -> None:
        """Say that the solves limit the gradient, if an `error` of its size shows it."""
        norm = point.gradient_norm()
        if error > 0.1 * norm:
            point.functional.solves.warn(
                f"the error of the gradient by the solves, {error:.2g}, keeps its norm, now "
                f"{norm:.2g}, from falling: the next updates are computed by sequential steps. A "
                "smaller tolerance of the solves (`Accuracy`) or more cycles may help."
            )

    def _rest(self) -> None:
        self.exact, self.rest = self.rest, min(2 * self.rest, MOST_REST)
        self.slow, self.doubtful, self.failed = 0, 0, False

    def _is_too_good(self, trial: Trial, point: Point) -> bool:
        """Return whether the objective decreases by more than can be expected."""
        decrease = point.value.objective - trial.objective
        expected = MOST_DECREASE * abs(trial.predicted) + trial.error
        # Less than a small part of the objective is the usual noise of few cycles.
        return not decrease <= max(expected, NOISE * abs(point.value.objective))

    def _is_slow(self, solved: Point | Candidate) -> bool:
        """Note the residuals of a solve, in place; return whether the solves have failed."""
        convergence = solved.state.convergence
        if convergence is None or convergence.converged or len(convergence.residuals) < 2:
            return False
        before, last = convergence.residuals[-2:]
        is_slow = not last <= SLOW * before and last > SMALL * self.start_residual
        self.slow = self.slow + 1 if is_slow else 0
        if convergence.bound > 0:  # a tolerance was to be met
            return is_slow or len(convergence.residuals) >= MOST_CYCLES
        return self.slow >= MOST_SLOW

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from update to update, as numbers by name; a restart restores it."""
        names = ("exact", "rest", "slow", "doubtful", "start_residual")
        return {**self.inner.state_dict(), **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place; KeyError or TypeError if it is damaged."""
        self.exact, self.rest = int(values["exact"]), int(values["rest"])
        self.slow, self.doubtful = int(values["slow"]), int(values["doubtful"])
        self.start_residual = float(values["start_residual"])
        self.inner.load_state_dict(values)


def is_plausible(solved: Point | Candidate) -> bool:
    """Return whether objective and residuals of a solve are finite. Not collective."""
    numbers = [solved.value.objective]
    parts = (solved.state, solved.adjoint) if isinstance(solved, Point) else (solved.state,)
    numbers += [part.convergence.residual for part in parts if part.convergence]
    return all(map(math.isfinite, numbers))


def move_to_best(
    point: Point,
    candidate: Candidate,
    others: Sequence[Control],
    objective: float,
    noise: float = ROUNDING,
) -> bool:
    """Move a point with an exact `objective` to the best of some controls, if one is better.

    It is better by more than `noise` times its size. The candidate's state is used up. Returns
    whether the point has moved. Collective.
    """
    best: Control | None = None
    least = objective
    for control in others:
        candidate.solve_exactly(control)
        found, value = candidate.value.objective, candidate.value
        size = abs(value.cost) + sum(map(abs, value.regularisers))
        if math.isfinite(found) and not least <= found + noise * size:
            best, least = control, found
    if best is not None:
        point.solve_exactly(best)
    return best is not None
