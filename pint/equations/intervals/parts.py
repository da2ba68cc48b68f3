"""The intervals of a rank: the states within them, computed again, and their steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import proxy

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.calls import Calls
from pint.equations.results import as_rows, at_rows
from pint.equations.trajectory import fits
from pint.grid import Steps
from pint.interface import Fields
from pint.mgrit.hierarchy import Level
from pint.states import Block


class Intervals:
    """The intervals of this rank, some at a time, on blocks that are allocated once.

    Intervals are numbered on all ranks together, and ascend in time.

    Parameters
    ----------
    calls : Calls
    level : Level
        Level 0 of the state solver, with the C-points alone; steps made again are counted there.
    kept_bytes : float
        Most memory for what the steps of a chunk keep; nothing is kept if they need more.

    Attributes
    ----------
    factor : int
        Steps of an interval, m.
    size : int
        Intervals of a chunk, not more than the engine's: all their states are not more than the
        engine's chunk, or than the rank's C-points, where that is possible.
    own : range
        The intervals of this rank.
    states : Block, ``size * factor + 1`` states
    adjoints : Block, ``2 * size`` states
    """

    def __init__(self, calls: Calls, level: Level, kept_bytes: float) -> None:
        # The level holds its propagator, which holds this: a reference to it would be a cycle.
        self.calls, self._level = calls, proxy(level)
        self.factor = calls.grid.coarsening[0]
        self.own = range(level.layout.first, level.layout.last)
        largest = max(level.chunk, len(self.own)) // self.factor
        self.size = max(1, min(level.chunk, len(self.own), largest))
        self.states = calls.space.allocate(self.size * self.factor + 1)
        # Adjoints go backward between two halves, as states go forward.
        self.adjoints = calls.space.allocate(2 * self.size)
        shape, steps = calls.problem.stepper.kept_shape, self.size * (self.factor - 1)
        # Nothing for the steps to C-points: `path` does not make them.
        keeps = fits(steps, shape, kept_bytes, calls.space.comm)
        kind = calls.problem.stepper.kept_type
        self._kept: Any = np.empty((steps, *(shape or ())), kind) if keeps else None
        if self._kept is not None and kind is float:
            self._kept = calls.space.lift(self._kept)

    def chunks(self, intervals: range, most: int = 0) -> Iterator[range]:
        """Split consecutive intervals into chunks of `most`, by default of `size`."""
        most = most or self.size
        for begin in range(0, len(intervals), most):
            yield intervals[begin : begin + most]

    def starts(self, intervals: range, offset: int) -> range:
        """Return the finest points `offset` points after intervals begin."""
        m = self.factor
        return range(intervals.start * m + offset, intervals.stop * m + offset, m)

    def rows(self, intervals: range, offset: int) -> range:
        """Return the rows of these points in a trajectory of all points."""
        starts, first = self.starts(intervals, offset), self.calls.grid.first
        return range(starts.start - first, starts.stop - first, starts.step)

    def places(self, intervals: range) -> slice:
        """Return where intervals begin in a trajectory of C-points."""
        first = self.own.start
        return slice(intervals.start - first, intervals.stop - first)

    def blocks(self, control: Control | Lifted, intervals: range, offset: int) -> Fields:
        """Return the control blocks of the steps `offset` points after intervals begin."""
        return at_rows(control, as_rows(self.rows(intervals, offset)))[0]

    def path(
        self, control: Control | Lifted, intervals: range, points: Block, keep: bool = False
    ) -> list[Block]:
        """Return the states of a chunk: m + 1 blocks, one for each point of an interval.

        The first and the last are the C-points in `points`; those between them are computed, and
        valid until the next call. With `keep`, `kept` returns what their steps have kept.
        """
        places = self.places(intervals)
        ends = points[places.start + 1 : places.stop + 1]
        return self.path_between(control, intervals, points[places], ends, keep)

    def path_between(
        self,
        control: Control | Lifted,
        intervals: range,
        begins: Block,
        ends: Block,
        keep: bool = False,
    ) -> list[Block]:
        """Return the states of a chunk, as `path` does, from those at the ends of its intervals."""
        count, blocks = len(intervals), [begins]
        # The step to the C-point is left out: the state there is stored.
        for offset in range(self.factor - 1):
            out = self.states[offset * count : (offset + 1) * count]
            kept = self.kept(offset, count) if keep else None
            self.step(control, intervals, offset, blocks[-1], out, kept)
            blocks.append(out)
        # Steps that are made again count, too: they are the price of storing C-points alone.
        self._level.steps_evaluated += (self.factor - 1) * count
        blocks.append(ends)
        return blocks

    def jacobians(
        self,
        control: Control | Lifted,
        intervals: range,
        path: list[Block],
        out: np.ndarray,
        keep: bool,
    ) -> None:
        """Write the derivatives of the intervals of a chunk, shape (B, n, n), in place.

        `path` holds their states; with `keep` it was made with what steps keep.
        """
        count, theta = len(intervals), control.shared
        for i in range(out.shape[1]):
            lam = self.calls.space.allocate(count)
            lam.reshape(count, -1)[:, i] = 1.0
            for offset in reversed(range(self.factor)):
                half = offset % 2 * self.size
                new, kept = self.adjoints[half : half + count], self.kept(offset, count)
                self.calls.vjp(
                    0,
                    self.starts(intervals, offset),
                    self.blocks(control, intervals, offset),
                    theta,
                    path[offset],
                    lam,
                    new,
                    kept if keep else None,
                    path[offset + 1],
                )
                lam = new
            out[:, i] = lam.reshape(count, -1)

    def step(
        self,
        control: Control | Lifted,
        intervals: range,
        offset: int,
        y: Block,
        out: Block,
        kept: Any = None,
    ) -> None:
        """Make the steps `offset` points after intervals begin, from `y` to `out`."""
        u = self.blocks(control, intervals, offset)
        self.calls.step(0, self.starts(intervals, offset), u, control.shared, y, out, kept)

    def kept(self, offset: int, count: int) -> Any:
        """Return what the steps `offset` points after the C-points keep; None if nothing."""
        if self._kept is None or offset == self.factor - 1:
            return None
        return self._kept[offset * count : (offset + 1) * count]

    def visit(
        self, control: Control | Lifted, points: Block
    ) -> Iterator[tuple[Any, Any, Any, Steps, dict[str, Any]]]:
        """Yield all steps of level 0, some at a time: rows, states before and after, steps, u.

        The rows are those of a trajectory of all points.
        """
        for intervals in self.chunks(self.own):
            path = self.path(control, intervals, points)
            for offset in range(self.factor):
                rows = self.rows(intervals, offset)
                for here, place, s, u in self.calls.visit(rows, control, len(rows)):
                    yield here, path[offset][place], path[offset + 1][place], s, u

    def expand(self, control: Control | Lifted, points: Block) -> Block:
        """Return a trajectory of all points, row 0 included."""
        m = self.factor
        whole = self.calls.space.allocate(len(self.own) * m + 1)
        whole[::m] = points
        for intervals in self.chunks(self.own):
            path, places = self.path(control, intervals, points), self.places(intervals)
            for offset in range(1, m):
                whole[places.start * m + offset : places.stop * m : m] = path[offset]
        return whole

    def add_sources(
        self, ends: Block, sums: Block, here: Any, of_start: Any, of_end: Any, scale: float
    ) -> None:
        """Add the derivatives of step costs, times `scale`, to sources, in place.

        `here` are rows as `visit` yields them. ``ends[i + 1]`` receives what belongs to the last
        point of interval i, ``sums[i]`` the sum of everything else in it.
        """
        many = isinstance(here, slice)
        row, offset = divmod(here.start if many else here, self.factor)
        stop = row + len(range(here.start, here.stop, here.step)) if many else row + 1
        inside: Any = slice(row, stop) if many else row
        after: Any = slice(row + 1, stop + 1) if many else row + 1
        sums[inside] += scale * of_start
        if offset < self.factor - 1:
            sums[inside] += scale * of_end
        else:
            ends[after] += scale * of_end
