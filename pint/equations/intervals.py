"""Sweeps over C-points alone: the F-points between them are computed again where they are needed.

A step of level 0 of these sweeps goes over a whole interval, from a C-point to the next. It is
made of the m time steps of `pint.equations.sweeps`, for a chunk of intervals at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from pint.controls import Control
from pint.equations.sweeps import AdjointSweep, StateSweep, steps_from
from pint.equations.tape import Kept
from pint.grid import Steps
from pint.interface import Problem, checked
from pint.mgrit.hierarchy import Level, Propagator
from pint.states import Block


class Intervals:
    """The intervals of this rank, some at a time, on blocks that are allocated once.

    Parameters
    ----------
    problem : Problem
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
    first : int
        Number of the rank's first interval.
    count : int
        Number of intervals of the rank.
    states : Block, ``size * factor + 1`` states
    adjoints : Block, ``2 * size`` states
    """

    def __init__(self, problem: Problem, level: Level, kept_bytes: float) -> None:
        self.problem, self._level = problem, level
        self.factor = problem.grid.coarsening[0]
        self.first, self.count = level.layout.first, level.layout.local_steps
        largest = max(level.chunk, self.count) // self.factor
        self.size = max(1, min(level.chunk, self.count, largest))
        self.states = problem.space.allocate(self.size * self.factor + 1)
        self.adjoints = problem.space.allocate(2 * self.size)
        shape, steps = problem.stepper.kept_shape, self.size * (self.factor - 1)
        keeps = shape is not None and 8 * steps * np.prod(shape, dtype=int) <= kept_bytes
        self._kept = np.empty((steps, *(shape or ()))) if keeps else None

    def chunks(self, intervals: range, most: int) -> Iterator[range]:
        """Split consecutive intervals, numbered on all ranks, into chunks of `most`."""
        for begin in range(0, len(intervals), most):
            yield intervals[begin : begin + most]

    def steps(self, intervals: range, offset: int) -> range:
        """Return the finest steps that begin `offset` points after the intervals do."""
        m = self.factor
        return range(intervals.start * m + offset, intervals.stop * m + offset, m)

    def rows(self, intervals: range) -> slice:
        """Return the rows of a trajectory where the intervals begin."""
        return slice(intervals.start - self.first, intervals.stop - self.first)

    def path(
        self, sweep: StateSweep, intervals: range, trajectory: Block, keep: bool = False
    ) -> list[Block]:
        """Return the states of a chunk: m + 1 blocks, one for each point of an interval.

        The first and the last are the C-points in `trajectory`; those between them are computed,
        and valid until the next call. With `keep`, `kept` returns what their steps have kept.
        """
        rows, count = self.rows(intervals), len(intervals)
        blocks = [trajectory[rows]]
        for offset in range(self.factor - 1):
            out = self.states[offset * count : (offset + 1) * count]
            steps = self.steps(intervals, offset)
            sweep.make(0, steps, blocks[-1], out, self.kept(offset, count) if keep else None)
            blocks.append(out)
        self._level.steps_evaluated += (self.factor - 1) * count
        blocks.append(trajectory[rows.start + 1 : rows.stop + 1])
        return blocks

    def kept(self, offset: int, count: int) -> Block | None:
        """Return what the steps `offset` points after the C-points keep; None if nothing."""
        if self._kept is None or offset == self.factor - 1:
            return None
        return self._kept[offset * count : (offset + 1) * count]

    def visit(
        self, control: Control, trajectory: Block
    ) -> Iterator[tuple[Any, Any, Any, Steps, dict[str, Any]]]:
        """Yield all steps of level 0, some at a time: rows, states before and after, steps, u.

        The rows are those of a trajectory of all points.
        """
        sweep = StateSweep(self.problem, control, finest=True)
        for intervals in self.chunks(range(self.first, self.first + self.count), self.size):
            path = self.path(sweep, intervals, trajectory)
            for offset in range(self.factor):
                for here, place, s, u in self.batches(control, intervals, offset):
                    yield here, path[offset][place], path[offset + 1][place], s, u

    def batches(
        self, control: Control, intervals: range, offset: int
    ) -> Iterator[tuple[Any, Any, Steps, dict[str, Any]]]:
        """Yield the steps `offset` points after the intervals begin: see `steps_from`."""
        steps, first = self.steps(intervals, offset), self.problem.grid.first
        rows = range(steps.start - first, steps.stop - first, steps.step)
        return steps_from(self.problem, control, rows)

    def expand(self, control: Control, trajectory: Block) -> Block:
        """Return a trajectory of all points, row 0 included."""
        sweep = StateSweep(self.problem, control, finest=True)
        whole, m = self.problem.space.allocate(self.count * self.factor + 1), self.factor
        whole[::m] = trajectory
        for intervals in self.chunks(range(self.first, self.first + self.count), self.size):
            path, rows = self.path(sweep, intervals, trajectory), self.rows(intervals)
            for offset in range(1, m):
                whole[rows.start * m + offset : rows.stop * m : m] = path[offset]
        return whole

    def add_source_terms(
        self, ends: Block, sums: Block, here: Any, of_start: Block, of_end: Block, scale: float
    ) -> None:
        """Add the derivatives of step costs, times `scale`, to sources, in place.

        `here` are rows as `visit` yields them. ``ends[i + 1]`` receives what belongs to the last
        point of interval i, ``sums[i]`` the sum of everything else in it.
        """
        many = isinstance(here, slice)
        row, offset = divmod(here.start if many else here, self.factor)
        stop = row + (len(of_start) if many else 1)
        inside: Any = slice(row, stop) if many else row
        after: Any = slice(row + 1, stop + 1) if many else row + 1
        sums[inside] += scale * of_start
        if offset < self.factor - 1:
            sums[inside] += scale * of_end
        else:
            ends[after] += scale * of_end


class IntervalStateSweep(Propagator):
    """The state equation from C-point to C-point; coarser levels are those of `sweep`."""

    def __init__(self, sweep: StateSweep, intervals: Intervals) -> None:
        self.sweep, self.intervals = sweep, intervals

    def keeping(self, kept: Kept) -> IntervalStateSweep:
        """Return this sweep: nothing is kept for states that are computed again."""
        return self

    def apply(self, level: int, steps: range, states: Block, out: Block) -> None:
        if level > 0:
            self.sweep.apply(level, steps, states, out)
            return
        intervals = self.intervals
        most = len(intervals.states) // 2  # states go back and forth between two halves
        for begin in range(0, len(steps), most):
            some = steps[begin : begin + most]
            y = states[begin : begin + most]
            for offset in range(intervals.factor):
                new = intervals.states[offset % 2 * most :][: len(some)]
                if offset == intervals.factor - 1:
                    new = out[begin : begin + most]
                self.sweep.make(0, intervals.steps(some, offset), y, new)
                y = new

    def march(self, level: int, steps: range, trajectory: Block, rhs: Block | None) -> None:
        if level > 0:
            self.sweep.march(level, steps, trajectory, rhs)
            return
        m, most = self.intervals.factor, self.intervals.size if rhs is None else 1
        for begin in range(0, len(steps), most):
            some = steps[begin : begin + most]
            path, end = self.intervals.states[: len(some) * m + 1], begin + len(some)
            path[0] = trajectory[begin]
            self.sweep.march(0, range(some.start * m, some.stop * m), path, None)
            trajectory[begin + 1 : end + 1] = path[m::m]
            if rhs is not None:
                trajectory[begin + 1 : end + 1] += rhs[begin + 1 : end + 1]


class IntervalAdjointSweep(Propagator):
    """The adjoint equation from C-point to C-point, with the sources of all points but these ends.

    A source that the step cost of one interval adds to the end of the next one (backwards in
    time) is the right-hand side of level 0.

    Parameters
    ----------
    sweep : AdjointSweep
        Its trajectory holds the C-points.
    control : Control
    intervals : Intervals
    scale : float
        Factor of the derivatives of the step cost.
    """

    def __init__(
        self, sweep: AdjointSweep, control: Control, intervals: Intervals, scale: float
    ) -> None:
        self.sweep, self.intervals = sweep, intervals
        self.control, self.scale = control, scale
        self._states = StateSweep(sweep.problem, control, finest=True)

    def with_derivative(self, derivative: Control) -> IntervalAdjointSweep:
        """Return the same sweep that adds to `derivative`: see `AdjointSweep.with_derivative`."""
        new = copy.copy(self)
        new.sweep = self.sweep.with_derivative(derivative)
        return new

    def apply(self, level: int, steps: range, states: Block, out: Block) -> None:
        if level > 0:
            self.sweep.apply(level, steps, states, out)
            return
        done = 0
        for intervals, path in self._paths(steps):
            rows = slice(done, done + len(intervals))
            self._interval_steps(intervals, path, range(len(intervals)), states[rows], out[rows])
            done += len(intervals)

    def march(self, level: int, steps: range, trajectory: Block, rhs: Block | None) -> None:
        if level > 0:
            self.sweep.march(level, steps, trajectory, rhs)
            return
        row = 0
        for intervals, path in self._paths(steps):
            for place in reversed(range(len(intervals))):
                lam, new = trajectory[row : row + 1], trajectory[row + 1 : row + 2]
                self._interval_steps(intervals, path, range(place, place + 1), lam, new)
                if rhs is not None:
                    new += rhs[row + 1 : row + 2]
                row += 1

    @property
    def _intervals_in_all(self) -> int:
        return self.sweep.problem.grid.steps // self.intervals.factor

    def _paths(self, steps: range) -> Iterator[tuple[range, list[Block]]]:
        """Yield the intervals of steps, in ascending order a chunk, and their states."""
        last = self._intervals_in_all
        for some in self.intervals.chunks(steps, self.intervals.size):
            intervals = range(last - some.stop, last - some.start)
            trajectory = self.sweep.trajectory
            yield intervals, self.intervals.path(self._states, intervals, trajectory, keep=True)

    def _interval_steps(
        self, intervals: range, path: list[Block], places: range, states: Block, out: Block
    ) -> None:
        """Go back over the intervals at some `places` of a chunk, from `states` to `out`."""
        parts, problem = self.intervals, self.sweep.problem
        some, chosen = intervals[places.start : places.stop], slice(places.start, places.stop)
        m, size, count, end = parts.factor, parts.size, len(some), problem.grid.steps
        lam = states
        for offset in reversed(range(m)):
            costs = self._cost_derivatives(some, offset, path, places.start)
            if offset < m - 1:  # at the last point it is the right-hand side
                for place, _, of_end in costs:
                    lam[::-1][place] += of_end
            new = parts.adjoints[offset % 2 * size :][:count] if offset else out
            last = end - 1 - some.start * m - offset
            steps = range(last - (count - 1) * m, last + 1, m)
            at, kept = path[offset][chosen][::-1], parts.kept(offset, len(intervals))
            kept = None if kept is None else kept[chosen][::-1]
            self.sweep.transpose(0, steps, at, lam, new, kept)
            for place, of_start, _ in costs:
                new[::-1][place] += of_start
            lam = new

    def _cost_derivatives(
        self, intervals: range, offset: int, path: list[Block], first: int
    ) -> list[tuple[Any, Block, Block]]:
        """Return the place among the intervals and the derivatives to the ends of its step."""
        objective = self.sweep.problem.objective
        if not objective.has_step_cost:
            return []
        some = slice(first, first + len(intervals))
        y0, y1 = path[offset][some], path[offset + 1][some]
        found = []
        for _, place, s, u in self.intervals.batches(self.control, intervals, offset):
            of_start, of_end, _, _ = objective.step_cost_derivative(
                s, y0[place], y1[place], u, self.control.shared
            )
            for derivative in (of_start, of_end):
                checked(derivative, y0[place], objective, "step_cost_derivative")
            found.append((place, self.scale * of_start, self.scale * of_end))
        return found
