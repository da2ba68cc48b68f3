"""Sweeps over C-points alone: the F-points between them are computed again where they are needed.

A step of level 0 of these sweeps goes over a whole interval, from a C-point to the next. It is
made of the m time steps of the interval, for a chunk of intervals at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import proxy

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.calls import Calls
from pint.equations.results import as_rows, at_rows
from pint.equations.sweeps import Sweep
from pint.equations.trajectory import fits
from pint.grid import Steps
from pint.interface import Fields
from pint.mgrit import Propagator
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


class StateIntervals(Propagator):
    """The state equation from C-point to C-point; coarser levels are those of `sweep`."""

    def __init__(self, sweep: Sweep, intervals: Intervals) -> None:
        self.sweep, self.intervals = sweep, intervals

    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        if level > 0:
            self.sweep.apply(level, steps, states, out, guess)
            return
        parts, done = self.intervals, 0
        # A step needs only the states of the step before: two halves of the block take turns.
        most = len(parts.states) // 2
        for some in parts.chunks(steps, most):
            place = slice(done, done + len(some))
            y, done = states[place], place.stop
            for offset in range(parts.factor):
                new = parts.states[offset % 2 * most : offset % 2 * most + len(some)]
                if offset == parts.factor - 1:
                    new = out[place]
                parts.step(self.sweep.control, some, offset, y, new)
                y = new

    def march(
        self,
        level: int,
        steps: range,
        start: Block,
        out: Block,
        rhs: Block | None,
        guessed: bool = False,
        linear: np.ndarray | None = None,
    ) -> None:
        if level > 0:
            self.sweep.march(level, steps, start, out, rhs, guessed, linear)
            return
        parts, done, y = self.intervals, 0, start
        m = parts.factor
        # A right-hand side changes the C-points, so that each interval waits for the one before.
        for some in parts.chunks(steps, parts.size if rhs is None else 1):
            path = parts.states[: len(some) * m]
            self.sweep.march(0, range(some.start * m, some.stop * m), y, path, None)
            place = slice(done, done + len(some))
            out[place] = path[m - 1 :: m]
            if rhs is not None:
                out[place] += rhs[place]
            y, done = out[place.stop - 1 : place.stop], place.stop

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        if level > 0:
            self.sweep.jacobians(level, steps, states, out, guess)
            return
        parts, control, done = self.intervals, self.sweep.control, 0
        assert states is not None and guess is not None
        for some in parts.chunks(steps):
            here = slice(done, done + len(some))
            path = parts.path_between(control, some, states[here], guess[here])
            parts.jacobians(control, some, path, out[here], keep=False)
            done = here.stop


class AdjointIntervals(Propagator):
    """The adjoint equation from C-point to C-point, with the sources of all points but these ends.

    A source that the step cost of one interval adds to the end of the next one (backward in
    time) is the right-hand side of level 0.

    Parameters
    ----------
    sweep : Sweep
        The adjoint equation at a state of C-points.
    intervals : Intervals
    scale : float
        Factor of the derivatives of the step cost.
    """

    reverse = True

    def __init__(self, sweep: Sweep, intervals: Intervals, scale: float) -> None:
        assert sweep.at is not None
        self.sweep, self.intervals, self.scale = sweep, intervals, scale
        self.control, self.points = sweep.control, sweep.at.points
        self.margin = sweep.margin
        self._made = 0

    def begin_pass(self, last: bool) -> None:
        self.sweep.begin_pass(last)
        self._made = 0

    @property
    def derivative(self) -> Control | Lifted | None:
        """The derivative that the last pass formed."""
        return self.sweep.derivative

    @property
    def missing(self) -> range:
        """The rows of the steps that the last pass has left out: none, or all."""
        complete = self.derivative is not None and self._made == len(self.intervals.own)
        return range(0 if complete else self.sweep.calls.grid.local_steps)

    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        if level > 0:
            self.sweep.apply(level, steps, states, out, guess)
            return
        done = 0
        # Intervals are independent here, so that a chunk goes back as one batch.
        for some in self.intervals.chunks(self._in_time(steps)):
            path = self._path(some)
            place = slice(done, done + len(some))
            self._interval_steps(some, path, states[place], out[place])
            done = place.stop

    def march(
        self,
        level: int,
        steps: range,
        start: Block,
        out: Block,
        rhs: Block | None,
        guessed: bool = False,
        linear: np.ndarray | None = None,
    ) -> None:
        if level > 0:
            self.sweep.march(level, steps, start, out, rhs, guessed, linear)
            return
        lam, row = start, len(steps) - 1
        # The states of a chunk are computed forward once; its adjoints go back one by one.
        for some in self._chunks_back(self._in_time(steps)):
            path = self._path(some)
            for place in range(len(some) - 1, -1, -1):
                new = out[row : row + 1]
                here = [block[place : place + 1] for block in path]
                self._interval_steps(some[place : place + 1], here, lam, new, (place, len(some)))
                if rhs is not None:
                    new += rhs[row : row + 1]
                lam, row = new, row - 1

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        if level > 0:
            self.sweep.jacobians(level, steps, states, out, guess)
            return
        done, transposed = 0, out.swapaxes(1, 2)
        for some in self.intervals.chunks(self._in_time(steps)):
            here = slice(done, done + len(some))
            path = self._path(some)
            self.intervals.jacobians(self.control, some, path, transposed[here], keep=True)
            done = here.stop

    def finish(self, points: Block) -> None:
        """Go over all intervals of this rank once more, for the derivative alone."""
        self.begin_pass(last=True)
        spare = self.sweep.calls.space.allocate(self.intervals.size)
        for some in self.intervals.chunks(self.intervals.own):
            ends, path = self.intervals.places(some), self._path(some)
            lam = points[ends.start + 1 : ends.stop + 1]  # the adjoint where intervals end
            self._interval_steps(some, path, lam, spare[: len(some)])

    def _in_time(self, steps: range) -> range:
        """Return the intervals of steps that are numbered backward in time."""
        last = self.sweep.calls.grid.steps // self.intervals.factor
        return range(last - steps.stop, last - steps.start)

    def _chunks_back(self, intervals: range) -> Iterator[range]:
        """Split consecutive intervals into chunks, the last one first."""
        for stop in range(len(intervals), 0, -self.intervals.size):
            yield intervals[max(0, stop - self.intervals.size) : stop]

    def _path(self, intervals: range) -> list[Block]:
        return self.intervals.path(self.control, intervals, self.points, keep=True)

    def _interval_steps(
        self,
        intervals: range,
        path: list[Block],
        states: Block,
        out: Block,
        within: tuple[int, int] | None = None,
    ) -> None:
        """Go back over intervals, from `states` to `out`; `path` holds their states.

        `within` is (place, count) if `intervals` is one interval of a path of `count`.
        """
        parts, calls, theta = self.intervals, self.sweep.calls, self.control.shared
        count, derivative, lam = len(intervals), self.derivative, states
        self._made += count
        for offset in reversed(range(parts.factor)):
            costs = self._cost_derivatives(intervals, offset, path)
            if offset < parts.factor - 1:  # at the last point it is the right-hand side
                for place, _, of_end in costs:
                    lam[place] += of_end
            half = offset % 2 * parts.size
            new = parts.adjoints[half : half + count] if offset else out
            rows = as_rows(parts.rows(intervals, offset))
            first, of = (0, count) if within is None else within
            kept = parts.kept(offset, of)
            calls.vjp(
                0,
                parts.starts(intervals, offset),
                parts.blocks(self.control, intervals, offset),
                theta,
                path[offset],
                lam,
                new,
                None if kept is None else kept[first : first + count],
                path[offset + 1],
                None if derivative is None else at_rows(derivative, rows),
            )
            for place, of_start, _ in costs:
                new[place] += of_start
            lam = new

    def _cost_derivatives(
        self, intervals: range, offset: int, path: list[Block]
    ) -> list[tuple[Any, Any, Any]]:
        """Return the place among the intervals and the derivatives to the ends of its step."""
        calls = self.sweep.calls
        if not calls.problem.objective.has_step_cost:
            return []
        y0, y1, found = path[offset], path[offset + 1], []
        rows = self.intervals.rows(intervals, offset)
        for _, place, s, u in calls.visit(rows, self.control, len(rows)):
            of_start, of_end, _, _ = calls.objective.step_cost_derivative(
                s, y0[place], y1[place], u, self.control.shared
            )
            found.append((place, self.scale * of_start, self.scale * of_end))
        return found
