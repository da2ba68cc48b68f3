"""What methods are given: steps as a batch or one by one, and states as they know them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import chain, cycle, islice, repeat
from typing import Any

import numpy as np

from pint.equations.calls.levels import Levels
from pint.grid import Steps, TimeGrid
from pint.states import Block

STEPS_AT_ONCE = 1024
"""Steps that are made one by one have their times computed together, so many at a time."""

_steps_of = partial(tuple.__new__, Steps)
"""Makes a `Steps` of its fields, at half the cost of calling it."""


class Arguments:
    """The steps of a grid, and the states that they begin and end with, as methods are given them.

    Parameters
    ----------
    levels : Levels
    grid : TimeGrid
    """

    def __init__(self, levels: Levels, grid: TimeGrid) -> None:
        self.levels, self.grid, self.space = levels, grid, levels.spaces[0]
        self._lifted: dict[tuple[int, range], Steps] = {}

    def _timed(self, level: int, starts: range, dimensions: int) -> Steps:
        """Return some steps of a level as one batch, with times as methods are given them."""
        if self.space.on_host or not self.levels.batched or self.levels.steppers[level].host_times:
            return self.grid.batch(level, starts, dimensions)
        if (level, starts) not in self._lifted:  # the same steps are made again and again
            s, lift = self.grid.batch(level, starts, dimensions), self.space.lift
            times = (s.index, lift(s.t0), lift(s.t1), level, None, None, lift(s.dt))
            self._lifted[level, starts] = _steps_of(times)
        return self._lifted[level, starts]

    def batch(self, level: int, starts: range, kept: Any, guess: Any) -> Steps:
        """Return some steps as one batch, with their parts of `kept` and near results."""
        s = self._timed(level, starts, len(self.levels.spaces[level].shape))
        return s if kept is None and guess is None else _steps_of((*s[:4], kept, guess, s.size))

    def each(
        self, level: int, starts: range, kept: Iterable[Any] | None, guesses: Iterable[Any]
    ) -> Iterator[Steps]:
        """Return steps one by one, as batches of one if batched, with their parts of `kept`."""
        kept = repeat(None) if kept is None else iter(kept)
        guesses = iter(guesses)
        if not self.levels.batched:
            kept = (None if place is None else place[0] for place in kept)
        # The times of all steps at once would need as much memory as small states.
        pieces = (
            starts[begin : begin + STEPS_AT_ONCE] for begin in range(0, len(starts), STEPS_AT_ONCE)
        )
        return chain.from_iterable(self._piece(level, piece, kept, guesses) for piece in pieces)

    def _piece(
        self, level: int, starts: range, kept: Iterator[Any], guesses: Iterator[Any]
    ) -> Iterator[Steps]:
        dimensions = len(self.levels.spaces[level].shape)
        s = self._timed(level, starts, dimensions if self.levels.batched else 0)
        # A step that is not batched gets Python's numbers, which are faster than those of numpy.
        some: Any
        if self.levels.batched:
            some = (s.index[:, None], s.t0[:, None], s.t1[:, None])
        else:
            some = (s.index.tolist(), s.t0.tolist(), s.t1.tolist())
        size, sizes = s.size, None
        if size is not None and self.levels.batched:
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

    def rows(self, block: Block, backward: bool = False) -> Any:
        """Return the states of a block one by one, as batches of one if batched."""
        rows = self.space.singles if self.levels.batched else self.space.states
        return rows(block, backward)

    @cached_property
    def _two(self) -> Block:
        """Two states that hold results in turn, where only the last result is stored."""
        return self.space.allocate(2)

    def to_and_fro(self, out: Block, count: int) -> list[Any]:
        """Return the places of all results if only the last one is stored, in `out`."""
        return [*islice(cycle(self.rows(self._two)), count - 1), *self.rows(out)]

    def usable(self, level: int, guess: Block | None) -> Block | None:
        """Return a guess if the step reads it and it is finite, else None."""
        if guess is None or not self.levels.steppers[level].uses_guess:
            return None
        # An iteration that starts from NaN would not recover, even if its equation has a solution.
        return guess if math.isfinite(self.levels.spaces[level].squared_norm(guess)) else None
