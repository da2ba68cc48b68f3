"""Exchange of control blocks between ranks in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pint.grid.timegrid import TimeGrid

Needs = Callable[[int], list[range]]
"""Gives, for a rank, the finest steps of other ranks whose blocks it needs, ascending."""


class Halo:
    """Exchange of the blocks of time-dependent fields that belong to other ranks' steps.

    Every rank works out from integers alone what it exchanges, and with whom: no message is spent
    on agreeing, and the work does not depend on the number of ranks.

    Parameters
    ----------
    grid : TimeGrid
    needs : callable
        The steps that a rank needs of others.
    askers : iterable of int
        Ranks that may need steps of this rank: all ranks that do, and possibly others.

    Attributes
    ----------
    before, after : ndarray of int
        The needed steps before and after the rank's own, ascending.
    """

    def __init__(self, grid: TimeGrid, needs: Needs, askers: Iterable[int]) -> None:
        self.comm = grid.comm
        self.first, self.local_steps = grid.first, grid.local_steps
        needed = needs(grid.comm.rank)
        self.before = _steps(_within(needed, 0, grid.first))
        self.after = _steps(_within(needed, grid.last, grid.steps))
        self.receives: dict[int, np.ndarray] = {}
        for steps in (self.before, self.after):
            while len(steps):
                owner = grid.rank_of_step(int(steps[0]))
                count = int(np.searchsorted(steps, grid.boundary(owner + 1)))
                self.receives[owner], steps = steps[:count], steps[count:]
        self.sends = {
            other: _steps(own)
            for other in sorted(set(askers) - {grid.comm.rank})
            if (own := _within(needs(other), grid.first, grid.last))
        }

    def rows(self, steps: np.ndarray) -> np.ndarray:
        """Return the rows of `steps`, own or needed ones, in what `extend` returns."""
        rows = steps - self.first + len(self.before)
        before, after = steps < self.first, steps >= self.first + self.local_steps
        rows[before] = np.searchsorted(self.before, steps[before])
        rows[after] = np.searchsorted(self.after, steps[after]) + len(self.before)
        rows[after] += self.local_steps
        return rows

    def extend(self, values: np.ndarray) -> np.ndarray:
        """Return the blocks of the needed steps before, of the own, and of those after.

        `values` are the own ones. Collective.
        """
        if not self.sends and not self.receives:
            return values
        own = slice(len(self.before), len(self.before) + len(values))
        extended = np.empty((own.stop + len(self.after), *values.shape[1:]))
        extended[own] = values
        requests, arrived = [], {}
        for other, steps in self.receives.items():
            arrived[other] = np.empty((len(steps), *values.shape[1:]))
            requests.append(self.comm.Irecv(arrived[other], source=other))
        sent = [values[steps - self.first] for steps in self.sends.values()]
        for other, blocks in zip(self.sends, sent, strict=True):
            requests.append(self.comm.Isend(blocks, dest=other))
        for request in requests:
            request.Wait()
        for other, steps in self.receives.items():
            extended[self.rows(steps)] = arrived[other]
        return extended


def neighbour_halo(grid: TimeGrid) -> Halo:
    """Return the exchange of the blocks just before and just after each rank's steps."""

    def needs(rank: int) -> list[range]:
        first, last = grid.boundary(rank), grid.boundary(rank + 1)
        beside = [range(first - 1, first), range(last, last + 1)] if first < last else []
        return _within(beside, 0, grid.steps)

    return Halo(grid, needs, {grid.rank_of_step(step.start) for step in needs(grid.comm.rank)})


def coarse_halo(grid: TimeGrid, whole: bool, reverse: bool) -> Halo:
    """Return the exchange of the blocks of other ranks that coarse steps cover, or begin with.

    With injection (not `whole`) a coarse step's first block suffices.
    """
    first, last = grid.first, grid.last
    askers = set()
    if first < last:
        # Of the coarse steps that begin on one rank and end on another, only those that cover a
        # rank's last step (reversed: its first) are of use to another rank.
        for stride in grid.strides[1:]:
            if reverse:
                start = grid.steps - ((grid.steps - 1 - first) // stride + 1) * stride
                owner = start
            else:
                start = (last - 1) // stride * stride
                owner = start + stride - 1
            if 0 <= owner < grid.steps:
                askers.add(grid.rank_of_step(owner))
    return Halo(grid, lambda rank: _coarse_needs(grid, rank, whole, reverse), askers)


def _coarse_needs(grid: TimeGrid, rank: int, whole: bool, reverse: bool) -> list[range]:
    """Return the steps of others that the coarse steps of `rank` cover, or begin with.

    Only the first coarse step of a rank, on each level, can reach to another rank. All of these
    end (reversed: begin) where the rank's own steps begin (end).
    """
    first, last = grid.boundary(rank), grid.boundary(rank + 1)
    if reverse:
        ends = [
            start + stride
            for stride in grid.strides[1:]
            if (start := grid.steps - ((grid.steps - last) // stride + 1) * stride) >= first
        ]
        reach = max(ends, default=last)
        return [range(last, reach)] if whole and reach > last else []
    starts = [
        start
        for stride in grid.strides[1:]
        if (start := first // stride * stride) < first and start + stride <= last
    ]
    if whole:
        return [range(min(starts), first)] if starts else []
    return [range(start, start + 1) for start in sorted(set(starts))]


def _within(steps: list[range], start: int, stop: int) -> list[range]:
    """Return the steps that lie in [start, stop)."""
    cut = [range(max(some.start, start), min(some.stop, stop)) for some in steps]
    return [some for some in cut if some]


def _steps(ranges: list[range]) -> np.ndarray:
    """Return the numbers in some ranges."""
    return np.concatenate(
        [np.zeros(0, int), *(np.arange(some.start, some.stop) for some in ranges)]
    )
