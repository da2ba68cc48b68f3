"""Step lengths: Armijo backtracking, or the first step as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Trial:
    """One trial step.

    Attributes
    ----------
    objective : float
        Objective at the trial control.
    predicted : float
        First-order change of the objective, (g, trial - control); negative for descent.
    refinable : bool
        Whether a more accurate solve could give another objective.
    error : float
        Estimated error of `objective`; a trial is accepted that may be good enough.
    """

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

    def begin(self, objective: float, step: float) -> Search:
        """Return the search that compares trials with `objective`, from a first `step`."""
        return Search(self, objective, step)

    def accepts(self, trial: Trial, objective: float) -> bool:
        """Return whether a trial is finite and decreases the objective enough."""
        if not math.isfinite(trial.objective):
            return False
        if self.decrease is None:
            return True
        return trial.objective - trial.error <= objective + self.decrease * trial.predicted


@dataclass(frozen=True)
class Search:
    """A line search between two trials: it proposes a step length, and judges the trial with it.

    It never changes: `judged` returns the next one.

    Attributes
    ----------
    rule : LineSearch
    objective : float
        What trials are compared with.
    step : float
        Factor of the search direction for the next trial, dimensionless; of the last trial once
        the search has ended.
    rejected : int
        Number of rejected trials.
    excess : float
        By how much the last trial's objective was too large.
    is_open : bool
        Whether another trial is to be made.
    accepted : bool
        Whether the last trial was accepted.
    """

    rule: LineSearch
    objective: float
    step: float
    rejected: int = 0
    excess: float = math.inf
    is_open: bool = True
    accepted: bool = False

    def judged(self, trial: Trial) -> Search:
        """Return the search after a trial with its `step`.

        It ends early where the excess of the objective does not shrink with the square of the
        step, although the direction is one of descent: the excess is then the error of inexact
        solves, if these can be refined.
        """
        rule = self.rule
        if rule.accepts(trial, self.objective):
            return replace(self, accepted=True, is_open=False)
        finite = math.isfinite(trial.objective)
        excess = trial.objective - self.objective
        # Half the step should leave a quarter of the excess: after four halvings, more than 0.4 of
        # it does not fit a direction of descent.
        stalled = finite and self.rejected >= 4 and excess > 0.4 * self.excess
        rejected = replace(self, rejected=self.rejected + 1, excess=excess if finite else math.inf)
        # A fixed step is not shortened; a stalled search needs accuracy, not a shorter step.
        hopeless = rule.decrease is None or (stalled and trial.refinable)
        if hopeless or rejected.rejected > rule.rejections:
            return replace(rejected, is_open=False)
        return replace(
            rejected, step=self.step * (rule.reduction if finite else rule.reduction / 5)
        )


def armijo(decrease: float = 1e-4) -> LineSearch:
    """Return backtracking by halves with the Armijo constant `decrease`, in (0, 1)."""
    if not 0 < decrease < 1:
        raise ValueError(f"`armijo(decrease=...)` must lie between 0 and 1, got {decrease}.")
    return LineSearch(decrease)


def fixed_step() -> LineSearch:
    """Return the line search that takes the first step, even if the objective grows."""
    return LineSearch(None)
