"""Many vectors of one length: their products and sums, each by one pass over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg.blas import daxpy

STACKED = 1024
"""Vectors of at most so many numbers are copied into a matrix: calls would take most time."""

PART, SMALL_PART = 32768, 512
"""Numbers of each vector that are worked on together, so that what is made of them stays in the
cache; fewer of them where those of all vectors are copied."""


class Rows:
    """Vectors as the rows of a matrix; long ones stay where they are. Not collective.

    Parameters
    ----------
    vectors : sequence of ndarray, each of shape (n,)
        At least one; they must not change.
    """

    def __init__(self, vectors: Sequence[np.ndarray]) -> None:
        self.vectors = vectors
        self.matrix = self._stacked(slice(None)) if len(vectors[0]) <= STACKED else None

    def _stacked(self, part: slice) -> np.ndarray:
        return np.concatenate([v[part] for v in self.vectors]).reshape(len(self.vectors), -1)

    def products(self, other: np.ndarray) -> np.ndarray:
        """Return the product of each row with a vector, shape (rows,)."""
        if self.matrix is not None:
            return self.matrix @ other
        sums = np.zeros(len(self.vectors))
        for part in _parts(slice(0, len(other)), PART):
            values = other[part]
            sums += [vector[part] @ values for vector in self.vectors]
        return sums

    def add_to(self, total: np.ndarray, part: slice, factors: np.ndarray) -> None:
        """Add ``sum_i factors[i] row_i`` to a part of a vector, in place."""
        if self.matrix is not None:
            total[part] += factors @ self.matrix[:, part]
            return
        several = factors.tolist()
        for small in _parts(part, PART):
            values = total[small]
            for factor, vector in zip(several, self.vectors, strict=True):
                daxpy(vector[small], values, a=factor)

    def add_alike(self, total: np.ndarray, part: slice, factors: np.ndarray) -> None:
        """Do what `add_to` does, to the last bit alike on all ranks that hold the same part.

        Its place in their vectors may differ, by which BLAS would choose how to round.
        """
        for small in _parts(part, SMALL_PART):
            block = self._stacked(small)
            block *= factors[:, None]
            total[small] += block.sum(axis=0)

    def grams(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the products of the first half of the rows, s, with the other half, y.

        They are (s_i, y_j), (y_i, y_j) and (s_i, s_i), with weights >= 0.
        """
        roots, half = np.sqrt(weights), len(self.vectors) // 2
        mixed, others, squares = np.zeros((half, half)), np.zeros((half, half)), np.zeros(half)
        for part in _parts(slice(0, len(weights)), SMALL_PART):
            used = np.flatnonzero(roots[part])
            block = self._stacked(part).take(used, axis=1)
            block *= roots[part][used]
            s, y = block[:half], block[half:]
            mixed += s @ y.T
            others += y @ y.T
            squares += np.einsum("ij,ij->i", s, s)
        return mixed, others, squares


def _parts(whole: slice, size: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, size):
        yield slice(start, min(start + size, whole.stop))
