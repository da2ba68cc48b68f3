"""What to change: by trials, and by the cause where it could not be tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pint.diagnosis.report import Recommendation
from pint.diagnosis.setup import Setup
from pint.diagnosis.slow import Cause, SlowPart
from pint.diagnosis.trials import Trial, critical_steps
from pint.states import ArraySpace, StateSpace

CLOSE = 1.1
"""Set-ups whose numbers of steps differ by a smaller factor are about as good."""

SMALL = 8
"""Numbers of a state up to which a linear correction of coarse steps is worth a trial."""


def recommended(
    trials: Sequence[Trial], slow: SlowPart, steps: int, space: StateSpace, ranks: int | None
) -> Recommendation:
    """Return the set-up with fewest steps, or with fewest of them on one of `ranks` ranks.

    The first of the trials is the set-up in use.

    Set-ups that are slower than sequential steps on every number of ranks, or on `ranks` of them,
    are not recommended, nor those that take more steps than the one in use.
    """
    own = trials[0]
    now = np.inf if own.steps is None else own.steps
    useful = [
        trial for trial in trials if trial.steps is not None and trial.pays and trial.steps <= now
    ]
    if ranks is None:
        paying = [trial for trial in useful if trial.ranks is not None]
    else:
        paying = [trial for trial in useful if _critical(trial, steps, ranks) < 2 * steps]
    least = min((_score(trial, steps, ranks) for trial in paying), default=0.0)
    # Of those that are about as good, the one that needs fewest ranks.
    close = [trial for trial in paying if _score(trial, steps, ranks) <= CLOSE * least]
    best = min(close, key=lambda trial: trial.ranks or np.inf, default=None)
    advice = _advice(slow.cause, space, trials) if best is None or slow.factor > 0.5 else ()
    if best is None:
        cycles = min(useful, key=lambda trial: trial.steps or np.inf, default=None)
        instead = None if cycles is None else cycles.setup
        return Recommendation(Setup(), True, _gain(own, 2.0 * steps), 1, instead, advice)
    # What saves less than a tenth is no reason to change anything.
    if own in paying and not (_gain(own, best.steps) or 0.0) >= CLOSE:
        best = own
    gain = _gain(own, best.steps)
    return Recommendation(best.setup, best is not own, gain, best.ranks, None, advice)


def is_small(space: StateSpace) -> bool:
    """Whether a linear correction of coarse steps is worth a trial."""
    whole = isinstance(space, ArraySpace) and space.comm.size == 1
    return whole and int(np.prod(space.shape, dtype=int)) <= SMALL


def _gain(own: Trial, steps: float | None) -> float | None:
    return None if own.steps is None or steps is None else own.steps / steps


def _score(trial: Trial, steps: int, ranks: int | None) -> float:
    if ranks is not None:
        return _critical(trial, steps, ranks)
    return trial.steps or np.inf


def _critical(trial: Trial, steps: int, ranks: int) -> float:
    """Return the steps that follow each other on one of many ranks, of both solves."""
    return critical_steps(trial.setup, steps, ranks, trial.state, trial.adjoint, trial.transposes)


def _advice(cause: Cause, space: StateSpace, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return what else helps against a cause."""
    tried = any(trial.setup.coarse for trial in trials)
    small = is_small(space) and not any(trial.setup.correction for trial in trials)
    delta = 'a linear correction of the coarse steps (`correction="full"`)'
    if cause in ("unstable", "undamped") and not tried:
        other = 'another coarse step, as `coarse="implicit-euler"` or "sdirk2"'
        return (f"Not tried: {other}{f', or {delta}' if small else ''}",)
    if cause != "none" and small:
        return (f"Not tried: {delta}",)
    if cause == "phase":
        return ("Not tried: coarse steps of higher order, or smaller steps on level 0",)
    return ()
