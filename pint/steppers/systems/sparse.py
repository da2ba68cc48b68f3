"""Sparse matrices of one pattern: a batch of them is one long matrix, which SuperLU factorises."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu

from pint.steppers.systems.system import FactoredSystem


class SparseSystem(FactoredSystem):
    """Matrices with entries at the same places.

    Parameters
    ----------
    data : array, shape (B, entries)
        Column by column; B is 1 for one matrix for all equations.
    indices, starts : array of int
        The row of each entry, and where each column starts and ends.
    """

    def __init__(self, data: np.ndarray, indices: np.ndarray, starts: np.ndarray) -> None:
        super().__init__(len(data), np.iscomplexobj(data))
        self.data, self.indices, self.starts = data, indices, starts
        self._factors: Any = None

    def only(self, row: int) -> SparseSystem:
        return SparseSystem(self.data[row : row + 1], self.indices, self.starts)

    def _long(self, data: np.ndarray) -> Any:
        """Return the block-diagonal matrix of all."""
        d, shifts = len(self.starts) - 1, np.arange(self.count)[:, None]
        rows = (self.indices + d * shifts).reshape(-1)
        ends = (self.starts[1:] + len(self.indices) * shifts).reshape(-1)
        shape = (d * self.count, d * self.count)
        parts = (data.reshape(-1), rows, np.concatenate([[0], ends]))
        return scipy.sparse.csc_matrix(parts, shape=shape)

    def solve_together(self, right: np.ndarray, transposed: bool) -> np.ndarray | None:
        if self._factors is None:
            if not np.isfinite(self.data).all():
                return None
            try:
                self._factors = splu(self._long(self.data))
            except RuntimeError:  # exactly singular
                return None
        columns = right.T if self.count == 1 else right.reshape(-1)
        found: np.ndarray = self._factors.solve(columns, "T" if transposed else "N")
        return found.T if self.count == 1 else found.reshape(right.shape)

    def reach(self, sizes: np.ndarray) -> np.ndarray:
        matrix, d = self._long(np.abs(self.data)), sizes.shape[-1]
        if self.count == 1:
            return (matrix @ sizes.reshape(-1, d).T).T.reshape(sizes.shape)
        parts = [matrix @ sizes[:, i].reshape(-1) for i in range(sizes.shape[1])]
        return np.stack([part.reshape(-1, d) for part in parts], axis=1)
