"""The calls of a problem's tangent, or of what takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

from pint.equations.calls import Calls
from pint.equations.calls.singles import singly
from pint.equations.results import add, checked
from pint.equations.tangent.differences import Numerical
from pint.errors import NumericalError, overrides
from pint.grid import Steps
from pint.interface import Fields, Tangent
from pint.states import Block


class TangentCalls:
    """The derivatives of the steps of a problem, along directions, on a grid.

    Parameters
    ----------
    calls : Calls

    Attributes
    ----------
    exact_second : bool
        Whether the problem's tangent has second derivatives.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls, problem = calls, calls.problem
        tangent = problem.tangent or problem.stepper.tangent()
        levels = range(1, calls.grid.levels)
        self.tangent = tangent
        self._tangents: list[Tangent] = []
        if tangent is not None:
            self._tangents = [tangent, *(tangent.coarsen(level) for level in levels)]
        pairs = zip(calls.spaces, self._tangents, strict=False)
        self._jvps = [space.native(one.jvp, (1, 4)) for space, one in pairs]
        self.exact_second = tangent is not None and overrides(tangent, Tangent, "second_vjp")
        self._numerical = [Numerical(calls, level) for level in range(calls.grid.levels)]

    @property
    def precision(self) -> float:
        """The relative error to expect of derivatives on this rank; differences have one."""
        return 0.0 if self._tangents else max(one.precision for one in self._numerical)

    def jvp(
        self,
        level: int,
        starts: range,
        at: tuple[Block, Fields, Fields],
        along: tuple[Block, Fields, Fields],
        out: Block,
        kept: Any = None,
        guess: Block | None = None,
    ) -> None:
        """Write the derivatives of independent steps along directions to `out`, in place.

        Parameters
        ----------
        level, starts, out, kept, guess
            As in `Calls.vjp`.
        at : tuple of Block and two mappings of str to array
            Where to linearise: the states where the steps begin, u and theta.
        along : tuple of Block and two mappings of str to array
            The directions, laid out as `at`.
        """
        if not self._tangents:
            self._numerical[level].jvp(starts, at, along, out)
            return
        owner, method = self._tangents[level], self._jvps[level]
        for s, place, here, there in self._visit(level, starts, at, along, kept, guess):
            try:
                result = method(s, *here, *there)
                out[place] = checked(result, out[place], owner, "jvp")
            except NumericalError as error:
                out[place] = self.calls.guard.failed(error, owner, "jvp")

    def second_vjp(
        self,
        starts: range,
        at: tuple[Block, Fields, Fields],
        lam: Block,
        along: tuple[Block, Fields, Fields],
        out: Block,
        into: Any,
    ) -> None:
        """Write the second derivatives of steps of level 0 to `out`, add others `into`, in place.

        Only if `exact_second`. `lam` are the adjoints where the steps end.
        """
        owner = self._tangents[0]
        method = self.calls.space.native(owner.second_vjp, (1, 4, 5))
        for s, place, here, there in self._visit(0, starts, at, along, None, None):
            dy, du, dtheta = method(s, *here, lam[place], *there)
            out[place] = checked(dy, out[place], owner, "second_vjp")
            views = {name: values[place] for name, values in into[0].items()}, into[1]
            add(views, du, dtheta, owner)

    def initial_jvp(self, theta: Fields, dtheta: Fields, like: Any) -> Any:
        """Return ``(dy_0/dtheta) dtheta``, of the shape of the state `like`."""
        tangent, calls = self.tangent, self.calls
        if tangent is None or not overrides(tangent, Tangent, "initial_jvp"):
            return self._numerical[0].initial_jvp(theta, dtheta, like)
        try:
            result = calls.space.native(tangent.initial_jvp, ())(theta, dtheta)
        except NumericalError as error:
            return calls.guard.failed(error, tangent, "initial_jvp")
        return checked(result, like, tangent, "initial_jvp")

    def _visit(
        self,
        level: int,
        starts: range,
        at: tuple[Block, Fields, Fields],
        along: tuple[Block, Fields, Fields],
        kept: Any,
        guess: Block | None,
    ) -> Iterator[tuple[Steps, Any, tuple[Any, ...], tuple[Any, ...]]]:
        """Yield steps, their place, and their parts of `at` and `along`: all in one, or singly."""
        arguments = self.calls.arguments
        guess = arguments.usable(level, guess)
        if self.calls.batched:
            yield arguments.batch(level, starts, kept, guess), slice(None), at, along
            return
        guesses = repeat(None) if guess is None else guess
        for row, s in enumerate(arguments.each(level, starts, singly(kept), guesses)):
            parts = (
                (block[row], {name: values[row, ...] for name, values in u.items()}, theta)
                for block, u, theta in (at, along)
            )
            here, there = parts
            yield s, row, here, there
