"""The ranks of a machine that need not exist: recordings of all of them, played with clocks.

Ranks are numbered in the direction of the sweep. A message that is sent at time t arrives at
t + latency + bytes / bandwidth, and a rank that waits for it continues then. A collective call
sets the clocks of all ranks to the latest one plus the cost of a sum.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from pint.grid import TimeGrid
from pint.model.costs import Costs
from pint.model.recording import Event, Operation, Part, Recording, Solve, record


class AnyRank:
    """Stands for a communicator where a grid is made for a number of ranks that do not exist."""

    def __init__(self, size: int) -> None:
        self.size, self.rank = size, 0


def boundaries(grid: TimeGrid) -> np.ndarray:
    """Return the first finest step of each rank, and N."""
    return np.array([grid.boundary(rank) for rank in range(grid.comm.size + 1)])


def parts(grid: TimeGrid, reverse: bool) -> list[Part]:
    """Return each rank's part of a grid, in the direction of the sweep."""
    size, bounds = grid.comm.size, boundaries(grid)
    if reverse:
        bounds = grid.steps - bounds[::-1]
    positions, columns = np.arange(size), []
    for level, stride in enumerate(grid.strides):
        first, last = bounds[:-1] // stride, bounds[1:] // stride
        factor = grid.coarsening[level] if level + 1 < grid.levels else 1
        active = (last > first) | (positions == 0)
        # The owner of a point makes the finest step that ends there; point 0 is the first rank's.
        left = np.searchsorted(bounds, np.maximum(first * stride - 1, 0), side="right") - 1
        right = np.searchsorted(bounds, (last + 1) * stride - 1, side="right") - 1
        has_left = active & (positions > 0)
        has_right = active & (last < grid.steps // stride)
        left[first == 0] = 0
        columns.append(
            [
                last - first,
                np.where(active, first % factor, 0),
                np.where(has_left, left - positions, 0),
                np.where(has_right, right - positions, 0),
            ]
        )
    by_rank = np.array(columns).transpose(2, 0, 1).tolist()
    return [
        Part(
            tuple(map(tuple, levels)),
            grid.coarsening,
            steps=grid.steps,
            rank=size - 1 - position if reverse else position,
            size=size,
            reverse=reverse,
        )
        for position, levels in enumerate(by_rank)
    ]


class Sweep:
    """What all ranks do in a sweep, in its direction.

    Parameters
    ----------
    grid : TimeGrid
        For `AnyRank`.
    how : Solve
    reverse : bool
        The sweep goes backward in time.
    """

    def __init__(self, grid: TimeGrid, how: Solve, reverse: bool = False) -> None:
        self.recordings: list[Recording] = [record(part, how) for part in parts(grid, reverse)]

    @property
    def last_steps(self) -> np.ndarray:
        """Steps of level 0 in the last pass of each rank."""
        return np.array([recording.last_steps for recording in self.recordings])

    def clocks(
        self, price: Callable[[Operation], float], costs: Costs, start: np.ndarray
    ) -> np.ndarray:
        """Return the clocks of all ranks at the end; `start` has those at the beginning.

        Parameters
        ----------
        price : callable
            Returns the seconds of an `Operation`.
        costs : Costs
            For messages and sums.
        start : ndarray, shape (ranks,)
        """
        price = lru_cache(maxsize=None)(price)
        distinct = {id(one): one for one in self.recordings}
        seconds = {number: one.seconds(price) for number, one in distinct.items()}
        ranks = [
            Rank(position, clock, recording.events, seconds[id(recording)])
            for position, (clock, recording) in enumerate(
                zip(start.tolist(), self.recordings, strict=True)
            )
        ]
        play(ranks, costs.message, costs.reduction(len(ranks)))
        return np.array([rank.clock for rank in ranks])


def play(ranks: Sequence[Rank], message: float, reduction: float) -> None:
    """Play the recordings of all ranks to their ends; the order of the ranks does not matter.

    Parameters
    ----------
    ranks : sequence of Rank
    message : float
        Seconds from sending a state until it arrives.
    reduction : float
        Seconds that a collective call takes once its last rank has arrived.

    Raises
    ------
    RuntimeError
        If each rank waits for another one.
    """
    arrivals: Arrivals = defaultdict(deque)
    running = ranks
    while running:
        moved = [rank.run(arrivals, message, reduction) for rank in running]
        running = [rank for rank in running if rank.event is not None]
        if running and all(rank.event == Event("meet") for rank in running):
            latest = max(rank.clock for rank in running) + reduction
            for rank in running:
                rank.proceed(latest)
        elif running and not any(moved):
            raise RuntimeError("each rank of the model waits for another one.")


Arrivals = defaultdict[tuple[int, int, int], deque[float]]
"""When messages arrive, by sender, receiver and tag."""


class Rank:
    """A rank that plays its recording; its clock includes all work before its next event."""

    def __init__(
        self, position: int, clock: float, events: tuple[Event, ...], seconds: list[float]
    ) -> None:
        self.clock = clock + seconds[0]
        self._position, self._place = position, 0
        self._events, self._seconds = events, seconds

    @property
    def event(self) -> Event | None:
        """The next event, None at the end."""
        return self._events[self._place] if self._place < len(self._events) else None

    def proceed(self, clock: float) -> None:
        """Leave an event behind at a time, and work until the next one."""
        self._place += 1
        self.clock = clock + self._seconds[self._place]

    def run(self, arrivals: Arrivals, message: float, reduction: float) -> bool:
        """Continue to the end, a meeting, or a message not sent yet; return whether it moved."""
        here, start = self._position, self._place
        while (event := self.event) is not None:
            if event.kind == "send":
                key = here, here + event.distance, event.tag
                arrivals[key].append(self.clock + message)
                self.proceed(self.clock)
            elif event.kind == "receive":
                queue = arrivals[here + event.distance, here, event.tag]
                if not queue:
                    break
                self.proceed(max(self.clock, queue.popleft()))
            else:
                break
        return self._place > start
