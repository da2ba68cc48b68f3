"""The state and the adjoint equation as one-step recursions that the solver can run.

A `StateSweep` binds a problem to a control; an `AdjointSweep` also to a state trajectory. Both are
propagators: they make steps of any level, counted in their direction of time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, cycle, islice, repeat
from typing import Any

import numpy as np

from pint.controls import Control
from pint.equations.tape import Kept
from pint.grid import Steps, as_slice
from pint.interface import Fields, Problem, checked
from pint.mgrit.hierarchy import Propagator
from pint.states import Block


class StateSweep(Propagator):
    """``Y[n+1] = Phi_n(Y[n], u_n, theta)``, forward in time. Making one is collective.

    Parameters
    ----------
    problem : Problem
    control : Control
    kept : Kept, optional
        Where the steps of level 0 keep what their transposes need.
    finest : bool
        Make steps of level 0 only; making the sweep is then not collective.
    """

    def __init__(
        self, problem: Problem, control: Control, kept: Kept | None = None, finest: bool = False
    ) -> None:
        self.problem = problem
        self.theta = control.shared
        self.u = [control.time] if finest else control.space.restrict(control)
        self.layouts = problem.grid.layouts()
        self.steppers = coarsened(problem.stepper, problem.grid.levels)
        self.kept = kept

    def keeping(self, kept: Kept) -> StateSweep:
        """Return the same sweep whose steps of level 0 fill `kept`. Not collective."""
        sweep = copy.copy(self)
        sweep.kept = kept
        return sweep

    def apply(self, level: int, steps: range, states: Block, out: Block) -> None:
        local = self._local(level, steps)
        if not self.problem.stepper.batched:
            self._loop(level, steps, states, out, kept=self._each_kept(level, local, len(steps)))
            return
        held = 0 if self.kept is None or level > 0 else self.kept.held(local)
        # A batch keeps all or nothing, and transposes come in other batches.
        if 0 < held < len(steps):
            for some in (slice(held), slice(held, None)):
                self.apply(level, steps[some], states[some], out[some])
            return
        kept = None if self.kept is None or level > 0 else self.kept.rows(local)
        self.make(level, steps, states, out, kept)

    def make(
        self, level: int, steps: range, states: Block, out: Block, kept: Block | None = None
    ) -> None:
        """Do as `apply`; what the steps keep goes to `kept`, one array for each."""
        if not self.problem.stepper.batched:
            each = None if kept is None else iter(kept[:, None])
            self._loop(level, steps, states, out, kept=each)
            return
        local = self._local(level, steps)
        u = {name: blocks[local] for name, blocks in self.u[level].items()}
        starts, dimensions = self._starts(level, steps), len(self.problem.space.shape)
        s = self.problem.grid.batch(level, starts, dimensions)
        if kept is not None:
            s = s._replace(kept=kept)
        self.steppers[level].step_into(out, s, states, u, self.theta)

    def march(self, level: int, steps: range, trajectory: Block, rhs: Block | None) -> None:
        kept = self._each_kept(level, self._local(level, steps), len(steps))
        self._loop(level, steps, trajectory[:-1], trajectory[1:], rhs, kept)

    def _starts(self, level: int, steps: range) -> range:
        """Return the finest points where steps begin."""
        stride = self.layouts[level].stride
        return range(steps.start * stride, steps.stop * stride, steps.step * stride)

    def _local(self, level: int, steps: range) -> slice:
        """Return the rows of the steps among those of this rank."""
        return as_slice(steps, -self.layouts[level].first)

    def _each_kept(self, level: int, local: slice, count: int) -> Iterable[Any] | None:
        return None if level > 0 or self.kept is None else self.kept.each(local, count)

    def _loop(
        self,
        level: int,
        steps: range,
        states: Block,
        out: Block,
        rhs: Block | None = None,
        kept: Iterable[Any] | None = None,
    ) -> None:
        """Make the steps one by one; each result is complete when the next step begins."""
        problem, theta, local = self.problem, self.theta, self._local(level, steps)
        step, alone = self.steppers[level].step_into, one_by_one(problem)
        names, blocks = single_blocks(self.u[level], local, len(steps), alone)
        parts = zip(
            single_steps(problem, level, self._starts(level, steps), kept),
            blocks,
            alone(states),
            alone(out),
            repeat(None, len(steps)) if rhs is None else alone(rhs[1:]),
            strict=True,
        )
        for s, some, y, new, source in parts:
            step(new, s, y, dict(zip(names, some, strict=True)), theta)
            if source is not None:
                new += source


class AdjointSweep(Propagator):
    """``lam[n] = (dPhi_n/dy)^T lam[n+1] + source[n]``, backward in time; linear.

    Step k of the sweep goes from reversed point k to k + 1. On every level it is the transpose
    of the step that begins at the point where it ends, linearised at the fine trajectory there.
    Sources enter as right-hand side on level 0 only. Making one is collective.

    Parameters
    ----------
    problem : Problem
    control : Control
    trajectory : Block
        The states: row j is point ``grid.first + j * spacing``.
    kept : Kept, optional
        What the steps to these states have kept.
    spacing : int
        Number of finest steps between two rows of the trajectory. With more than one it serves
        the levels that have all their points there; steps of level 0 are then made by
        `transpose`.
    """

    def __init__(
        self,
        problem: Problem,
        control: Control,
        trajectory: Block,
        kept: Kept | None = None,
        spacing: int = 1,
    ) -> None:
        self.problem = problem
        self.theta = control.shared
        self.u = control.space.restrict(control, reverse=True)
        self.trajectory = trajectory
        self.layouts = problem.grid.layouts(reverse=True)
        self.adjoints = coarsened(problem.adjoint, problem.grid.levels)
        self.kept = kept
        self.spacing = spacing
        self.derivative: Control | None = None
        self._targets: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]

    def with_derivative(self, derivative: Control) -> AdjointSweep:
        """Return the same sweep that adds what its steps of level 0 contribute to `derivative`.

        That of a time-dependent field is added to the block of the step, that of a shared one to
        this rank's part of the sum. Not collective.
        """
        sweep = copy.copy(self)
        sweep.derivative = derivative
        sweep._targets = (derivative.time, derivative.shared)
        return sweep

    def apply(self, level: int, steps: range, states: Block, out: Block) -> None:
        rows = self._rows(level, steps)
        if not self.problem.stepper.batched:
            kept = self._each_kept(level, rows, len(steps))
            self._loop(level, steps, self._linearised_at(rows), states, out, kept=kept)
            return
        held = 0 if self.kept is None or level > 0 else self.kept.held(rows)
        if 0 < held < len(steps):  # those that are held come last, backwards in time
            for some in (slice(-held), slice(-held, None)):
                self.apply(level, steps[some], states[some], out[some])
            return
        known = None if level > 0 or self.kept is None else self.kept.known_rows(rows)
        self.transpose(level, steps, self._linearised_at(rows), states, out, known)

    def transpose(
        self,
        level: int,
        steps: range,
        at: Block,
        states: Iterable[Any],
        out: Iterable[Any],
        kept: Block | None = None,
    ) -> None:
        """Do as `apply`, linearised at the states `at`, whose steps have kept `kept`."""
        if not self.problem.stepper.batched:
            each = None if kept is None else iter(kept[:, None])
            self._loop(level, steps, at, states, out, kept=each)
            return
        rows, local = self._rows(level, steps), self._local(level, steps)
        u = {name: blocks[local] for name, blocks in self.u[level].items()}
        starts = self._starts(level, steps)
        s = self.problem.grid.batch(level, starts, len(self.problem.space.shape))
        if kept is not None:
            s = s._replace(kept=kept)
        arguments = (out, s, at, u, self.theta, states)
        if level > 0 or self.derivative is None:
            self.adjoints[level].step_into(*arguments)
            return
        du, dtheta = self.adjoints[0].step_with_derivative(*arguments)
        add(self._targets, rows, du, dtheta, self.problem.adjoint)

    def march(self, level: int, steps: range, trajectory: Block, rhs: Block | None) -> None:
        rows, alone = self._rows(level, steps), one_by_one(self.problem)
        kept, at = self._each_kept(level, rows, len(steps)), self._linearised_at(rows)
        if trajectory.strides[0] > 0:
            states, out = alone(trajectory[:-1]), alone(trajectory[1:])
            self._loop(level, steps, at, states, out, rhs, kept)
            return
        # One point in memory: steps go to and fro between it and another one.
        two = trajectory[[0, 0]]
        states, out = (islice(cycle(alone(points)), len(steps)) for points in (two, two[::-1]))
        self._loop(level, steps, at, states, out, rhs, kept)
        trajectory[0] = two[len(steps) % 2]

    def _loop(
        self,
        level: int,
        steps: range,
        at: Block,
        states: Block,
        out: Block,
        rhs: Block | None = None,
        kept: Iterable[Any] | None = None,
    ) -> None:
        """Make the steps one by one; each result is complete when the next step begins."""
        problem, theta, alone = self.problem, self.theta, one_by_one(self.problem)
        rows, local = self._rows(level, steps), self._local(level, steps)
        count, adjoint = len(steps), self.adjoints[level]
        names, blocks = single_blocks(self.u[level], local, count, alone)
        parts = zip(
            single_steps(problem, level, self._starts(level, steps), kept),
            blocks,
            alone(at),
            states,
            out,
            repeat(None, count) if rhs is None else alone(rhs[1:]),
            strict=True,
        )
        if level > 0 or self.derivative is None:
            for s, some, y, lam, new, source in parts:
                adjoint.step_into(new, s, y, dict(zip(names, some, strict=True)), theta, lam)
                if source is not None:
                    new += source
            return
        time_fields, shared_fields = self._targets
        to_names, targets = single_blocks(time_fields, rows, count, alone)
        for (s, some, y, lam, new, source), places in zip(parts, targets, strict=True):
            u = dict(zip(names, some, strict=True))
            du, dtheta = adjoint.step_with_derivative(new, s, y, u, theta, lam)
            at_step = dict(zip(to_names, places, strict=True))
            _add(at_step, ..., du, "time-dependent", problem.adjoint)
            if dtheta:
                _add(shared_fields, ..., dtheta, "shared", problem.adjoint)
            if source is not None:
                new += source

    def _starts(self, level: int, steps: range) -> range:
        """Return the finest points where steps begin in time."""
        stride = self.layouts[level].stride
        last_point = self.problem.grid.steps - stride
        return range(
            last_point - steps.start * stride,
            last_point - steps.stop * stride,
            -steps.step * stride,
        )

    def _rows(self, level: int, steps: range) -> slice:
        """Return the finest steps of this rank that begin where steps begin in time."""
        return as_slice(self._starts(level, steps), -self.problem.grid.first)

    def _local(self, level: int, steps: range) -> slice:
        """Return the rows of the steps among those of this rank."""
        return as_slice(steps, -self.layouts[level].first)

    def _linearised_at(self, rows: slice) -> Block:
        """Return the states where the finest steps `rows` begin."""
        if self.spacing == 1:
            return self.trajectory[rows]
        stop = None if rows.stop is None else rows.stop // self.spacing
        return self.trajectory[rows.start // self.spacing : stop : rows.step // self.spacing]

    def _each_kept(self, level: int, rows: slice, count: int) -> Iterable[Any] | None:
        if level > 0 or self.kept is None:
            return None
        return self.kept.each(rows, count, known=True)


def one_by_one(problem: Problem) -> Any:
    """Return a function that gives the rows of a block one by one, as batches of one if batched."""
    return (lambda block: block[:, None]) if problem.stepper.batched else (lambda block: block)


def single_steps(
    problem: Problem, level: int, starts: range, kept: Iterable[Any] | None
) -> Iterator[Steps]:
    """Return the steps of a level from finest points one by one, each with its part of `kept`."""
    kept = repeat(None) if kept is None else iter(kept)
    pieces = (
        starts[begin : begin + STEPS_AT_ONCE] for begin in range(0, len(starts), STEPS_AT_ONCE)
    )
    return chain.from_iterable(_single_steps(problem, level, piece, kept) for piece in pieces)


STEPS_AT_ONCE = 1024
"""So many steps have their times looked up together."""


_steps_of = partial(tuple.__new__, Steps)
"""Makes a `Steps` of its fields, at half the cost of calling it."""


def _single_steps(
    problem: Problem, level: int, starts: range, kept: Iterator[Any]
) -> Iterator[Steps]:
    kept = islice(kept, len(starts))
    if problem.stepper.batched:
        s = problem.grid.batch(level, starts, len(problem.space.shape))
        some: Any = (s.index[:, None], s.t0[:, None], s.t1[:, None])
    else:
        s = problem.grid.batch(level, starts, 0)
        some = (s.index.tolist(), s.t0.tolist(), s.t1.tolist())
        kept = (None if place is None else place[0] for place in kept)
    return map(_steps_of, zip(*some, repeat(level), kept, strict=False))


def single_blocks(
    u: Mapping[str, np.ndarray], rows: slice, count: int, alone: Any
) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
    """Return the fields' names and, one by one, the tuples of their blocks of `count` rows."""
    if not u:
        return (), repeat((), count)
    return tuple(u), zip(*(alone(values[rows]) for values in u.values()), strict=True)


