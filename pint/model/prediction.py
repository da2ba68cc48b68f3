"""Times of cycles, solves and control updates, how they scale, and which configuration is best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pint.grid import TimeGrid
from pint.mgrit.solver import relaxation_counts
from pint.model.costs import Costs
from pint.model.schedule import AnyRank, Schedule, boundaries


@dataclass(frozen=True)
class Configuration:
    """How states and adjoints are solved for one control update.

    Parameters
    ----------
    levels : int
        1 for sequential time stepping.
    coarsening : int or sequence of int
        As for `pint.TimeGrid`.
    relaxation : str or sequence of str
        As for `pint.MGRIT`; a lagged sweep always relaxes level 0 once, by F-relaxation.
    cycle : 'V' or 'F'
    cycles : int
        Of each state and each adjoint solve; without meaning for lagged sweeps.
    lagged : bool
        One-shot with lagged sweeps: the coarse problem of the last update is solved, then level 0
        is relaxed once, and the gradient is formed by the same steps as the adjoint.

    Raises
    ------
    ValueError
        If an argument is out of range, or lagged sweeps are asked for on one level.
    """

    levels: int = 2
    coarsening: int | Sequence[int] = 4
    relaxation: str | Sequence[str] = "F"
    cycle: Literal["V", "F"] = "V"
    cycles: int = 1
    lagged: bool = False

    def __post_init__(self) -> None:
        relaxation_counts(self.relaxation, self.levels)
        if self.cycle not in ("V", "F"):
            raise ValueError(f"`Configuration(cycle=...)` is 'V' or 'F', got {self.cycle!r}.")
        if not isinstance(self.cycles, int) or self.cycles < 1:
            raise ValueError(
                f"`Configuration(cycles=...)` must be an integer >= 1, got {self.cycles}."
            )
        if self.lagged and self.levels < 2:
            raise ValueError("`Configuration(lagged=True)` needs `levels` >= 2.")

    def grid(self, steps: int, ranks: int) -> TimeGrid:
        """Return the grid as the first of `ranks` ranks sees it; ValueError if it does not fit."""
        _check_count("steps", steps)
        _check_count("ranks", ranks)
        return TimeGrid.uniform(1.0, steps, self.coarsening, self.levels, AnyRank(ranks))

    def schedule(
        self, costs: Costs, grid: TimeGrid, adjoint: bool = False, derivative: bool = False
    ) -> Schedule:
        """Return the clocks of a sweep, all at zero."""
        return Schedule(
            costs,
            grid,
            relaxation_counts(self.relaxation, self.levels),
            f_cycle=self.cycle == "F",
            adjoint=adjoint,
            derivative=derivative,
        )


SEQUENTIAL = Configuration(levels=1)


@dataclass(frozen=True)
class Prediction:
    """The predicted time of a control update, in seconds.

    Attributes
    ----------
    configuration : Configuration
    steps, ranks : int
    state : float
        State sweeps and objectives of all trials.
    adjoint : float
        Adjoint sweep and derivative.
    control : float
        Quasi-Newton direction, line search, history.
    sequential : float
        All of that by sequential time stepping on one rank.
    """

    configuration: Configuration
    steps: int
    ranks: int
    state: float
    adjoint: float
    control: float
    sequential: float

    @property
    def seconds(self) -> float:
        """The whole update."""
        return self.state + self.adjoint + self.control

    @property
    def gain(self) -> float:
        """Sequential time over predicted time."""
        return self.sequential / self.seconds if self.seconds > 0 else 1.0

    @property
    def efficiency(self) -> float:
        """Gain over number of ranks."""
        return self.gain / self.ranks


def cycle_time(
    costs: Costs, steps: int, ranks: int, configuration: Configuration, adjoint: bool = False
) -> float:
    """Return the seconds of one cycle, without the F-relaxation that ends a solve.

    Raises
    ------
    ValueError
        If the configuration does not fit `steps`, or has one level only.
    """
    if configuration.levels < 2:
        raise ValueError("`cycle_time(configuration=...)` needs at least 2 levels.")
    schedule = configuration.schedule(costs, configuration.grid(steps, ranks), adjoint)
    schedule.cycle(0, schedule.f_cycle)
    return float(schedule.clock.max())


def solve_time(
    costs: Costs, steps: int, ranks: int, configuration: Configuration, adjoint: bool = False
) -> float:
    """Return the seconds of a solve from a given guess: cycles and F-relaxation, or a march.

    Raises
    ------
    ValueError
        If the configuration does not fit `steps`.
    """
    schedule = configuration.schedule(costs, configuration.grid(steps, ranks), adjoint)
    _sweep(schedule, configuration)
    return float(schedule.clock.max())


def predict(
    costs: Costs,
    steps: int,
    ranks: int,
    configuration: Configuration,
    *,
    trials: float = 1.0,
    memory: int = 20,
) -> Prediction:
    """Return the predicted time of a control update on `ranks` ranks.

    Parameters
    ----------
    costs : Costs
    steps : int
        N.
    ranks : int
        P, in time.
    configuration : Configuration
    trials : float
        Trial states of an update, on average.
    memory : int
        Pairs of L-BFGS.

    Raises
    ------
    ValueError
        If an argument is out of range, or the configuration does not fit `steps`.
    """
    if not 1 <= trials < np.inf:
        raise ValueError(f"`predict(trials=...)` must be at least 1, got {trials}.")
    if not isinstance(memory, (int, np.integer)) or memory < 0:
        raise ValueError(f"`predict(memory=...)` must be an integer >= 0, got {memory}.")
    state, adjoint, control = _update(
        costs, configuration.grid(steps, ranks), configuration, memory
    )
    alone = _update(costs, SEQUENTIAL.grid(steps, 1), SEQUENTIAL, memory)
    return Prediction(
        configuration=configuration,
        steps=int(steps),
        ranks=int(ranks),
        state=trials * state,
        adjoint=adjoint,
        control=control,
        sequential=trials * alone[0] + alone[1] + alone[2],
    )


def update_time(
    costs: Costs,
    steps: int,
    ranks: int,
    configuration: Configuration,
    *,
    trials: float = 1.0,
    memory: int = 20,
) -> float:
    """Return the seconds of a control update; arguments and errors of `predict`."""
    return predict(costs, steps, ranks, configuration, trials=trials, memory=memory).seconds


def sequential_time(costs: Costs, steps: int, *, trials: float = 1.0, memory: int = 20) -> float:
    """Return the seconds of a control update by sequential time stepping on one rank."""
    return update_time(costs, steps, 1, SEQUENTIAL, trials=trials, memory=memory)


def _sweep(schedule: Schedule, configuration: Configuration) -> None:
    if configuration.lagged:
        schedule.lagged_sweep()
    else:
        schedule.solve(configuration.cycles)


def _update(
    costs: Costs, grid: TimeGrid, configuration: Configuration, memory: int
) -> tuple[float, float, float]:
    """Return the seconds of state sweep and objective, adjoint sweep and derivative, control.

    A sum over all ranks ends each of them.
    """
    local_steps = np.diff(boundaries(grid))
    owner_of_first = int(np.flatnonzero(local_steps)[0])

    state = configuration.schedule(costs, grid)
    state.clock += costs.bind(local_steps)
    state.clock[0] += costs.initial
    if grid.levels > 1:  # the trial begins with a copy of the C-points
        state.clock[state.levels[0].ranks] += state.levels[0].c_points * costs.copy
    _sweep(state, configuration)
    state.clock += costs.objective(local_steps)
    state.clock[-1] += costs.terminal
    state.reduce()

    # In reversed order of the ranks
    lagged = configuration.lagged
    adjoint = configuration.schedule(costs, grid, adjoint=True, derivative=lagged)
    adjoint.clock += (costs.bind(local_steps) + costs.linearise(local_steps))[::-1]
    adjoint.clock[0] += costs.terminal_derivative
    _sweep(adjoint, configuration)
    if not lagged:
        adjoint.clock += costs.derivative(local_steps)[::-1]
    adjoint.clock[adjoint.size - 1 - owner_of_first] += costs.initial_derivative
    adjoint.reduce()

    operations = 2 * memory + OTHER_PRODUCTS
    reductions = (operations + OTHER_REDUCTIONS) * costs.reduction(state.size)
    control = operations * float(costs.vector(local_steps.max())) + reductions
    return float(state.clock.max()), float(adjoint.clock.max()), control


OTHER_PRODUCTS = 10
"""Inner products of an update outside the L-BFGS recursion: descent test, pair, norms."""

OTHER_REDUCTIONS = 2
"""Sums and maxima over the ranks of an update that belong to no product: the history's."""


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
    _check_count("steps_per_rank", steps_per_rank)
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


