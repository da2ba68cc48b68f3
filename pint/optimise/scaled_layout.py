"""The vector of optimisers of other packages: the scaled values of all ranks, on one rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pint.comm import broadcast, gather_rows
from pint.controls import Control, ControlSpace

Bounds = tuple[np.ndarray, np.ndarray]
Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray]]
Record = Callable[[np.ndarray], bool]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
Optimiser = Callable[[Evaluate, Record, Product, np.ndarray, Bounds | None], bool]
"""Runs an optimiser from a start and within bounds, on rank 0 only.

`evaluate` returns objective and derivative, or raises `Stop`; `record` is told each iterate and
returns whether to stop; the product is that of the Hessian at a point with a direction. Returns
whether the optimiser has ended by options of the user's.
"""


class Stop(Exception):  # noqa: N818  (no error: it leaves the optimiser's loop)
    """Raised inside an optimiser to leave it; not every one ends by `StopIteration`."""


class ScaledLayout:
    """The vector of the optimiser: each value of all ranks once, in Euclidean coordinates.

    A value of the vector is a value of the control times the square root of its weight in the
    metric, so that the optimiser's Euclidean products are those of the metric. Where that is a
    matrix ``M = R^T R``, blocks are multiplied by R.

    Parameters
    ----------
    space : ControlSpace
    """

    def __init__(self, space: ControlSpace) -> None:
        self.space = space
        self.in_time, self.in_space = space.comm, space.space_comm
        self.roots = np.sqrt(space.weights)
        for name, matrix in space.matrices.items():
            blocks = Control(space, self.roots)[name]
            blocks /= np.sqrt(matrix.diagonal).reshape(space.fields[name].shape)
        self.total = 0
        self._numbers: np.ndarray | None = None

    @property
    def is_root(self) -> bool:
        """Whether this rank runs the optimiser."""
        return bool(self.in_time.rank == 0 and self.in_space.rank == 0)

    def broadcast(self, value: Any) -> Any:
        """Give every rank the value of the root. Collective."""
        return broadcast(self.in_space, broadcast(self.in_time, value))

    def numbers(self) -> np.ndarray:
        """Return the places of this rank's values in the vector. Collective the first time."""
        if self._numbers is not None:
            return self._numbers
        numbers, start = [], 0
        for part, (over_time, over_space) in self.space.parts:
            size = part.stop - part.start
            sizes = np.array(self.in_space.allgather(self.in_time.allgather(size)))
            # A part that is not distributed is the same on all ranks, and has one place.
            column = self.in_time.rank if over_time else 0
            row = self.in_space.rank if over_space else 0
            sizes = sizes[: None if over_space else 1, : None if over_time else 1]
            before = sizes.ravel()[: row * sizes.shape[1] + column].sum()
            numbers.append(start + int(before) + np.arange(size))
            start += int(sizes.sum())
        self.total = start
        self._numbers = np.concatenate(numbers)
        return self._numbers

    def gather(self, vector: np.ndarray) -> np.ndarray:
        """Return the scaled values of all ranks, from this rank's values. Collective."""
        return self._gathered(self._mapped(vector * self.roots, "root"))

    def gather_dual(self, vector: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to the scaled values. Collective."""
        return self._gathered(self._mapped(vector / self.roots, "root_transposed_solve"))

    def control(self, x: np.ndarray) -> Control:
        """Return this rank's part of the optimiser's vector as a control within the bounds."""
        # Scaling there and back may leave a bound by the last digit.
        values = self._mapped(x[self.numbers()], "root_solve")
        return self.space.project(Control(self.space, values / self.roots))

    def _mapped(self, vector: np.ndarray, action: str) -> np.ndarray:
        """Map the blocks of fields with a `SparseMetric` by one of its methods, in place."""
        for name, matrix in self.space.matrices.items():
            blocks = Control(self.space, vector)[name]
            rows = blocks.reshape(blocks.size // matrix.size, matrix.size)
            blocks[...] = getattr(matrix, action)(rows).reshape(blocks.shape)
        return vector

    def direction(self, x: np.ndarray) -> Control:
        """Return this rank's part of a direction of the optimiser's vector."""
        return Control(self.space, x[self.numbers()] / self.roots)

    def bounds(self) -> Bounds | None:
        """Return the scaled bounds of all values, None without any. Collective."""
        if not self.space.bounded:
            return None
        return self.gather(self.space.lower), self.gather(self.space.upper)

    def _gathered(self, vector: np.ndarray) -> np.ndarray:
        numbers = self.numbers()
        whole = np.empty(self.total)
        places, values = (
            gather_rows(self.in_space, gather_rows(self.in_time, own)) for own in (numbers, vector)
        )
        whole[places] = values
        return whole