def add(
    targets: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
    rows: Any,
    du: Fields,
    dtheta: Fields,
    owner: object,
    scale: float = 1.0,
) -> None:
    """Add a user's derivatives for the steps `rows` to views of a control, in place."""
    if du:
        _add(targets[0], rows, du, "time-dependent", owner, scale)
    if dtheta:
        _add(targets[1], ..., dtheta, "shared", owner, scale)


def _add(
    fields: dict[str, np.ndarray],
    rows: Any,
    values: Fields,
    kind: str,
    owner: object,
    scale: float = 1.0,
) -> None:
    for name, value in values.items():
        if name not in fields:
            raise ValueError(
                f"`{type(owner).__name__}` returned a derivative for `{name}`, which is no {kind} "
                f"field; these are {list(fields)}."
            )
        place = fields[name] if rows is ... else fields[name][rows]
        if getattr(value, "shape", None) != place.shape:
            checked(value, place, owner, f"derivative[{name!r}]")
        place += value if scale == 1.0 else scale * value


def finest_steps(
    problem: Problem,
    control: Control,
    trajectory: Block,
    chunk: int,
    rows: range | None = None,
    kept: Kept | None = None,
) -> Iterator[tuple[Any, Block, Block, Steps, dict[str, Any]]]:
    """Yield this rank's steps of level 0, `chunk` at a time if the stepper is batched.

    Each item is (rows, y0, y1, steps, u): the rows of a state trajectory where the steps begin, the
    states there and at their ends, the steps, and their control blocks. All steps, or an ascending
    range of `rows`.
    """
    rows = range(problem.grid.local_steps) if rows is None else rows
    for begin in range(0, len(rows), chunk):
        some = rows[begin : begin + chunk]
        for here, _, s, u in steps_from(problem, control, some, kept):
            yield here, trajectory[here], trajectory[rows_after(here)], s, u


