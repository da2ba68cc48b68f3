"""The one door to the user's code: every call of a stepper, an adjoint or an objective.

The door makes the arguments of one step or of a batch, hands out states as their user knows them,
takes care of ``out=``, checks the shapes of results, and adds derivatives to where they belong.
A method that raises NumericalError has the result NaN: ranks stay in step, and line searches can
shorten the step.

Blocks, control blocks and kept arrays ascend in time, whatever the direction of a sweep.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import chain, cycle, islice, repeat
from typing import Any

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.results import (
    KINDS,
    Methods,
    Views,
    add,
    add_fields,
    as_rows,
    blocks_of,
    checked,
    checked_number,
    checked_slope,
    moved,
    shifted,
    singly,
    spaces_of,
    spoil,
    unpacked,
    watched,
    watches,
)
from pint.errors import NumericalError, overrides
from pint.grid import Runs, Steps, TimeGrid
from pint.interface import Adjoint, Fields, Objective, Problem, TimeStepper
from pint.states import Block

logger = logging.getLogger(__name__)

STEPS_AT_ONCE = 1024
"""Steps that are made one by one have their times computed together, so many at a time."""

_NOTHING = math.nan
"""What a method has returned that has raised NumericalError, told apart by identity."""

_steps_of = partial(tuple.__new__, Steps)
"""Makes a `Steps` of its fields, at half the cost of calling it."""


class Calls:
    """The calls of a problem's methods on a grid.

    Parameters
    ----------
    problem : Problem
    grid : TimeGrid

    Attributes
    ----------
    batched : bool
        Whether a call makes many steps.
    steppers, adjoints : list
        By level.
    spaces : list of StateSpace
        Of the states, by level.
    transfers : list of (LevelTransfer or None)
        By level: between its states and those of the next finer level; None where they are the
        same.
    own_step : bool
        Whether the adjoint defines `step`, as it does where that is cheaper than `vjp`.
    failure : str
        The first NumericalError of a user's method on this rank since the last state solve began.

    Raises
    ------
    ValueError
        If steps are batched and the space of the states does not allow for it, or the states of a
        coarse level do not fit those of the finer one.
    """

    def __init__(self, problem: Problem, grid: TimeGrid) -> None:
        self.problem, self.grid, self.space = problem, grid, problem.space
        self.batched = problem.stepper.batched
        self.failure = ""
        if self.batched and not self.space.batches:
            raise ValueError(
                f"`{type(problem.stepper).__name__}.batched` must be False for states of a "
                f"{type(self.space).__name__}, which lends one state at a time."
            )
        # Coarsened and looked up once, since the loops below make millions of calls.
        levels = range(1, grid.levels)
        self.steppers = [problem.stepper, *(problem.stepper.coarsen(level) for level in levels)]
        self.adjoints = [problem.adjoint, *(problem.adjoint.coarsen(level) for level in levels)]
        self.spaces, self.transfers = spaces_of(self.steppers, self.space)
        steppers = zip(self.spaces, self.steppers, strict=True)
        adjoints = list(zip(self.spaces, self.adjoints, strict=True))
        self._steps = Methods(space.native(stepper.step, (1,)) for space, stepper in steppers)
        self._vjps = Methods(space.native(adjoint.vjp, (1, 4)) for space, adjoint in adjoints)
        # `Adjoint.step` itself calls `vjp`: only a method of the user's can be cheaper.
        self._own = Methods(
            space.native(adjoint.step, (1, 4)) if overrides(adjoint, Adjoint, "step") else None
            for space, adjoint in adjoints
        )
        self._first = [
            watched(methods, level, owners[level], name)
            for methods, owners, name in (
                (self._steps, self.steppers, "step"),
                (self._vjps, self.adjoints, "vjp"),
                (self._own, self.adjoints, "step"),
            )
            for level in range(grid.levels)
            if methods[level] is not None
        ]
        self._watches = watches(problem)
        self._advances = [overrides(one, TimeStepper, "advance") for one in self.steppers]
        self._advances_back = [overrides(one, Adjoint, "advance") for one in self.adjoints]
        self._lifted: dict[tuple[int, range], Steps] = {}
        # Plain arrays of this type need no closer look.
        self._usual = getattr(self.space.allocate(1), "dtype", None)

    @cached_property
    def _two(self) -> Block:
        """Two states that hold results in turn, where only the last result is stored."""
        return self.space.allocate(2)

    # What methods are given where states are no arrays of numpy

    def given(self, control: Control, sums: bool = False) -> Control | Lifted:
        """Return a control as methods are given it, or with `sums` as places for a derivative."""
        return control if self.space.on_host else Lifted.of(control, self.space, sums)

    def blocks(self, given: Control | Lifted, levels: list[Any]) -> list[Any]:
        """Return the blocks of each level's steps, from `ControlSpace.restrict`, likewise."""
        if self.space.on_host:
            return levels
        lift = self.space.lift
        rest = [{name: lift(values) for name, values in u.items()} for u in levels[1:]]
        return [given.time, *rest]

    def _timed(self, level: int, starts: range, dimensions: int) -> Steps:
        """Return some steps of a level as one batch, with times as methods are given them."""
        if self.space.on_host or not self.batched or self.steppers[level].host_times:
            return self.grid.batch(level, starts, dimensions)
        if (level, starts) not in self._lifted:  # the same steps are made again and again
            s, lift = self.grid.batch(level, starts, dimensions), self.space.lift
            times = (s.index, lift(s.t0), lift(s.t1), level, None, None, lift(s.dt))
            self._lifted[level, starts] = _steps_of(times)
        return self._lifted[level, starts]

    @property
    def own_step(self) -> bool:
        """Whether the finest adjoint defines `step`."""
        return self._own[0] is not None

    def unwatch(self) -> None:
        """Let methods change their arguments, in place: for checks that look for it themselves."""
        for watch in (*self._first, *self._watches.values()):
            watch.is_over = True
        self._watches.clear()

    @property
    def relaxes(self) -> bool:
        """Whether steppers and adjoints of all levels make runs of steps."""
        return all(self._advances) and all(self._advances_back)

    # Steps of the state equation

    def step(
        self,
        level: int,
        starts: range,
        u: Fields,
        theta: Fields,
        y: Block,
        out: Block,
        kept: Any = None,
        guess: Block | None = None,
    ) -> None:
        """Write the results of independent steps to `out`, in place.

        Parameters
        ----------
        level : int
        starts : range
            The finest points where the steps begin, ascending.
        u : mapping of str to array
            The blocks of these steps.
        theta : mapping of str to array
        y, out : Block
            A state for each step.
        kept : array, or list of arrays and None, optional
            For what each step keeps: a row for each step; a list has blocks of one row.
        guess : Block, optional
            States near the results.
        """
        step, stepper = self._steps[level], self.steppers[level]
        guess = self._usable(level, guess)
        if self.batched:
            s = self._batch(level, starts, kept, guess)
            try:
                if stepper.in_place:
                    step(s, y, u, theta, out=out)
                else:
                    out[...] = checked(step(s, y, u, theta), out, stepper, "step")
            except NumericalError as error:
                out[...] = self._nan(error, stepper, "step")
            return
        places = repeat(None) if guess is None else guess
        singles = self._each(level, starts, singly(kept), places)
        self._step_each(level, singles, u, theta, y, out, repeat(None))

    def march(
        self,
        level: int,
        starts: range,
        u: Fields,
        theta: Fields,
        start: Block,
        out: Block,
        rhs: Block | None,
        kept: Any = None,
        guessed: bool = False,
        linear: np.ndarray | None = None,
    ) -> None:
        """Take steps one after the other: see `Propagator.march`; the rest is as in `step`."""
        count = len(starts)
        if self._advances[level] and linear is None:
            guessed, runs = guessed and len(out) == count, (1, count, count)
            self.relax(level, starts, runs, u, theta, start, out, rhs, kept, guessed)
            return
        news = self._rows(out) if len(out) == count else self._to_and_fro(out, count)
        # In place of the old states come the new ones, so that a guess is read before it is lost.
        usable = guessed and len(out) == count and self._usable(level, out) is not None
        singles = self._each(level, starts, singly(kept), news if usable else repeat(None))
        sources: Iterable[Any] = repeat(None) if rhs is None else self._rows(rhs)
        if linear is not None:
            sources = moved(linear, chain(self._rows(start), news), sources)
        before = chain(self._rows(start), news)
        self._step_each(level, singles, u, theta, before, news, sources)

    def relax(
        self,
        level: int,
        starts: range,
        runs: tuple[int, int, int],
        u: Fields,
        theta: Fields,
        y: Block,
        out: Block,
        rhs: Block | None,
        kept: Any = None,
        guessed: bool = False,
    ) -> None:
        """Make the steps of many intervals: see `Propagator.relax`.

        `starts` are those of all rows, `runs` the numbers of `Runs`; the rest is as in `step`.
        """
        near = self._usable(level, out) if guessed else None
        s = Runs(self.grid, level, starts, *runs, kept, near)
        stepper = self.steppers[level]
        try:
            stepper.advance(s, y, u, theta, out, rhs)
        except NumericalError as error:
            s.fill(out, self._nan(error, stepper, "advance"))

    def relax_back(
        self,
        level: int,
        starts: range,
        runs: tuple[int, int, int],
        u: Fields,
        theta: Fields,
        y: Block,
        lam: Block,
        out: Block,
        rhs: Block | None,
        kept: Any = None,
        guess: Block | None = None,
        into: Views | None = None,
    ) -> None:
        """Make the transposed steps of many intervals; arguments as in `relax` and `vjp`."""
        s = Runs(self.grid, level, starts, *runs, kept, self._usable(level, guess))
        adjoint = self.adjoints[level]
        try:
            adjoint.advance(s, y, u, theta, lam, out, rhs, into)
        except NumericalError as error:
            s.fill(out, self._nan(error, adjoint, "advance"))
            spoil(into)

    def _step_each(
        self,
        level: int,
        singles: Iterable[Steps],
        u: Fields,
        theta: Fields,
        states: Iterable[Any],
        out: Iterable[Any],
        sources: Iterable[Any],
    ) -> None:
        """Make steps one by one; each result is complete when the next step begins."""
        step, stepper = self._steps[level], self.steppers[level]
        array, usual = np.ndarray, self._usual
        in_place, names = stepper.in_place, tuple(u)
        parts = zip(singles, blocks_of(u, self.batched), states, out, sources, strict=False)
        for s, some, y, new, source in parts:
            blocks = dict(zip(names, some))  # noqa: B905  (strict costs a tenth of the loop's time)
            try:  # in the loop: all ranks in space make the same steps, whichever of them fails
                if in_place:
                    step(s, y, blocks, theta, out=new)
                else:
                    result = step(s, y, blocks, theta)
                    # Tested here, too: a call for each step would cost as much as the copy.
                    plain = type(result) is array and result.dtype is usual
                    if not plain or result.shape != new.shape:
                        checked(result, new, stepper, "step")
                    new[...] = result
            except NumericalError as error:
                new[...] = self._nan(error, stepper, "step")
            if source is not None:
                new += source

    # Transposes

    def vjp(
        self,
        level: int,
        starts: range,
        u: Fields,
        theta: Fields,
        y: Block,
        lam: Block,
        out: Block,
        kept: Any = None,
        guess: Block | None = None,
        into: Views | None = None,
        wanted: bool = True,
    ) -> None:
        """Write the transposes of independent steps, applied to `lam`, to `out`, in place.

        Parameters
        ----------
        level, starts, u, theta, kept
            As in `step`; `kept` holds what the steps kept.
        y, lam, out : Block
            A state for each step: where it begins, the adjoint at its end, and the result.
        guess : Block, optional
            States near those at the ends of the steps.
        into : Views, optional
            Where to add the derivatives with respect to the control, in place.
        wanted : bool
            Whether the caller reads `out`.
        """
        guess = self._usable(level, guess)
        if not self.batched:
            guesses = repeat(None) if guess is None else guess
            singles = self._each(level, starts, singly(kept), guesses)
            self._transpose_each(level, singles, u, theta, y, lam, out, repeat(None), into)
            return
        adjoint = self.adjoints[level]
        s = self._batch(level, starts, kept, guess)
        # Most adjoints return all three products in any case.
        wanted = wanted or not adjoint.leaves_out
        arguments, options = (s, y, u, theta, lam), {}
        if adjoint.in_place:
            options = {"out": out if wanted else False}
        own = self._own[level]
        # Without a place for the derivative nobody needs the other two products.
        name = "step" if into is None and own is not None else "vjp"
        try:
            if into is None and own is not None:
                dy = own(*arguments, **options)
            else:
                dy, du, dtheta = self._vjps[level](*arguments, **options)
                if into is not None:
                    add(into, du, dtheta, adjoint)
            if wanted and not adjoint.in_place:
                out[...] = checked(dy, out, adjoint, name)
        except NumericalError as error:
            out[...] = self._nan(error, adjoint, name)
            spoil(into)

    def march_back(
        self,
        level: int,
        starts: range,
        u: Fields,
        theta: Fields,
        y: Block,
        start: Block,
        out: Block,
        rhs: Block | None,
        kept: Any = None,
        guess: Block | None = None,
        into: Views | None = None,
        linear: np.ndarray | None = None,
    ) -> None:
        """Take transposed steps one after the other, the last one first: see `Propagator.march`.

        The rest is as in `vjp`.
        """
        count, guess = len(starts), self._usable(level, guess)
        if self._advances_back[level] and linear is None:
            kept, runs = None if isinstance(kept, list) else kept, (1, count, count)
            self.relax_back(level, starts, runs, u, theta, y, start, out, rhs, kept, guess, into)
            return
        whole = len(out) == count
        news = self._rows(out, backward=True) if whole else self._to_and_fro(out, count)
        singles = self._each(
            level,
            starts[::-1],
            singly(kept, backward=True),
            repeat(None) if guess is None else self._rows(guess, backward=True),
        )
        sources: Iterable[Any] = repeat(None) if rhs is None else self._rows(rhs, backward=True)
        if linear is not None:
            sources = moved(linear[::-1], chain(self._rows(start), news), sources)
        states = self._rows(y, backward=True)
        before = chain(self._rows(start), news)
        self._transpose_each(
            level, singles, u, theta, states, before, news, sources, into, backward=True
        )

    def _transpose_each(
        self,
        level: int,
        singles: Iterable[Steps],
        u: Fields,
        theta: Fields,
        states: Iterable[Any],
        adjoints: Iterable[Any],
        out: Iterable[Any],
        sources: Iterable[Any],
        into: Views | None,
        backward: bool = False,
    ) -> None:
        """Make transposed steps one by one; each is complete when the next one begins."""
        adjoint, vjp, own = self.adjoints[level], self._vjps[level], self._own[level]
        array, usual = np.ndarray, self._usual
        in_place, names = adjoint.in_place, tuple(u)
        name = "step" if into is None and own is not None else "vjp"
        time_views, shared_views = ({}, {}) if into is None else into
        to_names = tuple(time_views)
        parts = zip(
            singles,
            blocks_of(u, self.batched, backward),
            states,
            adjoints,
            out,
            sources,
            blocks_of(time_views, self.batched, backward),
            strict=False,
        )
        for s, some, y, lam, new, source, places in parts:
            blocks = dict(zip(names, some))  # noqa: B905  (strict costs a tenth of the loop's time)
            try:
                if into is None and own is not None:
                    dy = (
                        own(s, y, blocks, theta, lam, out=new)
                        if in_place
                        else own(s, y, blocks, theta, lam)
                    )
                else:
                    dy, du, dtheta = (
                        vjp(s, y, blocks, theta, lam, out=new)
                        if in_place
                        else vjp(s, y, blocks, theta, lam)
                    )
                    if into is not None:
                        views = dict(zip(to_names, places))  # noqa: B905
                        add_fields(views, du, "time-dependent", adjoint)
                        if dtheta:
                            add_fields(shared_views, dtheta, "shared", adjoint)
                if not in_place:
                    plain = type(dy) is array and dy.dtype is usual
                    if not plain or dy.shape != new.shape:
                        checked(dy, new, adjoint, name)
                    new[...] = dy
            except NumericalError as error:
                new[...] = self._nan(error, adjoint, name)
                spoil(into)
            if source is not None:
                new += source

    # Initial state and costs

    def initial(self, theta: Fields, like: Any) -> Any:
        """Return y_0, of the shape of the state `like`, or the number NaN."""
        stepper = self.problem.stepper
        y0 = self._returned(stepper, "initial", (), theta)
        return y0 if y0 is _NOTHING else checked(y0, like, stepper, "initial")

    def initial_vjp(self, theta: Fields, lam0: Any, into: Views) -> None:
        """Add ``(dy_0/dtheta)^T lam0`` to a derivative, in place."""
        adjoint = self.problem.adjoint
        found = self._returned(adjoint, "initial_vjp", (1,), theta, lam0)
        if found is _NOTHING:
            spoil(into)
        else:
            add_fields(into[1], found, KINDS[1], adjoint)

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> float:
        """Return the sum of the costs of some steps, as `visit` gives them."""
        objective, name = self.problem.objective, "step_cost"
        costs = self._returned(objective, name, (1, 2), s, y0, y1, u, theta)
        if self.batched and costs is not _NOTHING:
            expected = np.broadcast_to(0.0, len(y0))
            return float(checked(costs, expected, objective, name).sum())
        return checked_number(costs, objective, name)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        """Return the derivatives of some steps' costs; the first two may be 0.0 or NaN."""
        objective, name = self.problem.objective, "step_cost_derivative"
        slopes = self._returned(objective, name, (1, 2), s, y0, y1, u, theta)
        if slopes is _NOTHING:
            return slopes, slopes, {}, {}
        dy0, dy1, du, dtheta = unpacked(slopes, 4, objective, name)
        return (
            checked_slope(dy0, y0, objective, name),
            checked_slope(dy1, y1, objective, name),
            du,
            dtheta,
        )

    @cached_property
    def adds_slopes(self) -> bool:
        """Whether the objective adds the derivatives of step costs where they belong."""
        return overrides(self.problem.objective, Objective, "add_step_cost_derivative")

    def add_step_cost_derivative(self, *arguments: Any, into: Views) -> None:
        """Add the derivatives of some steps' costs, in place; arguments as of the objective."""
        objective, name = self.problem.objective, "add_step_cost_derivative"
        if self._returned(objective, name, (), *arguments, into) is _NOTHING:
            spoil(into)

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return the second derivatives of some steps' costs, or the number NaN."""
        return self._hessian("step_cost_hessian", (1, 2), s, y0, y1, u, theta)

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        """Return the second derivatives of psi, or the number NaN."""
        return self._hessian("terminal_hessian", (0,), y, theta)

    def _hessian(self, name: str, states: tuple[int, ...], *arguments: Any) -> Any:
        objective, (*first, theta) = self.problem.objective, arguments
        lead: tuple[int, ...] = ()
        sizes = [sum(np.size(part) for part in theta.values())]
        if name == "terminal_hessian":
            sizes.append(np.size(first[0]))
        else:
            lead = (len(first[1]),)
            blocks = (first[1], first[2], *first[3].values())
            sizes += [int(np.prod(np.shape(block)[1:], dtype=int)) for block in blocks]
        found = self._returned(objective, name, states, *arguments)
        expected = np.broadcast_to(0.0, (*lead, sum(sizes), sum(sizes)))
        return found if found is _NOTHING else checked(found, expected, objective, name)

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi(y_N, theta)."""
        objective = self.problem.objective
        value = self._returned(objective, "terminal", (0,), y, theta)
        return checked_number(value, objective, "terminal")

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi; the first one may be 0.0 or NaN."""
        objective, name = self.problem.objective, "terminal_derivative"
        slopes = self._returned(objective, name, (0,), y, theta)
        if slopes is _NOTHING:
            return slopes, {}
        dy, dtheta = unpacked(slopes, 2, objective, name)
        return checked_slope(dy, y, objective, name), dtheta

    def _returned(self, owner: Any, name: str, states: tuple[int, ...], *arguments: Any) -> Any:
        """Return what a user's method returns, or `_NOTHING` if it raises NumericalError."""
        watch = self._watches.get(name)
        before = watch.copies(arguments) if watch else []
        try:
            result = self.space.native(getattr(owner, name), states)(*arguments)
        except NumericalError as error:
            return self._nan(error, owner, name)
        if watch:
            watch.compare(arguments, before)
            if watch.is_over:
                del self._watches[name]
        return result

    def _nan(self, error: NumericalError, owner: object, method: str) -> float:
        """Note that a user's method has failed, if it is the first; return its result, NaN."""
        if not self.failure:
            of, text = type(getattr(owner, "ode", owner)).__name__, " ".join(str(error).split())
            self.failure = f"`{of}.{method}` raised {type(error).__name__}: {text}"
            logger.info("%s; its result counts as NaN", self.failure)
        return _NOTHING

    def visit(
        self, rows: range, control: Control | Lifted, chunk: int
    ) -> Iterator[tuple[Any, Any, Steps, dict[str, Any]]]:
        """Yield the steps of level 0 that begin at `rows`, `chunk` at a time if batched.

        Each item is (here, place, steps, u): the rows where they begin, a slice or one row, and
        their place among all rows.
        """
        first, fields = self.grid.first, control.time
        if not self.batched:
            singles = self._each(0, shifted(rows, first), None, repeat(None))
            for place, (row, s) in enumerate(zip(rows, singles, strict=True)):
                yield row, place, s, {name: values[row] for name, values in fields.items()}
            return
        for begin in range(0, len(rows), chunk):
            some = rows[begin : begin + chunk]
            here = as_rows(some)
            starts = shifted(some, first)
            s = self._batch(0, starts, None, None)
            blocks = {name: values[here] for name, values in fields.items()}
            yield here, slice(begin, begin + len(some)), s, blocks

    # Arguments

    def _batch(self, level: int, starts: range, kept: Any, guess: Any) -> Steps:
        s = self._timed(level, starts, len(self.spaces[level].shape))
        return s if kept is None and guess is None else _steps_of((*s[:4], kept, guess, s.size))

    def _each(
        self, level: int, starts: range, kept: Iterable[Any] | None, guesses: Iterable[Any]
    ) -> Iterator[Steps]:
        """Return steps one by one, as batches of one if batched, with their parts of `kept`."""
        kept = repeat(None) if kept is None else iter(kept)
        guesses = iter(guesses)
        if not self.batched:
            kept = (None if place is None else place[0] for place in kept)
        # The times of all steps at once would need as much memory as small states.
        pieces = (
            starts[begin : begin + STEPS_AT_ONCE] for begin in range(0, len(starts), STEPS_AT_ONCE)
        )
        return chain.from_iterable(self._piece(level, piece, kept, guesses) for piece in pieces)

    def _piece(
        self, level: int, starts: range, kept: Iterator[Any], guesses: Iterator[Any]
    ) -> Iterator[Steps]:
        dimensions = len(self.spaces[level].shape)
        s = self._timed(level, starts, dimensions if self.batched else 0)
        # A step that is not batched gets Python's numbers, which are faster than those of numpy.
        some: Any
        if self.batched:
            some = (s.index[:, None], s.t0[:, None], s.t1[:, None])
        else:
            some = (s.index.tolist(), s.t0.tolist(), s.t1.tolist())
        size, sizes = s.size, None
        if size is not None and self.batched:
            if isinstance(size, float):
                size = np.full((1,) * (1 + dimensions), size)
                size.flags.writeable = False
            else:
                sizes = size[:, None]
        # islice first: a longer iterator would lose the item that zip looks ahead at.
        count = len(starts)
        more = (
            repeat(level, count), islice(kept, count), islice(guesses, count),
            repeat(size, count) if sizes is None else sizes,
        )  # fmt: skip
        return map(_steps_of, zip(*some, *more, strict=True))

    def _rows(self, block: Block, backward: bool = False) -> Any:
        """Return the states of a block one by one, as batches of one if batched."""
        rows = self.space.singles if self.batched else self.space.states
        return rows(block, backward)

    def _to_and_fro(self, out: Block, count: int) -> list[Any]:
        """Return the places of all results if only the last one is stored, in `out`."""
        return [*islice(cycle(self._rows(self._two)), count - 1), *self._rows(out)]

    def _usable(self, level: int, guess: Block | None) -> Block | None:
        """Return a guess if the step reads it and it is finite, else None."""
        if guess is None or not self.steppers[level].uses_guess:
            return None
        # An iteration that starts from NaN would not recover, even if its equation has a solution.
        return guess if math.isfinite(self.spaces[level].squared_norm(guess)) else None
