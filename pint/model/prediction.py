"""The predicted time of solves and of control updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pint.grid import TimeGrid
from pint.mgrit import Guess
from pint.mgrit.solver import relaxation_counts
from pint.model.costs import Costs
from pint.model.machine import AnyRank, Sweep, boundaries
from pint.model.recording import Operation, Solve


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
        As for `pint.MGRIT`: for all levels, or one for each level but the coarsest.
    cycle : 'V' or 'F'
    cycles : int
        Of each state and each adjoint solve.
    lagged : bool
        Lagged cycles: each one solves the coarse problem of the cycle before, then relaxes
        level 0.

    Raises
    ------
    ValueError
        If an argument is out of range, or `lagged` is True on one level.
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
        check_count("steps", steps)
        check_count("ranks", ranks)
        return TimeGrid.uniform(1.0, int(steps), self.coarsening, self.levels, AnyRank(int(ranks)))

    def solve(self, costs: Costs, *, adjoint: bool = False, guess: Guess | None = None) -> Solve:
        """Return how the engine is called to solve a sweep; arguments as for `solve_time`."""
        words = [self.relaxation] if isinstance(self.relaxation, str) else self.relaxation
        return Solve(
            relaxation=tuple(words),
            cycle=self.cycle,
            cycles=self.cycles,
            lagged=self.lagged,
            # The objective of a lagged state is corrected by its residual times the adjoint.
            weighted=self.lagged and not adjoint,
            guess=guess,
            batch=costs.batch,
            runs=costs.runs,
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


def solve_time(
    costs: Costs,
    steps: int,
    ranks: int,
    configuration: Configuration,
    *,
    adjoint: bool = False,
    guess: Guess | None = None,
) -> float:
    """Return the seconds of a solve of `pint.MGRIT`, from the first rank's start to the last end.

    Parameters
    ----------
    costs : Costs
    steps : int
        N.
    ranks : int
        P, in time.
    configuration : Configuration
    adjoint : bool
        A solve of the adjoint equation; the derivative with respect to the control is left out.
    guess : 'zero', 'constant', 'coarse' or 'nested', optional
        The solve begins with this first guess; by default with an earlier solution.

    Raises
    ------
    ValueError
        If the configuration does not fit `steps`.
    """
    grid = configuration.grid(steps, ranks)
    how = configuration.solve(costs, adjoint=adjoint, guess=guess)
    sweep = Sweep(grid, how, reverse=adjoint)
    return float(sweep.clocks(prices(costs, adjoint), costs, np.zeros(grid.comm.size)).max())


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


def prices(costs: Costs, adjoint: bool, derivative: bool = False) -> Callable[[Operation], float]:
    """Return a function from an operation to its seconds.

    With `derivative` the last pass forms the derivative along with its steps.
    """

    def price(operation: Operation) -> float:
        what, level, size = operation
        if what == "copy":
            return costs.copy
        if what == "norm":
            return costs.norm
        seconds = float(costs.step(level, adjoint)(size))
        if what == "last step" and derivative:
            seconds += float(costs.derivative(size))
        return seconds

    return price


def _update(
    costs: Costs, grid: TimeGrid, configuration: Configuration, memory: int
) -> tuple[float, float, float]:
    """Return the seconds of state sweep and objective, adjoint sweep and derivative, control.

    A sum over all ranks ends each of the first two.
    """
    bounds, size = boundaries(grid), grid.comm.size
    local_steps, reduction = np.diff(bounds), costs.reduction(size)

    start = costs.bind(local_steps)
    start[0] += costs.initial
    if grid.levels > 1:  # a trial begins with a copy of the C-points
        start += np.diff(bounds // grid.coarsening[0]) * costs.copy
    sweep = Sweep(grid, configuration.solve(costs))
    clocks = sweep.clocks(prices(costs, adjoint=False), costs, start)
    clocks += costs.objective(local_steps)
    clocks[-1] += costs.terminal
    state = float(clocks.max()) + reduction

    # Backward in time the last rank comes first.
    start = (costs.bind(local_steps) + costs.linearise(local_steps))[::-1]
    start[0] += costs.terminal_derivative
    sweep = Sweep(grid, configuration.solve(costs, adjoint=True), reverse=True)
    apart = costs.derivative if costs.derivative_apart is None else costs.derivative_apart
    # A march leaves the derivative to large batches where these are cheaper.
    most = int(local_steps.max())
    along = grid.levels > 1 or most * float(costs.derivative(1)) < float(apart(most))
    formed = sweep.last_steps if along else np.zeros(size, dtype=int)
    clocks = sweep.clocks(prices(costs, adjoint=True, derivative=along), costs, start)
    clocks += apart(local_steps[::-1] - formed)
    clocks[size - 1 - int(np.flatnonzero(local_steps)[0])] += costs.initial_derivative
    adjoint = float(clocks.max()) + reduction

    operations = 2 * memory + OTHER_PRODUCTS
    control = operations * float(costs.vector(most))
    control += (operations + OTHER_REDUCTIONS) * reduction
    return state, adjoint, control


OTHER_PRODUCTS = 10
"""Inner products of an update outside the L-BFGS recursion: descent test, pair, norms."""

OTHER_REDUCTIONS = 2
"""Sums and maxima over the ranks of an update that belong to no product: the history's."""


def check_count(name: str, value: int) -> None:
    """Raise ValueError, which names the argument, unless it is an integer >= 1."""
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`{name}` must be an integer >= 1, got {value}.")