def rows_after(rows: Any) -> Any:
    """Return the rows one after some rows, or one row."""
    return slice(rows.start + 1, rows.stop + 1, rows.step) if isinstance(rows, slice) else rows + 1


def steps_from(
    problem: Problem, control: Control, rows: range, kept: Kept | None = None
) -> Iterator[tuple[Any, Any, Steps, dict[str, Any]]]:
    """Yield the steps of level 0 that begin at some rows: together if the stepper is batched.

    Each item is (rows, place, steps, u): where they begin, and their place among all.
    """
    grid, fields = problem.grid, control.time
    if problem.stepper.batched:
        here = slice(rows.start, rows.stop, rows.step)
        known = None if kept is None else kept.known_rows(here)
        points = range(grid.first + rows.start, grid.first + rows.stop, rows.step)
        s = grid.batch(0, points, len(problem.space.shape))._replace(kept=known)
        yield here, slice(None), s, {name: values[here] for name, values in fields.items()}
        return
    for place, row in enumerate(rows):
        s = grid.single(0, grid.first + row)
        known = None if kept is None else kept.known_rows(slice(row, row + 1))
        s = s._replace(kept=None if known is None else known[0])
        yield row, place, s, {name: values[row] for name, values in fields.items()}


def coarsened(part: Any, levels: int) -> list[Any]:
    """Return a stepper or adjoint for each level; level 0 is `part` itself."""
    return [part, *(part.coarsen(level) for level in range(1, levels))]
