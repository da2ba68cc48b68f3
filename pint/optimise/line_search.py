"""Step lengths: strong Wolfe, Armijo backtracking, or the first step as it is."""

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
    """Accepts a trial if ``J_t <= J + decrease (g, c_t - c)``, else shortens the step [1]_.

    Build one with `wolfe`, `armijo` or `fixed_step`.

    Attributes
    ----------
    decrease : float or None
        Armijo constant c1; None accepts every finite trial.
    curvature : float or None
        Constant c2 of the strong Wolfe conditions: the update goes on from an accepted trial,
        along the same direction d, while ``|(g_t, d)| > curvature |(g, d)|``. None without this
        test, and with steps that are halved.
    rejections : int
        After so many rejected trials the search has failed.
    patience : int
        After so many it may fail early, by the error of inexact solves.

    References
    ----------
    .. [1] Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Alg. 3.1 and sec. 3.5.
    """

    decrease: float | None
    curvature: float | None = None
    rejections: int = 20
    patience: int = 4

    @property
    def finds_scale(self) -> bool:
        """Whether the first step follows from the objective's scale instead of being given."""
        return self.curvature is not None

    def begin(self, objective: float, step: float, error: float = 0.0) -> Search:
        """Return the search from a first `step` that compares trials with ``objective + error``.

        `error` is what the objectives of trials may be wrong by.
        """
        return Search(self, objective + error, step, error)

    def accepts(self, trial: Trial, objective: float) -> bool:
        """Return whether a trial is finite and decreases the objective enough."""
        if not math.isfinite(trial.objective):
            return False
        if self.decrease is None:
            return True
        return trial.objective - trial.error <= objective + self.decrease * trial.predicted

    def reduction(self, trial: Trial, objective: float, rejected: int) -> float:
        """Return the factor of the step after a trial, the `rejected`-th that was rejected."""
        if not math.isfinite(trial.objective):
            return 0.1
        if self.curvature is None:
            return 0.5
        if rejected > 3:  # so far away the parabola below says nothing
            return 0.1
        # The minimum of the parabola through both objectives with the slope at the first one
        excess = trial.objective - objective - trial.predicted
        return min(max(-trial.predicted / (2 * excess), 0.1), 0.5) if excess > 0 else 0.5


@dataclass(frozen=True)
class Search:
    """A line search between two trials: it proposes a step length, and judges the trial with it.

    It never changes: `judged` returns the next one.

    Attributes
    ----------
    rule : LineSearch
    objective : float
        What trials are compared with, `error` included.
    step : float
        Factor of the search direction for the next trial, dimensionless; of the last trial once
        the search has ended.
    error : float
        What objectives may be wrong by.
    rejected : int
        Number of rejected trials.
    tolerated : float
        By how much the next trial's objective may be too large along a direction of descent.
    is_doubtful : bool
        Whether the excess of rejected trials has shrunk less than along a direction of descent.
    is_open : bool
        Whether another trial is to be made.
    accepted : bool
        Whether the last trial was accepted.
    """

    rule: LineSearch
    objective: float
    step: float
    error: float = 0.0
    rejected: int = 0
    tolerated: float = math.inf
    is_doubtful: bool = False
    is_open: bool = True
    accepted: bool = False

    def judged(self, trial: Trial) -> Search:
        """Return the search after a trial with its `step`.

        It ends early where the excess of the objective does not shrink with the square of the
        step, as along a direction of descent: the excess is then the error of inexact solves, of
        the objective or of the gradient, if these can be refined.
        """
        rule = self.rule
        # Where the objectives do not fit a direction of descent, a step of which the objective
        # shows nothing must not be accepted for its error: direction or gradient are wrong.
        if rule.finds_scale and self.is_doubtful and -trial.predicted <= self.error:
            return replace(self, rejected=self.rejected + 1, is_open=False)
        if rule.accepts(trial, self.objective):
            return replace(self, accepted=True, is_open=False)
        finite = math.isfinite(trial.objective)
        excess = trial.objective - self.objective
        stalled = finite and self.rejected >= rule.patience and excess > self.tolerated
        doubtful = self.is_doubtful
        if excess > 100 * self.error:  # otherwise the ratio of two excesses shows the error alone
            doubtful = excess > self.tolerated
        rejected = replace(self, rejected=self.rejected + 1, is_doubtful=doubtful)
        # A fixed step is not shortened; a stalled search needs accuracy, not a shorter step.
        hopeless = rule.decrease is None or (stalled and trial.refinable)
        if hopeless or rejected.rejected > rule.rejections:
            return replace(rejected, is_open=False)
        factor = rule.reduction(trial, self.objective, rejected.rejected)
        # A factor f of the step leaves f^2 of the excess; along a wrong direction it leaves f.
        tolerated = 0.8 * factor * excess if finite else math.inf
        return replace(rejected, step=self.step * factor, tolerated=tolerated)


def wolfe(decrease: float = 1e-4, curvature: float = 0.9) -> LineSearch:
    """Return the search for a step with the strong Wolfe conditions; it finds its own first step.

    Without quasi-Newton pairs the first trial changes the objective by its own size, if it were
    linear, so that objective, control, state and time may be in any units; with pairs the first
    factor is 1. Rejected steps are shortened by interpolation. From an accepted trial the update
    goes on along the same direction, up to ten times as far each time, while the slope there is
    more than `curvature` times the first one, 0.1 times before the first pair; this needs the
    gradient there, which is one more adjoint solve only if the update does go on.

    Parameters
    ----------
    decrease, curvature : float
        Constants c1 and c2, ``0 < decrease < curvature < 1``.

    Raises
    ------
    ValueError
        If a constant is out of range.
    """
    _check_decrease("wolfe", decrease)
    if not decrease < curvature < 1:
        raise ValueError(
            f"`wolfe(curvature=...)` must lie between `decrease` and 1, got {curvature}."
        )
    # Along a quasi-Newton direction so many rejections lead to 1e-4 and less: it must be wrong.
    return LineSearch(decrease, curvature, rejections=6)


def armijo(decrease: float = 1e-4) -> LineSearch:
    """Return backtracking by halves with the Armijo constant `decrease`, in (0, 1)."""
    _check_decrease("armijo", decrease)
    return LineSearch(decrease)


def fixed_step() -> LineSearch:
    """Return the line search that takes the first step, even if the objective grows."""
    return LineSearch(None)


def _check_decrease(rule: str, decrease: float) -> None:
    if not 0 < decrease < 1:
        raise ValueError(f"`{rule}(decrease=...)` must lie between 0 and 1, got {decrease}.")
