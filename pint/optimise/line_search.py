"""Step lengths: Armijo backtracking, or the first step as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One trial step.

    Attributes
    ----------
    step : float
        Factor of the search direction, dimensionless.
    objective : float
        Objective at the trial control.
    predicted : float
        First-order change of the objective, (g, trial - control); negative for descent.
    refinable : bool
        Whether a more accurate solve could give another objective.
    error : float
        Estimated error of `objective`; a trial is accepted that may be good enough.
    """

    step: float
    objective: float
    predicted: float
    refinable: bool = False
    error: float = 0.0


@dataclass(frozen=True)
class LineSearch:
    """Armijo backtracking: accept if ``J_t <= J + decrease (g, c_t - c)``, else shorten [1]_.

    Build one with `armijo` or `fixed_step`.

    Attributes
    ----------
    decrease : float or None
        Armijo constant c1; None accepts every finite trial.
    reduction : float
        Factor of the step after a rejected trial; a fifth of it after one that is not finite.
    rejections : int
        After so many rejected trials the search has failed.

    References
    ----------
    .. [1] Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Alg. 3.1.
    """

    decrease: float | None
    reduction: float = 0.5
    rejections: int = 20

    def search(
        self, evaluate: Callable[[float], Trial], objective: float, step: float
    ) -> tuple[Trial | None, int]:
        """Return the accepted trial, None if there is none, and the number of rejected ones.

        `evaluate` makes the trial with a given step; the accepted one is its last call. The
        search ends early when the objective's excess does not shrink with the square of the
        step, although the direction is one of descent: then it is the error of inexact solves,
        if these can be refined. Collective if `evaluate` is.
        """
        last_excess = math.inf
        for rejected in range(self.rejections + 1):
            trial = evaluate(step)
            finite = math.isfinite(trial.objective)
            if finite and self._accepts(trial, objective):
                return trial, rejected
            excess = trial.objective - objective
            stalled = finite and rejected >= 4 and excess > 0.4 * last_excess
            if self.decrease is None or (stalled and trial.refinable):
                return None, rejected + 1
            last_excess = excess if finite else math.inf
            step *= self.reduction if finite else self.reduction / 5
        return None, self.rejections + 1

    def _accepts(self, trial: Trial, objective: float) -> bool:
        if self.decrease is None:
            return True
        return trial.objective - trial.error <= objective + self.decrease * trial.predicted


def armijo(decrease: float = 1e-4) -> LineSearch:
    """Return backtracking by halves with the Armijo constant `decrease`, in (0, 1)."""
    if not 0 < decrease < 1:
        raise ValueError(f"`armijo(decrease=...)` must lie between 0 and 1, got {decrease}.")
    return LineSearch(decrease)


def fixed_step() -> LineSearch:
    """Return the line search that takes the first step, whatever it does to the objective."""
    return LineSearch(None)
