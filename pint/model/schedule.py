"""A cycle on all ranks at once: a clock for each, following what `pint.mgrit` does.

Ranks are numbered in the direction of the sweep. A message that is sent at time t is there at
t + latency + bytes / bandwidth; a rank that waits for it goes on then. Everything is an array over
the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.grid import TimeGrid
from pint.model.costs import CallCost, Costs


def boundaries(grid: TimeGrid) -> np.ndarray:
    """Return the first finest step of each rank, and N."""
    return np.array([grid.boundary(rank) for rank in range(grid.comm.size + 1)])


@dataclass(frozen=True)
class AnyRank:
    """Stands for a communicator where a grid is made for a number of ranks that do not exist."""

    size: int
    rank: int = 0


class LevelSchedule:
    """Seconds of the parts of each operation on one level, for each rank that has a part of it.

    Attributes
    ----------
    ranks : ndarray of int
        The ranks that own points of the level, in the direction of the sweep; the other arrays
        have an entry for each of them.
    steps, c_points : ndarray of int
        Steps, and C-points without point 0.
    relaxed_steps : ndarray of int
        Steps of an F-relaxation.
    known_early, waits : ndarray of bool
        Whether an F-relaxation can send before it receives; whether one of the intervals between
        begins at the point that the message from the left brings.
    opening, between, closing : ndarray of float
        Of an F-relaxation: the interval that ends on the next rank, the intervals that begin
        here, and the rest of the one that began on the previous rank.
    held_back : ndarray of float
        The part of `between` that comes after the message where one waits for it.
    c_steps, march : ndarray of float
        A step to each C-point; all steps one by one.
    not_waiting, waiting : ndarray of float
        Of the right-hand side: steps from the rank's own points, and from the point before them.
    """

    def __init__(self, owned: np.ndarray, factor: int, cost: CallCost, batch: int) -> None:
        here = np.flatnonzero((np.diff(owned) > 0) | (np.arange(len(owned) - 1) == 0))
        first, last = owned[here], owned[here + 1]
        self.ranks, self.steps = here, last - first
        self.march = self.steps * cost(1)
        # Of the right-hand side: the first step of a rank waits for the rank before it.
        waits = (np.arange(len(here)) > 0) & (self.steps > 0)
        self.not_waiting = in_batches(cost, self.steps - waits, batch)
        self.waiting = waits * cost(1)
        if not factor:
            return
        self.c_points = last // factor - first // factor
        self.c_steps = in_batches(cost, self.c_points, batch)
        # As Level.last_open_interval, Level.intervals and f_relaxation have it
        at_c_point, ends_at_c_point = first % factor == 0, last % factor == 0
        start = last // factor * factor - first
        has_right = np.arange(len(here)) < len(here) - 1
        is_open = has_right & ~ends_at_c_point & ((start > 0) | ((start == 0) & (here == 0)))
        begin = np.where(at_c_point, 0, factor - first % factor)
        stop = np.where(is_open, start, self.steps)
        intervals = np.maximum(-((begin - stop) // factor), 0)
        tail = np.where(
            intervals > 0, np.minimum(factor - 1, stop - begin - (intervals - 1) * factor), 0
        )
        lead = np.where(at_c_point, 0, np.minimum(factor - first % factor - 1, self.steps))
        open_steps = np.where(is_open, last - first - start, 0)
        self.known_early, self.waits = is_open | ends_at_c_point, at_c_point
        self.opening, self.closing = open_steps * cost(1), lead * cost(1)
        # All intervals but the last one, which may be short, in full batches
        full = np.maximum(intervals - 1, 0) // batch
        rest = intervals - full * batch
        self.between = full * (factor - 1) * cost(batch) + tail * cost(rest)
        self.between += (factor - 1 - tail) * cost(np.maximum(rest - 1, 0))
        # The first of several batches comes last, after the message that it needs.
        first_batch = (factor - 1) * cost(batch)
        self.held_back = np.where(intervals > batch, first_batch, self.between)
        self.relaxed_steps = open_steps + lead + np.maximum(intervals - 1, 0) * (factor - 1) + tail


def in_batches(cost: CallCost, count: np.ndarray, batch: int) -> np.ndarray:
    """Return the seconds of `count` independent steps, `batch` at a time."""
    return np.asarray(count // batch * cost(batch) + cost(count % batch))


class Schedule:
    """The clocks of all ranks, in the direction of the sweep, during the solves of one sweep.

    Parameters
    ----------
    costs : Costs
    grid : TimeGrid
        For `AnyRank`.
    relaxation : sequence of int
        nu for each level but the coarsest.
    f_cycle : bool
    adjoint : bool
        The sweep backward in time.
    derivative : bool
        Form the derivative along with each step of level 0.

    Attributes
    ----------
    clock : ndarray, shape (ranks,)
        Seconds.
    steps_evaluated : ndarray of int, shape (levels, ranks)
    """

    def __init__(
        self,
        costs: Costs,
        grid: TimeGrid,
        relaxation: Sequence[int],
        *,
        f_cycle: bool = False,
        adjoint: bool = False,
        derivative: bool = False,
    ) -> None:
        self.costs, self.relaxation, self.f_cycle = costs, tuple(relaxation), f_cycle
        self.size = grid.comm.size
        bounds = boundaries(grid)
        if adjoint:
            bounds = grid.steps - bounds[::-1]
        self.levels = []
        for level, stride in enumerate(grid.strides):
            cost = costs.step(level, adjoint)
            if derivative and level == 0:
                cost = added(cost, costs.derivative, costs.batch)
            factor = grid.coarsening[level] if level + 1 < grid.levels else 0
            self.levels.append(LevelSchedule(bounds // stride, factor, cost, costs.batch))
        self.clock = np.zeros(self.size)
        self.steps_evaluated = np.zeros((grid.levels, self.size), dtype=int)

    def solve(self, cycles: int) -> None:
        """Do what `MGRIT.solve` does: cycles, then F-relaxation; on one level, step through it."""
        if len(self.levels) == 1:
            self.march(0)
            return
        for _ in range(cycles):
            self.cycle(0, self.f_cycle)
        self.f_relaxation(0)

    def lagged_sweep(self) -> None:
        """Solve the coarse problem of the previous sweep, then relax once, then its residual."""
        self._solve_coarse(1, self.f_cycle)
        self._correct(0)
        self.f_relaxation(0)
        self._residual(0)
        self.reduce()
        if len(self.levels) > 2:
            self._right_hand_side(1)

    def cycle(self, level: int, f_cycle: bool) -> None:
        """Do what `pint.mgrit.cycle.cycle` does from `level` on."""
        self.f_relaxation(level)
        for _ in range(self.relaxation[level]):
            self._c_steps(level)
            self.f_relaxation(level)
        self._residual(level)
        if level == 0:
            self.reduce()
        self._right_hand_side(level + 1)
        self._solve_coarse(level + 1, f_cycle)
        self._correct(level)

    def _solve_coarse(self, level: int, f_cycle: bool) -> None:
        if level == len(self.levels) - 1:
            self.march(level)
            return
        self.cycle(level, f_cycle)
        if f_cycle:
            self.cycle(level, f_cycle=False)
        self.f_relaxation(level)

    def f_relaxation(self, level: int) -> None:
        """Step through the F-points; ranks that know their last point early send it first."""
        part = self.levels[level]
        message = self.costs.message
        sent = self.clock[part.ranks] + part.opening
        before = sent + part.between - np.where(part.waits, part.held_back, 0.0)
        after = np.where(part.waits, part.held_back, part.closing)
        # Where an interval covers more than one whole rank, these wait for each other.
        for rank in np.flatnonzero(~part.known_early):
            arrival = sent[rank - 1] + message if rank else -np.inf
            sent[rank] = max(before[rank], arrival) + after[rank]
        arrivals = np.append(-np.inf, sent[:-1] + message)
        self.clock[part.ranks] = np.maximum(before, arrivals) + after
        self._count(level, part.relaxed_steps)

    def march(self, level: int) -> None:
        """Step through the level, rank after rank."""
        part = self.levels[level]
        # end_i = max(clock_i, end_{i-1} + message) + march_i
        passed = np.cumsum(part.march + self.costs.message)
        lead = self.clock[part.ranks] - (passed - part.march - self.costs.message)
        self.clock[part.ranks] = np.maximum.accumulate(lead) + passed - self.costs.message
        self._count(level, part.steps)

    def reduce(self) -> None:
        """Sum a few numbers over all ranks."""
        self.clock[:] = self.clock.max() + self.costs.reduction(self.size)

    def _c_steps(self, level: int) -> None:
        part = self.levels[level]
        self.clock[part.ranks] += part.c_steps
        self._count(level, part.c_points)

    def _residual(self, level: int) -> None:
        """Step to each C-point; difference, copy and two norms there."""
        part, costs = self.levels[level], self.costs
        self._c_steps(level)
        passes = 2 * costs.copy + 2 * costs.norm if level == 0 else costs.copy
        self.clock[part.ranks] += part.c_points * passes

    def _right_hand_side(self, level: int) -> None:
        """Make a step from each point; that from the point before the first one comes last."""
        part = self.levels[level]
        now = self.clock[part.ranks]
        arrivals = np.append(-np.inf, now[:-1] + self.costs.message)
        self.clock[part.ranks] = np.maximum(now + part.not_waiting, arrivals) + part.waiting
        self._count(level, part.steps)

    def _correct(self, level: int) -> None:
        part = self.levels[level]
        self.clock[part.ranks] += part.c_points * self.costs.copy

    def _count(self, level: int, steps: Any) -> None:
        self.steps_evaluated[level, self.levels[level].ranks] += steps


def added(first: CallCost, second: CallCost, largest: int) -> CallCost:
    """Return the cost of doing both, for sizes up to `largest`."""
    sizes = sorted({1, *first.sizes, *second.sizes, largest})
    return CallCost(sizes, [float(first(size) + second(size)) for size in sizes])
