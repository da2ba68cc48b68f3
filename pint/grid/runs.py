"""Runs of consecutive steps, for steppers that make many steps in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.grid.timegrid import TimeGrid, as_slice


@dataclass(frozen=True)
class Runs:
    """`count` runs of `length` consecutive steps of one level.

    Step j of run c has row ``c * apart + j`` in arrays with a row for each step, and of these
    arrays all rows from the first step to the last. One run is a march; runs of ``m - 1`` steps
    that begin m steps apart go through the intervals of a multigrid level.

    Attributes
    ----------
    grid : TimeGrid
    level : int
    starts : range
        The finest points where the steps of all rows begin.
    count, length, apart : int
    kept, guess
        As in `Steps`, with a row for each step.
    """

    grid: TimeGrid
    level: int
    starts: range
    count: int
    length: int
    apart: int
    kept: Any = None
    guess: Any = None

    @property
    def index(self) -> np.ndarray:
        """The numbers of the finest steps where the steps of all rows begin; made anew."""
        return np.arange(self.starts.start, self.starts.stop, self.starts.step)

    @property
    def size(self) -> float | None:
        """The size of each step on a uniform grid, else None."""
        return self.grid.size_on(self.level)

    @property
    def t0(self) -> np.ndarray:
        """Where the steps of all rows begin; computed anew."""
        return self.grid.t[as_slice(self.starts)]

    @property
    def t1(self) -> np.ndarray:
        """Where the steps of all rows end; computed anew."""
        return self.grid.t[as_slice(self.starts, self.grid.strides[self.level])]

    def fill(self, block: Any, value: float) -> None:
        """Set the rows of all runs to a value, in place; `block` has a row for each, or one."""
        for run in range(self.count):
            block[run * self.apart : run * self.apart + self.length] = value
