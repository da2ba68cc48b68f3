"""What the matrices of a batch of implicit equations can do, and dense ones."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class System(ABC):
    """The matrices ``A = M - h f_y`` of a batch of B equations, of one kind."""

    @abstractmethod
    def solve(self, right: np.ndarray, transposed: bool = False) -> np.ndarray:
        """Return ``A^{-1} right`` or ``A^{-T} right``, shape (B, d); NaN where A is singular."""

    @abstractmethod
    def reach(self, sizes: np.ndarray) -> np.ndarray:
        """Return the products of ``|A|``, entry by entry, with vectors; both of shape (B, p, d)."""


class DenseSystem(System):
    """Matrices that are arrays.

    Parameters
    ----------
    matrix : array, shape (B, d, d)
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix

    def solve(self, right: np.ndarray, transposed: bool = False) -> np.ndarray:
        return _solved(self.matrix.swapaxes(1, 2) if transposed else self.matrix, right)

    def reach(self, sizes: np.ndarray) -> np.ndarray:
        product: np.ndarray = sizes @ np.abs(self.matrix).swapaxes(1, 2)
        return product


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if len(matrix) == 1:
            return np.full_like(right, np.nan)
    rows = [_solved(matrix[i : i + 1], right[i : i + 1]) for i in range(len(matrix))]
    return np.concatenate(rows)


class FactoredSystem(System):
    """Matrices whose factors are made once, at the first solve, and serve both directions.

    Parameters
    ----------
    count : int
        B different matrices, or one for all equations of every batch.
    is_complex : bool
        Whether the matrices are complex.
    """

    def __init__(self, count: int, is_complex: bool) -> None:
        self.count, self.is_complex = count, is_complex

    @abstractmethod
    def solve_together(self, right: np.ndarray, transposed: bool) -> np.ndarray | None:
        """Return the solutions of all equations; None if a matrix is found to be singular."""

    @abstractmethod
    def only(self, row: int) -> FactoredSystem:
        """Return the matrix of one equation."""

    def solve(self, right: np.ndarray, transposed: bool = False) -> np.ndarray:
        if np.iscomplexobj(right) and not self.is_complex:
            parts = self.solve(right.real, transposed), self.solve(right.imag, transposed)
            return parts[0] + 1j * parts[1]
        right = np.asarray(right, complex if self.is_complex else float)
        found = self.solve_together(right, transposed)
        if self.count == 1:
            return np.full_like(right, np.nan) if found is None else found
        if found is not None and np.isfinite(found).all():
            return found
        # One equation that has no solution spoils those that are solved together with it.
        rows = [self.only(i).solve(right[i : i + 1], transposed) for i in range(self.count)]
        return np.concatenate(rows)
