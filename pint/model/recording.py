"""What one rank does in a sweep: `pint.mgrit` runs, computes nothing, and is written down.

With a fixed number of cycles no decision of the engine depends on a number: neither on a state nor
on a residual. One rank can therefore run alone, with steps that compute nothing, blocks that hold
nothing and messages that are never sent. Its run is a list of operations, without a time yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from pint.grid import TimeGrid
from pint.mgrit import MGRIT, Accuracy, Guess, Propagator
from pint.states import StateSpace

Operation = tuple[str, int, int]
"""What costs time: ("step" or "last step", level, batch size), ("copy", 0, 0), ("norm", 0, 0)."""


@dataclass(frozen=True)
class Event:
    """Where a rank has to do with others.

    Attributes
    ----------
    kind : str
        The rank sends a message, waits for one, or meets all others in a collective call.
    distance : int
        To the other rank, in the direction of the sweep.
    tag : int
        Messages between the same two ranks with the same tag arrive in order.
    """

    kind: Literal["send", "receive", "meet"]
    distance: int = 0
    tag: int = 0


@dataclass(frozen=True)
class Recording:
    """The operations of a rank, and the events between them.

    Attributes
    ----------
    events : tuple of Event
    operations : tuple of Operation
        All different ones.
    place, operation, count : ndarray of int
        ``count[i]`` times ``operations[operation[i]]`` come before event ``place[i]``; work after
        the last event has the number of events as its place.
    last_steps : int
        Steps of level 0 in the engine's last pass.
    """

    events: tuple[Event, ...]
    operations: tuple[Operation, ...]
    place: np.ndarray
    operation: np.ndarray
    count: np.ndarray
    last_steps: int

    def seconds(self, price: Callable[[Operation], float]) -> list[float]:
        """Return the seconds of the work before each event, and after the last one."""
        prices = np.array([price(operation) for operation in self.operations])
        weights = self.count * prices[self.operation]
        places = len(self.events) + 1
        result: list[float] = np.bincount(self.place, weights, minlength=places).tolist()
        return result


@dataclass(frozen=True)
class Solve:
    """How the engine is called.

    Attributes
    ----------
    relaxation, cycle
        Of `MGRIT`.
    cycles : int
    lagged, weighted : bool
        Whether `MGRIT.lagged_solve` is called instead of `MGRIT.solve`, and with weights.
    guess : Guess or None
        The first guess of a first solve; None if the solve starts from an earlier one.
    batch : int
        Number of states that fit into a chunk.
    runs : bool
        Whether runs of steps are made in one call.
    """

    relaxation: tuple[str, ...]
    cycle: Literal["V", "F"]
    cycles: int
    lagged: bool
    weighted: bool
    guess: Guess | None
    batch: int
    runs: bool


@dataclass(frozen=True)
class Part:
    """A rank's part of a grid; parts that are equal make the same recording.

    Attributes
    ----------
    levels : tuple of tuple of int
        For each level: steps, place of the first one in its coarse interval, distances to the
        left- and the right-hand neighbour (0 without one).
    coarsening : tuple of int
    steps, rank, size, reverse
        Where one of the equal parts lies; they take no part in comparisons.
    """

    levels: tuple[tuple[int, ...], ...]
    coarsening: tuple[int, ...]
    steps: int = field(compare=False)
    rank: int = field(compare=False)
    size: int = field(compare=False)
    reverse: bool = field(compare=False)


@lru_cache(maxsize=2**12)
def record(part: Part, how: Solve) -> Recording:
    """Run the engine for one rank; the result is kept for equal parts."""
    notes = _Notes()
    comm = _Comm(notes, part.rank, part.size, part.reverse)
    factors = part.coarsening or 2
    grid = TimeGrid.uniform(1.0, part.steps, factors, len(part.coarsening) + 1, comm)
    solver = MGRIT(
        grid,
        _Space(notes),
        reverse=part.reverse,
        relaxation=how.relaxation,
        cycle=how.cycle,
        chunk_bytes=how.batch,
    )
    steps, trajectory = _Steps(notes, how.runs), solver.allocate()
    if how.guess is not None:
        solver.set_guess(steps, trajectory, how.guess)
    if how.lagged:
        tau = solver.allocate_tau()
        weights = solver.allocate() if how.weighted else None
        solver.lagged_solve(steps, trajectory, tau, how.cycles, weights=weights)
    else:
        solver.solve(steps, trajectory, Accuracy(how.cycles))
    return notes.recording()


class _Notes:
    """What has been done so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.work: list[Counter[Operation]] = [Counter()]
        self.last_steps = 0

    def did(self, what: str, count: int, level: int = 0, size: int = 0) -> None:
        self.work[-1][what, level, size] += count

    def met(self, event: Event) -> None:
        self.events.append(event)
        self.work.append(Counter())

    def recording(self) -> Recording:
        numbers: dict[Operation, int] = {}
        rows = [
            (place, numbers.setdefault(operation, len(numbers)), count)
            for place, work in enumerate(self.work)
            for operation, count in work.items()
        ]
        place, operation, count = np.array(rows, dtype=int).reshape(-1, 3).T
        return Recording(
            tuple(self.events), tuple(numbers), place, operation, count, self.last_steps
        )


