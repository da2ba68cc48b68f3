"""What to change: by trials, and by the cause where it could not be tried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pint.diagnosis.report import Recommendation
from pint.diagnosis.setup import Setup
from pint.diagnosis.slow import Cause, SlowPart
from pint.diagnosis.trials import Trial
from pint.states import StateSpace

MANY = 64
"""Ranks that stand for many."""

SMALL = 20
"""Numbers of a state up to which a linear correction of coarse steps is cheap."""


def recommended(
    trials: Sequence[Trial], slow: SlowPart, steps: int, space: StateSpace, ranks: int | None
) -> Recommendation:
    """Return the best of the trials, the first of which is the set-up in use."""
    own = trials[0]
    # Never more steps than now
    useful = [
        trial
        for trial in trials
        if trial.steps is not None and trial.pays and trial.steps <= (own.steps or np.inf)
    ]
    if not useful and own.steps is not None and own.pays:
        useful = [own]
    # Where no number of ranks would be faster than one, less work is all that is left.
    paying = [trial for trial in useful if trial.ranks is not None]
    if paying or ranks is not None:
        useful = paying or useful
    best = min(useful, key=lambda trial: _score(trial, steps, ranks), default=None)
    if best is None or (ranks is not None and _critical(best, steps, ranks) > 2 * steps):
        gain = None if own.steps is None else own.steps / (2 * steps)
        return Recommendation(Setup(), True, gain, 1, _advice(slow.cause, space))
    gain = None if own.steps is None or best.steps is None else own.steps / best.steps
    # What saves less than a tenth is no reason to change anything.
    if own in useful and (gain is None or gain < 1.1):
        best, gain = own, 1.0
    changes = best.setup != own.setup
    advice = _advice(slow.cause, space) if slow.factor > 0.5 or best.ranks is None else ()
    return Recommendation(best.setup, changes, gain, best.ranks, advice)


def _score(trial: Trial, steps: int, ranks: int | None) -> float:
    if ranks is not None:
        return _critical(trial, steps, ranks)
    assert trial.steps is not None
    if trial.ranks is None:
        return trial.steps
    return float((trial.steps * _critical(trial, steps, MANY)) ** 0.5)


def _critical(trial: Trial, steps: int, ranks: int) -> float:
    """Return the steps that follow each other on one of many ranks, of both solves."""
    cycles = (trial.state.cycles or 0) + (trial.adjoint.cycles or 0)
    return cycles * trial.setup.cycle_steps(steps, ranks) + 2 * -(-steps // ranks)


def _advice(cause: Cause, space: StateSpace) -> tuple[str, ...]:
    """Return what else helps against a cause."""
    small = int(np.prod(space.shape, dtype=int)) * space.comm.size <= SMALL
    delta = 'a linear correction of the coarse steps (`correction="full"`)'
    if cause in ("unstable", "undamped"):
        other = 'another coarse step, as `coarse="implicit-euler"` or "sdirk2"'
        return (f"Not tried: {other}{f', or {delta}' if small else ''}",)
    if cause in ("phase", "growth") and small:
        return (f"Not tried: {delta}",)
    if cause == "phase":
        return ("Not tried: coarse steps of higher order, or smaller steps on level 0",)
    return ()
