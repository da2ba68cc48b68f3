"""The one door to the user's code: every call of a stepper, an adjoint or an objective.

The door makes the arguments of one step or of a batch, hands out states as their user knows them,
takes care of ``out=``, checks the shapes of results, and adds derivatives to where they belong.
A method that raises NumericalError has the result NaN: ranks stay in step, and line searches can
shorten the step.

Blocks, control blocks and kept arrays ascend in time, whatever the direction of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.calls.arguments import Arguments
from pint.equations.calls.guard import NOTHING, Guard
from pint.equations.calls.levels import Levels
from pint.equations.calls.objective import ObjectiveCalls
from pint.equations.calls.singles import Singles, moved, singly
from pint.equations.results import KINDS, Views, add, add_fields, as_rows, checked, shifted, spoil
from pint.errors import NumericalError
from pint.grid import Runs, Steps, TimeGrid
from pint.interface import Fields, Problem
from pint.states import Block


class Calls:
    """The calls of a problem's methods on a grid.

    Parameters
    ----------
    problem : Problem
    grid : TimeGrid

    Attributes
    ----------
    levels : Levels
        The user's methods by level; `batched`, `steppers`, `spaces` and `transfers` are its own.
    objective : ObjectiveCalls
        The calls of the objective.
    arguments : Arguments
    guard : Guard
        ``guard.failure`` is the first NumericalError since the last state solve began.

    Raises
    ------
    ValueError
        As `Levels`.
    """

    def __init__(self, problem: Problem, grid: TimeGrid) -> None:
        self.problem, self.grid, self.levels = problem, grid, Levels(problem, grid)
        self.batched, self.steppers = self.levels.batched, self.levels.steppers
        self.spaces, self.transfers = self.levels.spaces, self.levels.transfers
        self.space = self.spaces[0]
        self.guard = Guard(problem, self.space)
        self.objective = ObjectiveCalls(problem.objective, self.batched, self.guard)
        self.arguments = Arguments(self.levels, grid)
        self._singles = Singles(self.levels, self.guard)

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

    @property
    def own_step(self) -> bool:
        """Whether the finest adjoint defines `step`."""
        return self.levels.own_step[0] is not None

    def unwatch(self) -> None:
        """Let methods change their arguments, in place: for checks that look for it themselves."""
        for watch in self.levels.watches:
            watch.is_over = True
        self.guard.unwatch()

    @property
    def relaxes(self) -> bool:
        """Whether steppers and adjoints of all levels make runs of steps."""
        return all(self.levels.advances) and all(self.levels.advances_back)

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
        step, stepper = self.levels.step[level], self.steppers[level]
        guess = self.arguments.usable(level, guess)
        if self.batched:
            s = self.arguments.batch(level, starts, kept, guess)
            try:
                if stepper.in_place:
                    step(s, y, u, theta, out=out)
                else:
                    out[...] = checked(step(s, y, u, theta), out, stepper, "step")
            except NumericalError as error:
                out[...] = self.guard.failed(error, stepper, "step")
            return
        places = repeat(None) if guess is None else guess
        singles = self.arguments.each(level, starts, singly(kept), places)
        self._singles.step(level, singles, u, theta, y, out, repeat(None))

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
        count, arguments = len(starts), self.arguments
        if self.levels.advances[level] and linear is None:
            guessed, runs = guessed and len(out) == count, (1, count, count)
            self.relax(level, starts, runs, u, theta, start, out, rhs, kept, guessed)
            return
        news = arguments.rows(out) if len(out) == count else arguments.to_and_fro(out, count)
        # In place of the old states come the new ones, so that a guess is read before it is lost.
        usable = guessed and len(out) == count and arguments.usable(level, out) is not None
        singles = arguments.each(level, starts, singly(kept), news if usable else repeat(None))
        sources: Iterable[Any] = repeat(None) if rhs is None else arguments.rows(rhs)
        if linear is not None:
            sources = moved(linear, chain(arguments.rows(start), news), sources)
        before = chain(arguments.rows(start), news)
        self._singles.step(level, singles, u, theta, before, news, sources)

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
        near = self.arguments.usable(level, out) if guessed else None
        s = Runs(self.grid, level, starts, *runs, kept, near)
        stepper = self.steppers[level]
        try:
            stepper.advance(s, y, u, theta, out, rhs)
        except NumericalError as error:
            s.fill(out, self.guard.failed(error, stepper, "advance"))

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
        s = Runs(self.grid, level, starts, *runs, kept, self.arguments.usable(level, guess))
        adjoint = self.levels.adjoints[level]
        try:
            adjoint.advance(s, y, u, theta, lam, out, rhs, into)
        except NumericalError as error:
            s.fill(out, self.guard.failed(error, adjoint, "advance"))
            spoil(into)

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
        guess = self.arguments.usable(level, guess)
        if not self.batched:
            guesses = repeat(None) if guess is None else guess
            singles = self.arguments.each(level, starts, singly(kept), guesses)
            self._singles.transpose(level, singles, u, theta, y, lam, out, repeat(None), into)
            return
        adjoint = self.levels.adjoints[level]
        s = self.arguments.batch(level, starts, kept, guess)
        # Most adjoints return all three products in any case.
        wanted = wanted or not adjoint.leaves_out
        arguments, options = (s, y, u, theta, lam), {}
        if adjoint.in_place:
            options = {"out": out if wanted else False}
        own = self.levels.own_step[level]
        # Without a place for the derivative nobody needs the other two products.
        name = "step" if into is None and own is not None else "vjp"
        try:
            if into is None and own is not None:
                dy = own(*arguments, **options)
            else:
                dy, du, dtheta = self.levels.vjp[level](*arguments, **options)
                if into is not None:
                    add(into, du, dtheta, adjoint)
            if wanted and not adjoint.in_place:
                out[...] = checked(dy, out, adjoint, name)
        except NumericalError as error:
            out[...] = self.guard.failed(error, adjoint, name)
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
        count, arguments = len(starts), self.arguments
        guess = arguments.usable(level, guess)
        if self.levels.advances_back[level] and linear is None:
            kept, runs = None if isinstance(kept, list) else kept, (1, count, count)
            self.relax_back(level, starts, runs, u, theta, y, start, out, rhs, kept, guess, into)
            return
        whole = len(out) == count
        news = arguments.rows(out, backward=True) if whole else arguments.to_and_fro(out, count)
        singles = arguments.each(
            level,
            starts[::-1],
            singly(kept, backward=True),
            repeat(None) if guess is None else arguments.rows(guess, backward=True),
        )
        sources: Iterable[Any] = repeat(None) if rhs is None else arguments.rows(rhs, backward=True)
        if linear is not None:
            sources = moved(linear[::-1], chain(arguments.rows(start), news), sources)
        states = arguments.rows(y, backward=True)
        before = chain(arguments.rows(start), news)
        self._singles.transpose(
            level, singles, u, theta, states, before, news, sources, into, backward=True
        )

    # Initial state

    def initial(self, theta: Fields, like: Any) -> Any:
        """Return y_0, of the shape of the state `like`, or the number NaN."""
        stepper = self.problem.stepper
        y0 = self.guard.returned(stepper, "initial", (), theta)
        return y0 if y0 is NOTHING else checked(y0, like, stepper, "initial")

    def initial_vjp(self, theta: Fields, lam0: Any, into: Views) -> None:
        """Add ``(dy_0/dtheta)^T lam0`` to a derivative, in place."""
        adjoint = self.problem.adjoint
        found = self.guard.returned(adjoint, "initial_vjp", (1,), theta, lam0)
        if found is NOTHING:
            spoil(into)
        else:
            add_fields(into[1], found, KINDS[1], adjoint)

    def visit(
        self, rows: range, control: Control | Lifted, chunk: int
    ) -> Iterator[tuple[Any, Any, Steps, dict[str, Any]]]:
        """Yield the steps of level 0 that begin at `rows`, `chunk` at a time if batched.

        Each item is (here, place, steps, u): the rows where they begin, a slice or one row, and
        their place among all rows.
        """
        first, fields = self.grid.first, control.time
        if not self.batched:
            singles = self.arguments.each(0, shifted(rows, first), None, repeat(None))
            for place, (row, s) in enumerate(zip(rows, singles, strict=True)):
                yield row, place, s, {name: values[row] for name, values in fields.items()}
            return
        for begin in range(0, len(rows), chunk):
            some = rows[begin : begin + chunk]
            here = as_rows(some)
            starts = shifted(some, first)
            s = self.arguments.batch(0, starts, None, None)
            blocks = {name: values[here] for name, values in fields.items()}
            yield here, slice(begin, begin + len(some)), s, blocks
