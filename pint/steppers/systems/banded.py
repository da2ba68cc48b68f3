"""Banded matrices: a batch of them is one long banded matrix, which LAPACK factorises."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lapack

from pint.steppers.systems.system import FactoredSystem


class BandedSystem(FactoredSystem):
    """Matrices with entries near the diagonal only.

    Parameters
    ----------
    bands : array, shape (lower + upper + 1, B, d)
        Entry (i, j) of matrix b is ``bands[upper + i - j, b, j]``; places outside are zero. B is
        1 for one matrix for all equations.
    lower, upper : int
        Numbers of diagonals below and above the main one.
    diagonals : list of int
        The places along the first axis that are not zero, ascending.
    """

    def __init__(self, bands: np.ndarray, lower: int, upper: int, diagonals: list[int]) -> None:
        super().__init__(bands.shape[1], np.iscomplexobj(bands))
        self.bands, self.lower, self.upper, self.diagonals = bands, lower, upper, diagonals
        self._factors: tuple[Any, ...] | None = None
        # LAPACK has no shorter tridiagonal ones.
        self._is_tridiagonal = lower == upper == 1 and self.count * bands.shape[2] > 2

    def only(self, row: int) -> BandedSystem:
        return BandedSystem(self.bands[:, row : row + 1], self.lower, self.upper, self.diagonals)

    def _factorised(self) -> tuple[Any, ...]:
        """Return LAPACK's factors; the last one is positive where a matrix is singular."""
        kind = "z" if self.is_complex else "d"
        long = self.bands.reshape(len(self.bands), -1)
        if self._is_tridiagonal:
            factors: tuple[Any, ...] = getattr(lapack, f"{kind}gttrf")(
                long[2, :-1], long[1], long[0, 1:]
            )
            return factors
        # With room for the rows that are exchanged
        stored = np.zeros((2 * self.lower + self.upper + 1, long.shape[1]), long.dtype, order="F")
        stored[self.lower :] = long
        factors = getattr(lapack, f"{kind}gbtrf")(stored, self.lower, self.upper, overwrite_ab=1)
        return factors

    def solve_together(self, right: np.ndarray, transposed: bool) -> np.ndarray | None:
        if self._factors is None:
            self._factors = self._factorised()
        *factors, singular = self._factors
        if singular:
            return None
        kind = "z" if self.is_complex else "d"
        # Columns of one matrix, or one column of the long one
        columns = right.T if self.count == 1 else right.reshape(-1)
        if self._is_tridiagonal:
            trans = "T" if transposed else "N"
            found = getattr(lapack, f"{kind}gttrs")(*factors, columns, trans=trans)[0]
        else:
            stored, pivots = factors
            found = getattr(lapack, f"{kind}gbtrs")(
                stored, self.lower, self.upper, columns, pivots, trans=int(transposed)
            )[0]
        return found.T if self.count == 1 else found.reshape(right.shape)

    def reach(self, sizes: np.ndarray) -> np.ndarray:
        d, some = self.bands.shape[2], len(self.diagonals) < len(self.bands)
        entries = np.abs(self.bands[self.diagonals] if some else self.bands)
        products, total = entries[:, :, None] * sizes, np.zeros(sizes.shape)
        for place, product in zip(self.diagonals, products, strict=True):
            below = place - self.upper  # row minus column
            first, last = max(0, -below), min(d, d - below)  # of the columns
            total[..., first + below : last + below] += product[..., first:last]
        return total
