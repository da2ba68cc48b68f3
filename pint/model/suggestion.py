"""Which configuration is best, and how the best one scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.diagnosis import Diagnosis
from pint.model.costs import Costs
from pint.model.prediction import SEQUENTIAL, Configuration, Prediction, check_count, predict


@dataclass(frozen=True)
class Suggestion:
    """The configuration with the least predicted time, and all others that were considered.

    Attributes
    ----------
    best : Prediction
    considered : tuple of Prediction
        Best first. Sequential stepping on one rank is one of them; its ``ranks`` is 1.
    updates : callable
        Returns the factor of the number of updates that was assumed for a configuration.
    alone : Prediction
        The best one on one rank. It has cycles where many small steps become one call there.
    measured : bool
        Whether the cycles to a tolerance were measured, by a diagnosis.
    """

    best: Prediction
    considered: tuple[Prediction, ...]
    updates: Callable[[Configuration], float]
    alone: Prediction
    measured: bool = False

    @property
    def gain_of_ranks(self) -> float:
        """Time of `alone` over that of `best`, with the updates that each needs."""
        alone, best = (
            self.updates(one.configuration) * one.seconds for one in (self.alone, self.best)
        )
        return alone / best if best > 0 else 1.0

    def __str__(self) -> str:
        best, chosen = self.best, self.best.configuration
        if chosen.levels == 1:
            return (
                f"N = {best.steps}: sequential time stepping on one rank, {best.seconds:.3g} s an "
                "update; no configuration parallel in time is faster."
            )
        kind = "lagged cycles" if chosen.lagged else f"{chosen.cycles} cycles"
        return (
            f"N = {best.steps}, {best.ranks} ranks: {chosen.levels} levels, coarsening "
            f"{chosen.coarsening}, relaxation {chosen.relaxation}, {kind}; {best.seconds:.3g} s "
            f"an update, gain {best.gain:.3g} over sequential stepping and "
            f"{self.gain_of_ranks:.3g} over the fastest on one rank. Assumes "
            f"{MEASURED if self.measured else ASSUMPTION}."
        )


ASSUMPTION = (
    "that every configuration needs the same number of updates, unless `updates` says otherwise; "
    "that the coarse steps are stable and accurate enough at every stride considered; "
    "and that each rank computes as fast as where the costs were measured"
)


MEASURED = (
    "that every solve takes the cycles to its tolerance that the diagnosis has measured from a "
    "first guess; and that each rank computes as fast as where the costs were measured"
)


def equally_many(configuration: Configuration) -> float:
    """Return 1: every configuration needs the same number of updates."""
    return 1.0


def suggest(
    costs: Costs,
    steps: int,
    ranks: int,
    *,
    cycles: int | None = None,
    relaxations: Sequence[str] = ("F", "FCF"),
    most_levels: int = 5,
    largest_stride: int | None = None,
    updates: Callable[[Configuration], float] = equally_many,
    diagnosis: Diagnosis | None = None,
    trials: float = 1.0,
    memory: int = 20,
) -> Suggestion:
    """Choose levels, coarsening factors and relaxation for `steps` on `ranks` ranks.

    The candidates have all powers of two up to `largest_stride`, and ceil(N / P), on level 0,
    combined with each power of two up to 16 on all further levels. Sequential stepping on one
    rank is a candidate, too. Not collective; a search takes some seconds.

    The model knows what a configuration costs, not how fast it converges. By default all
    candidates need the same number of updates, which favours large strides and F-relaxation.
    Pass measured numbers as `updates`, or the result of `pint.diagnose`: the best configuration
    then has the least time to solution, not the least time of some cycles.

    Parameters
    ----------
    costs : Costs
    steps, ranks : int
    cycles : int, optional
        Of each solve; None for one lagged cycle.
    relaxations : sequence of str
        To try on all levels. With lagged cycles level 0 has F-relaxation, and these are those of
        the levels between it and the coarsest.
    most_levels : int
        >= 2.
    largest_stride : int, optional
        Most fine steps that a step of the coarsest level may cover, N // 2 by default. Only you
        know where coarse steps become unstable or useless.
    updates : callable
        Receives a `Configuration`, which may be `SEQUENTIAL`, and returns a factor > 0: how many
        updates it needs. The best configuration has the least product of it with the time of an
        update.
    diagnosis : Diagnosis, optional
        Of `pint.diagnose`, for the same number of steps. The candidates are the set-ups that it
        has tried and that converge, each with the cycles that it needs to the tolerance of the
        diagnosis in state and adjoint; `cycles`, `relaxations`, `most_levels` and
        `largest_stride` are then without effect.
    trials, memory
        Of `predict`.

    Raises
    ------
    ValueError
        If an argument is out of range, or the diagnosis belongs to another number of steps.
    """
    check_count("steps", steps)
    check_count("ranks", ranks)
    check_count("most_levels", most_levels)
    largest = max(steps // 2, 1) if largest_stride is None else largest_stride
    check_count("largest_stride", largest)

    def considered(size: int) -> tuple[Prediction, ...]:
        """Return the predictions for a number of ranks, the best first."""
        if diagnosis is None:
            factors = _coarsenings(steps, size, most_levels, min(largest, max(steps // 2, 1)))
            candidates = _candidates(factors, relaxations, cycles)
        else:
            candidates = _measured(diagnosis, steps)
        choices = [(1, SEQUENTIAL), *((size, candidate) for candidate in candidates)]
        found = [predict(costs, steps, *one, trials=trials, memory=memory) for one in choices]
        weights = [updates(prediction.configuration) for prediction in found]
        if not all(0 < weight < np.inf for weight in weights):
            raise ValueError(f"`suggest(updates=...)` must return positive numbers, got {weights}.")
        times = [weight * one.seconds for weight, one in zip(weights, found, strict=True)]
        return tuple(found[index] for index in np.argsort(times, kind="stable"))

    found = considered(ranks)
    alone = found[0] if ranks == 1 else considered(1)[0]
    return Suggestion(found[0], found, updates, alone, diagnosis is not None)


def _measured(diagnosis: Diagnosis, steps: int) -> list[Configuration]:
    """Return what a diagnosis has tried, with the cycles to its tolerance."""
    if diagnosis.steps != steps:
        raise ValueError(
            f"`suggest(diagnosis=...)` is one of N = {diagnosis.steps} steps, not of {steps}: "
            "diagnose a functional with as many steps."
        )
    return [
        Configuration(
            trial.setup.levels, trial.setup.coarsening, trial.setup.relaxation, cycles=trial.cycles
        )
        for trial in diagnosis.trials
        if trial.cycles is not None
    ]


def _candidates(
    coarsenings: Iterable[tuple[int, ...]], relaxations: Sequence[str], cycles: int | None
) -> list[Configuration]:
    """Return the configurations to try; those without a number of cycles have lagged ones."""
    lagged = cycles is None
    return [
        Configuration(len(factors) + 1, factors, relaxation, cycles=cycles or 1, lagged=lagged)
        for factors in coarsenings
        for relaxation in _relaxations(relaxations, len(factors), lagged)
    ]


def _coarsenings(steps: int, ranks: int, most_levels: int, largest: int) -> list[tuple[int, ...]]:
    """Return the factors to try: each first factor alone, and followed by equal further factors."""
    firsts = {2**power for power in range(1, largest.bit_length())}
    if 2 <= -(-steps // ranks) <= largest:
        firsts.add(-(-steps // ranks))
    found: list[tuple[int, ...]] = []
    for first in sorted(firsts):
        found.append((first,))
        for more in range(1, most_levels - 1):
            found += [
                (first, *(factor,) * more)
                for factor in (2, 4, 8, 16)
                if first * factor**more <= largest
            ]
    return found if most_levels > 1 else []


def _relaxations(
    words: Sequence[str], relaxed_levels: int, lagged: bool
) -> list[str | tuple[str, ...]]:
    """Return the relaxations to try: with lagged cycles level 0 is relaxed once, by F alone."""
    if not lagged:
        return list(words)
    below = [("F", *(word,) * (relaxed_levels - 1)) for word in words]
    return ["F" if set(each) == {"F"} else each for each in dict.fromkeys(below)]


def strong_scaling(
    costs: Costs,
    steps: int,
    ranks: Iterable[int],
    configuration: Configuration | None = None,
    **options: Any,
) -> list[Prediction]:
    """Return predictions for the same `steps` on each number of ranks.

    Parameters
    ----------
    costs : Costs
    steps : int
    ranks : iterable of int
    configuration : Configuration, optional
        By default the best one for each number of ranks, see `suggest`.
    **options
        Keywords of `predict` (of `suggest` without a configuration).
    """
    return [_best_or(costs, steps, size, configuration, options) for size in ranks]


def weak_scaling(
    costs: Costs,
    steps_per_rank: int,
    ranks: Iterable[int],
    configuration: Configuration | None = None,
    **options: Any,
) -> list[Prediction]:
    """Return predictions for `steps_per_rank` steps a rank; otherwise like `strong_scaling`."""
    check_count("steps_per_rank", steps_per_rank)
    return [_best_or(costs, steps_per_rank * size, size, configuration, options) for size in ranks]


def _best_or(
    costs: Costs,
    steps: int,
    ranks: int,
    configuration: Configuration | None,
    options: dict[str, Any],
) -> Prediction:
    if configuration is None:
        return suggest(costs, steps, ranks, **options).best
    return predict(costs, steps, ranks, configuration, **options)
