"""Exchange of control blocks between ranks in time."""

from __future__ import annotations

import numpy as np

from pint.timegrid import TimeGrid


class Halo:
    """Exchange of the blocks of time-dependent fields that belong to other ranks' steps.

    Parameters
    ----------
    grid : TimeGrid
    needed : list of list of int
        For each rank the finest steps, owned by others, whose blocks it needs. All ranks work
        this out from integers alone, so no message is spent on agreeing.

    Attributes
    ----------
    indices : ndarray of int
        Finest steps whose blocks `extend` returns, ascending: the needed and the own.
    """

    def __init__(self, grid: TimeGrid, needed: list[list[int]]) -> None:
        self.comm = grid.comm
        self.first = grid.first
        self.sends = {
            other: own
            for other, steps in enumerate(needed)
            if (own := [step for step in steps if grid.first <= step < grid.last])
        }
        self.receives: dict[int, list[int]] = {}
        for step in needed[grid.comm.rank]:
            self.receives.setdefault(grid.rank_of_step(step), []).append(step)
        own_steps = range(grid.first, grid.last)
        self.indices = np.array(sorted([*needed[grid.comm.rank], *own_steps]), dtype=int)

    def extend(self, values: np.ndarray) -> np.ndarray:
        """Return the blocks of the steps `indices`, this rank's `values` among them. Collective."""
        if not self.sends and not self.receives:
            return values
        extended = np.empty((len(self.indices), *values.shape[1:]))
        extended[np.searchsorted(self.indices, self.first) :][: len(values)] = values
        requests, arrived = [], {}
        for other, steps in self.receives.items():
            arrived[other] = np.empty((len(steps), *values.shape[1:]))
            requests.append(self.comm.Irecv(arrived[other], source=other))
        sent = [values[np.array(steps) - self.first] for steps in self.sends.values()]
        for other, blocks in zip(self.sends, sent, strict=True):
            requests.append(self.comm.Isend(blocks, dest=other))
        for request in requests:
            request.Wait()
        for other, steps in self.receives.items():
            extended[np.searchsorted(self.indices, steps)] = arrived[other]
        return extended


def neighbour_needs(grid: TimeGrid, rank: int) -> list[int]:
    """Return the steps just before and just after those of `rank`, where it has any."""
    first, last = grid.boundaries[rank], grid.boundaries[rank + 1]
    return [step for step in (first - 1, last) if first < last and 0 <= step < grid.steps]


def coarse_needs(grid: TimeGrid, rank: int, whole: bool, reverse: bool) -> list[int]:
    """Return the steps of others that the coarse steps of `rank` cover, or begin with.

    Only the first coarse step of a rank, on each level, can reach to another rank. With
    injection (not `whole`) its first block suffices.
    """
    first, last = grid.boundaries[rank], grid.boundaries[rank + 1]
    steps: set[int] = set()
    for stride in grid.strides[1:]:
        if reverse:
            start = grid.steps - ((grid.steps - last) // stride + 1) * stride
            if first <= start and start + stride > last and whole:
                steps.update(range(last, start + stride))
        else:
            start = first // stride * stride
            if start < first and start + stride <= last:
                steps.update(range(start, first) if whole else [start])
    return sorted(steps)
