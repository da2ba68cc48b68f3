"""Both equations from C-point to C-point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.intervals.parts import Intervals
from pint.equations.results import as_rows, at_rows
from pint.equations.sweeps import Sweep
from pint.mgrit import Propagator
from pint.states import Block


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