@dataclass(frozen=True)
class Suggestion:
    """The configuration with the least predicted time, and all others that were considered.

    Attributes
    ----------
    best : Prediction
    considered : tuple of Prediction
        Best first; sequential stepping on one rank is among them, whose ``ranks`` is 1.
    updates : callable
        The factor of the number of updates that was assumed for each configuration.
    """

    best: Prediction
    considered: tuple[Prediction, ...]
    updates: Callable[[Configuration], float]

    def __str__(self) -> str:
        best, chosen = self.best, self.best.configuration
        if chosen.levels == 1:
            return (
                f"N = {best.steps}: sequential time stepping on one rank, {best.seconds:.3g} s an "
                "update; no configuration parallel in time is faster."
            )
        kind = "lagged sweeps" if chosen.lagged else f"{chosen.cycles} cycles"
        return (
            f"N = {best.steps}, {best.ranks} ranks: {chosen.levels} levels, coarsening "
            f"{chosen.coarsening}, relaxation {chosen.relaxation}, {kind}; {best.seconds:.3g} s "
            f"an update, gain {best.gain:.3g} over sequential stepping. Assumes {ASSUMPTION}."
        )


ASSUMPTION = (
    "that every configuration needs the same number of updates, unless `updates` says otherwise; "
    "that the coarse steps are stable and accurate enough at every stride considered; "
    "and that each rank computes as fast as where the costs were measured"
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
    trials: float = 1.0,
    memory: int = 20,
) -> Suggestion:
    """Choose levels, coarsening factors and relaxation for `steps` on `ranks` ranks.

    Tried are all powers of two up to `largest_stride` on level 0, combined with each power of two
    up to 16 on all further levels, and ceil(N / P) on level 0. Sequential stepping on one rank
    is tried too. Not collective; it takes about a second for 1,024 ranks.

    The model knows what a configuration costs, not how fast it converges. By default each is
    taken to need the same number of updates, which favours large strides and F-relaxation.
    `updates` is where measured numbers belong.

    Parameters
    ----------
    costs : Costs
    steps, ranks : int
    cycles : int, optional
        Of each solve; None for lagged sweeps.
    relaxations : sequence of str
        To try on all levels. With lagged sweeps, of the levels below level 0.
    most_levels : int
        >= 2.
    largest_stride : int, optional
        Most fine steps that a step of the coarsest level may cover, N // 2 by default: where
        coarse steps become unstable or useless is known to you alone.
    updates : callable
        Receives a `Configuration` and returns a factor > 0 of the number of updates that it needs,
        sequential stepping being one of them; the product with the time of an update is least.
    trials, memory
        Of `predict`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    _check_count("steps", steps)
    _check_count("ranks", ranks)
    _check_count("most_levels", most_levels)
    largest = max(steps // 2, 1) if largest_stride is None else largest_stride
    _check_count("largest_stride", largest)
    options: dict[str, Any] = {"cycles": 1 if cycles is None else cycles}
    options["lagged"] = cycles is None
    found = [predict(costs, steps, 1, SEQUENTIAL, trials=trials, memory=memory)]
    for factors in _coarsenings(steps, ranks, most_levels, min(largest, max(steps // 2, 1))):
        for relaxation in relaxations:
            if options["lagged"] and len(factors) == 1 and relaxation != relaxations[0]:
                continue  # relaxation counts on the levels between only
            configuration = Configuration(len(factors) + 1, factors, relaxation, **options)
            found.append(predict(costs, steps, ranks, configuration, trials=trials, memory=memory))
    weights = [updates(prediction.configuration) for prediction in found]
    if not all(0 < weight < np.inf for weight in weights):
        raise ValueError(f"`suggest(updates=...)` must return positive numbers, got {weights}.")
    order = np.argsort([w * p.seconds for w, p in zip(weights, found, strict=True)], kind="stable")
    considered = tuple(found[index] for index in order)
    return Suggestion(considered[0], considered, updates)


def _coarsenings(steps: int, ranks: int, most_levels: int, largest: int) -> list[tuple[int, ...]]:
    """Return the factors to try: each first one, and those that repeat a second one after it."""
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


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`{name}` must be an integer >= 1, got {value}.")
