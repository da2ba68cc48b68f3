"""Where the entries of f_y and M stand in the matrices ``M - h f_y``, found once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pint.steppers.systems.banded import BandedSystem
from pint.steppers.systems.mass import Mass
from pint.steppers.systems.sparse import SparseSystem
from pint.steppers.systems.system import System

WIDEST = 64
"""Diagonals beside the main one up to which LAPACK's banded factors are used for sparse matrices.

They need 0.2 to 0.4 microseconds a row there, SuperLU's 0.3 for three diagonals and 1 for the
five of a mesh of 31 x 31 points.
"""


class Layout(ABC):
    """Makes systems of the entries of Jacobians, those of one or of B of them.

    Attributes
    ----------
    rows, columns : array of int
        Of the entries.
    """

    rows: np.ndarray
    columns: np.ndarray

    @property
    @abstractmethod
    def says(self) -> tuple[tuple[int, ...], str]:
        """The shape of the entries of one Jacobian, and why, for a message."""

    @abstractmethod
    def system(self, data: np.ndarray, h: np.ndarray) -> System:
        """Return ``M - h f_y`` for entries of B Jacobians and h of shape (B, 1)."""

    @abstractmethod
    def values(self, data: np.ndarray) -> np.ndarray:
        """Return the entries at `rows` and `columns`, shape (B, entries)."""


class Pattern(Layout):
    """Entries at some places, shape (B, entries).

    Parameters
    ----------
    rows, columns : array of int
        None of the places twice.
    mass : Mass
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray, mass: Mass) -> None:
        self.rows, self.columns, self._length = rows, columns, mass.length
        entries = mass.entries
        below = np.concatenate([rows - columns, entries.row - entries.col])
        self._lower, self._upper = int(max(below.max(), 1)), int(max(-below.min(), 1))
        self._is_banded = self._lower + self._upper <= WIDEST
        self._diagonals = [int(place) for place in np.unique(below + self._upper)]
        if self._is_banded:
            self._of_mass = _bands_of(mass, self._lower, self._upper)
        else:
            self._find_columns(entries)

    @property
    def says(self) -> tuple[tuple[int, ...], str]:
        return (len(self.rows),), ", one number for each entry of its `sparsity`"

    def values(self, data: np.ndarray) -> np.ndarray:
        return data

    def _find_columns(self, mass: Any) -> None:
        """Find the places of the entries of both matrices, column by column."""
        rows = np.concatenate([self.rows, mass.row])
        columns = np.concatenate([self.columns, mass.col]).astype(np.int64)
        places, inverse = np.unique(columns * self._length + rows, return_inverse=True)
        counts = np.bincount(places // self._length, minlength=self._length)
        self._indices = (places % self._length).astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._of_jacobian = inverse[: len(self.rows)]
        self._of_mass = np.zeros((1, len(places)))
        self._of_mass[0, inverse[len(self.rows) :]] = mass.data

    def system(self, data: np.ndarray, h: np.ndarray) -> System:
        shifted = h * data
        if not self._is_banded:
            entries = np.repeat(self._of_mass, len(data), axis=0).astype(shifted.dtype)
            entries[:, self._of_jacobian] -= shifted
            return SparseSystem(entries, self._indices, self._starts)
        bands = np.zeros((len(self._of_mass), len(data), self._length), shifted.dtype)
        bands[self._upper + self.rows - self.columns, :, self.columns] = -shifted.T
        bands += self._of_mass
        return BandedSystem(bands, self._lower, self._upper, self._diagonals)


def _bands_of(mass: Mass, lower: int, upper: int) -> np.ndarray:
    """Return the diagonals of M, shape (lower + upper + 1, 1, d)."""
    entries = mass.entries
    bands = np.zeros((lower + upper + 1, 1, mass.length))
    bands[upper + entries.row - entries.col, 0, entries.col] = entries.data
    return bands


class Bands(Layout):
    """Bands as `scipy.linalg.solve_banded` has them, shape (B, lower + upper + 1, d).

    Parameters
    ----------
    lower, upper : int
        Diagonals of f_y below and above the main one.
    mass : Mass
        Its diagonals may be more.
    """

    def __init__(self, lower: int, upper: int, mass: Mass) -> None:
        self._own, entries, length = (lower, upper), mass.entries, mass.length
        below = entries.row - entries.col
        self._lower, self._upper = max(lower, below.max(), 1), max(upper, -below.min(), 1)
        own = range(self._upper - upper, self._upper + lower + 1)
        self._diagonals = sorted({*own, *map(int, below + self._upper)})
        self._mass = _bands_of(mass, self._lower, self._upper)
        place, self.columns = np.indices(self.says[0])
        self.rows = self.columns + place - upper
        self._inside = (self.rows >= 0) & (self.rows < length)
        self.rows, self.columns = self.rows[self._inside], self.columns[self._inside]

    @property
    def says(self) -> tuple[tuple[int, ...], str]:
        return (sum(self._own) + 1, self._mass.shape[-1]), f" for its `bands` {self._own}"

    def values(self, data: np.ndarray) -> np.ndarray:
        return data[:, self._inside]

    def system(self, data: np.ndarray, h: np.ndarray) -> System:
        (lower, upper), d, first = self._own, data.shape[-1], self._upper - self._own[1]
        shape, kind = (len(self._mass), len(data), d), np.result_type(h, data)
        own = slice(first, first + lower + upper + 1)
        bands = (np.empty if own == slice(0, shape[0]) else np.zeros)(shape, kind)
        np.multiply(data, -h[..., None], out=bands[own].swapaxes(0, 1))
        # What stands outside of the matrix does not count.
        for place in range(1, upper + 1):
            bands[self._upper - place, :, :place] = 0.0
        for place in range(1, lower + 1):
            bands[self._upper + place, :, d - place :] = 0.0
        bands += self._mass
        return BandedSystem(bands, self._lower, self._upper, self._diagonals)
