"""What time steps keep for their transposes: pre-activations, stages, implicit states."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import numpy as np

from pint.grid import TimeGrid


class Kept:
    """One array for each step of level 0 of this rank, as many as a limit of memory allows.

    A stepper with a `TimeStepper.kept_shape` fills them, its adjoint reads them in ``s.kept``.

    Parameters
    ----------
    grid : TimeGrid
    shape : tuple of int or None
        Of the array of one step; None where nothing is kept.
    memory : float
        Bytes that the arrays may occupy. They serve the first steps of the rank.

    Attributes
    ----------
    owner : object
        Whose steps have been kept; None if nobody's.
    complete : bool
        Whether those of the steps to C-points, too, belong to the owner's states.
    """

    def __init__(self, grid: TimeGrid, shape: tuple[int, ...] | None, memory: float) -> None:
        count = 0
        if shape is not None:
            step_bytes = 8 * max(1, int(np.prod(shape, dtype=int)))
            count = int(min(grid.local_steps, memory // step_bytes))
        self.block = np.empty((count, *(shape or ())))
        self.owner: object = None
        self.complete = False
        self._steps = grid.local_steps
        self._factor = grid.coarsening[0] if grid.coarsening else 0
        # Rows of steps to C-points are congruent to this one.
        self._last = (-1 - grid.first) % self._factor if self._factor else 0

    def __len__(self) -> int:
        return len(self.block)

    def held(self, rows: slice) -> int:
        """Return how many of some steps have an array: the first of them in time."""
        some = range(*rows.indices(self._steps))
        some = some if some.step > 0 else some[::-1]
        return len(range(some.start, min(some.stop, len(self.block)), some.step))

    def rows(self, rows: slice) -> np.ndarray | None:
        """Return the arrays of some steps; None if not all of them have one."""
        some = range(*rows.indices(self._steps))
        if not some or max(some[0], some[-1]) >= len(self.block):
            return None
        return self.block[rows]

    def known_rows(self, rows: slice) -> np.ndarray | None:
        """Return the arrays of some steps; None if not all have one that is up to date."""
        if not (self.complete or self._without_last(range(*rows.indices(self._steps)))):
            return None
        return self.rows(rows)

    def each(self, rows: slice, count: int, known: bool = False) -> Iterable[Any]:
        """Return the arrays of steps one by one, as batches of one, None where there is none.

        `known` asks for those that are up to date.
        """
        if not len(self.block):
            return repeat(None, count)
        all_rows = self.known_rows(rows) if known else self.rows(rows)
        if all_rows is not None:
            return iter(all_rows[:, None])
        return (
            self.block[row : row + 1]
            if row < len(self.block) and not (known and self._is_missing(row))
            else None
            for row in range(*rows.indices(self._steps))
        )

    def _is_missing(self, row: int) -> bool:
        return not self.complete and row % self._factor == self._last

    def _without_last(self, some: range) -> bool:
        """Whether no step to a C-point is among the rows."""
        if some.step % self._factor == 0:
            return not some or some[0] % self._factor != self._last
        return not any(row % self._factor == self._last for row in some[: self._factor])