class _Steps(Propagator):
    """Steps that are noted, and not made."""

    def __init__(self, notes: _Notes, runs: bool) -> None:
        self._notes, self._is_last, self.relaxes = notes, False, runs

    def apply(self, level: int, steps: range, states: Any, out: Any, guess: Any = None) -> None:
        self._note(level, 1, len(steps))

    def march(self, level: int, steps: range, *blocks: Any) -> None:
        self._note(level, len(steps), 1)

    def relax(self, level: int, steps: range, length: int, *blocks: Any) -> None:
        self._note(level, len(steps) * length, 1)

    def begin_pass(self, last: bool) -> None:
        self._is_last, self._notes.last_steps = last, 0

    def _note(self, level: int, calls: int, size: int) -> None:
        is_last = self._is_last and level == 0
        self._notes.did("last step" if is_last else "step", calls, level, size)
        if is_last:
            self._notes.last_steps += calls * size


class _Rows:
    """A block that knows how many states it would hold, and notes what is done to them."""

    __slots__ = ("_base", "_count", "_notes", "_place")

    def __init__(self, notes: _Notes, count: int, base: Any = None, place: Any = None) -> None:
        self._notes, self._count, self._base, self._place = notes, count, base, place

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> _Rows:
        count = len(range(self._count)[place]) if isinstance(place, slice) else 1
        return _Rows(self._notes, self._count if place is ... else count, self, place)

    def __setitem__(self, place: Any, value: Any) -> None:
        # ``block[place] += x`` ends with the assignment of a view to itself, which costs nothing
        if not (isinstance(value, _Rows) and value._base is self and value._place == place):
            self[place]._copied()

    def _copied(self, other: Any = None) -> _Rows:
        self._notes.did("copy", self._count)
        return self

    __iadd__ = __isub__ = __imul__ = _copied

    def __mul__(self, other: Any) -> _Rows:
        return _Rows(self._notes, self._count)._copied()

    __rmul__ = __mul__


class _Space(StateSpace):
    """States of one byte, so that the engine's chunk in bytes is one in states."""

    shape = ()
    state_bytes = 1

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes

    def allocate(self, count: int) -> _Rows:
        return _Rows(self._notes, count)

    def squared_norm(self, block: _Rows) -> float:
        self._notes.did("norm", len(block))
        return 0.0

    def pair(self, a: _Rows, b: _Rows) -> float:
        return self.squared_norm(a)


class _Request:
    def __init__(self, notes: _Notes, event: Event | None = None) -> None:
        self._notes, self._event = notes, event

    def Test(self) -> bool:  # noqa: N802  (mpi4py's name)
        return True

    def Wait(self) -> None:  # noqa: N802  (mpi4py's name)
        if self._event is not None:
            self._notes.met(self._event)


class _Comm:
    """The communicator of one rank whose messages are noted, and not sent."""

    operations: Mapping[str, None] = {"sum": None, "min": None, "max": None}

    def __init__(self, notes: _Notes, rank: int, size: int, reverse: bool) -> None:
        self.rank, self.size = rank, size
        self._notes, self._direction = notes, -1 if reverse else 1

    def Isend(self, state: _Rows, dest: int, tag: int) -> _Request:  # noqa: N802  (mpi4py's name)
        self._notes.met(Event("send", self._direction * (dest - self.rank), tag))
        return _Request(self._notes)

    def Irecv(self, state: _Rows, source: int, tag: int) -> _Request:  # noqa: N802
        distance = self._direction * (source - self.rank)
        return _Request(self._notes, Event("receive", distance, tag))

    def Allreduce(self, send: np.ndarray, receive: np.ndarray, op: Any) -> None:  # noqa: N802
        self._notes.met(Event("meet"))
        receive[...] = send

    def Bcast(self, state: _Rows, root: int) -> None:  # noqa: N802
        self._notes.met(Event("meet"))
