"""What `ODE.jacobian` returns, checked, and the systems made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from pint.errors import shown
from pint.steppers.systems.layout import Bands, Layout, Pattern
from pint.steppers.systems.mass import Mass
from pint.steppers.systems.system import DenseSystem, System

MOST_KEPT = 16
"""Step sizes whose factors are kept; the oldest ones make room."""


class Systems:
    """The systems ``M - h f_y`` of an `ODE` for batches of its states.

    Banded and sparse ones keep their factors by step size: as long as f_y is the same for all
    states of a batch, to the last bit, and the same as before, there is one factorisation for
    each step size, and all states are solved together.

    Parameters
    ----------
    ode : ODE
        With its `bands`, `sparsity` and `mass_matrix`.
    length : int
        Of a state.

    Raises
    ------
    TypeError, ValueError
        If one of them is not what `ODE` says.
    """

    def __init__(self, ode: Any, length: int) -> None:
        self.name, self.length = type(ode).__name__, length
        self.mass = Mass(ode, length)
        self._declared: Layout | None = None
        if ode.bands is not None and ode.sparsity is not None:
            raise TypeError(f"`{self.name}` has `bands` and `sparsity`: give one of them.")
        if ode.bands is not None:
            self._declared = Bands(*_checked_bands(self.name, ode.bands, length), self.mass)
        elif ode.sparsity is not None:
            places = _checked_sparsity(self.name, ode.sparsity, length)
            self._declared = Pattern(*places, self.mass)
        self._last: Pattern | None = None
        self._kept: dict[Any, tuple[Layout, np.ndarray, System]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Factors of SuperLU can be neither copied nor pickled; they are made again.
        return {**self.__dict__, "_kept": {}}

    def of(self, jacobian: Any, h: np.ndarray, count: int) -> System:
        """Return the systems of a batch.

        Parameters
        ----------
        jacobian : array, sparse matrix or sequence of them
            What `ODE.jacobian` has returned.
        h : array, shape (B, 1)
        count : int
            B.

        Raises
        ------
        ValueError
            If `jacobian` has another shape or pattern.
        """
        layout, data = self.parts(jacobian, count)
        if layout is None:
            return DenseSystem(self.mass.array - h[..., None] * data)
        if not count:
            return DenseSystem(np.empty((0, self.length, self.length)))
        size, first = h[0, 0], data[:1]
        is_one = count == 1 or bool((h == size).all())
        if is_one and len(data) > 1:  # in most cases the second one differs
            is_one = np.array_equal(data[1:2], first) and bool((data == first).all())
        if not is_one:
            return layout.system(np.broadcast_to(data, (count, *data.shape[1:])), h)
        kept = self._kept.get(size)
        if kept is not None and kept[0] is layout and np.array_equal(kept[1], first):
            return kept[2]
        system = layout.system(first, h[:1])
        self._kept.pop(size, None)
        if len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[size] = layout, first.copy(), system
        return system

    def parts(self, jacobian: Any, count: int) -> tuple[Layout | None, np.ndarray]:
        """Return where the entries of Jacobians stand, and those of one or of B of them.

        A dense one has no layout, and shape (B, d, d).
        """
        if scipy.sparse.issparse(jacobian):
            return self._of_matrices([jacobian])
        if isinstance(jacobian, (list, tuple)) and any(map(scipy.sparse.issparse, jacobian)):
            if len(jacobian) != count or not all(map(scipy.sparse.issparse, jacobian)):
                raise ValueError(
                    f"`{self.name}.jacobian` must return one sparse matrix for each of {count} "
                    f"states, or one for all, got {len(jacobian)}."
                )
            return self._of_matrices(jacobian)
        layout, data = self._declared, np.asarray(jacobian)
        shape, why = ((self.length, self.length), "") if layout is None else layout.says
        if data.shape != (count, *shape) and (layout is None or data.shape != (1, *shape)):
            raise ValueError(
                f"`{self.name}.jacobian` must return an array of shape {(count, *shape)}{why}, "
                f"got {data.shape}."
            )
        return layout, data

    def transposed_products(self, jacobian: Any, vectors: np.ndarray) -> np.ndarray:
        """Return the products of the transposes of Jacobians with a batch of vectors."""
        layout, data = self.parts(jacobian, len(vectors))
        if layout is None:
            return np.einsum("bij,bi->bj", data, vectors)
        return self._summed(layout.values(data) * vectors[:, layout.rows], layout.columns)

    def sums_of_moduli(self, jacobian: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the moduli of the entries in each column and in each row of B."""
        layout, data = self.parts(jacobian, count)
        moduli = np.abs(data)
        if layout is None:
            return moduli.sum(axis=1), moduli.sum(axis=2)
        moduli = layout.values(moduli)
        return self._summed(moduli, layout.columns), self._summed(moduli, layout.rows)

    def _summed(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return vectors of the sums of the values at their places, shape (B, d)."""
        total = np.zeros((self.length, len(values)), values.dtype)
        np.add.at(total, places, values.T)
        return total.T

    def _of_matrices(self, matrices: Sequence[Any]) -> tuple[Layout, np.ndarray]:
        """Return layout and entries of sparse matrices."""
        shape = (self.length, self.length)
        for matrix in matrices:
            if matrix.shape != shape:
                raise ValueError(
                    f"`{self.name}.jacobian` must return sparse matrices of shape {shape}, "
                    f"got {matrix.shape}."
                )
        parts = [_sorted(matrix) for matrix in matrices]
        same = all(_alike(part, parts[0]) for part in parts)
        if not same:  # entries of each at the places of all
            whole = sum(abs(part) for part in parts)
            whole = _sorted(whole)
            whole.data[:] = 0.0
            places = _keys(whole)
            data = np.zeros((len(parts), whole.nnz), np.result_type(*parts))
            for row, part in zip(data, parts, strict=True):
                row[np.searchsorted(places, _keys(part))] = part.data
        else:
            whole, data = parts[0], np.stack([part.data for part in parts])
        rows = np.repeat(np.arange(self.length), np.diff(whole.indptr))
        last = self._last
        if (
            last is None
            or not np.array_equal(last.columns, whole.indices)
            or not np.array_equal(last.rows, rows)
        ):
            last = self._last = Pattern(rows, whole.indices.copy(), self.mass)
        return last, data


def _sorted(matrix: Any) -> Any:
    """Return a sparse matrix by rows, each entry once and in ascending order."""
    matrix = matrix.tocsr(copy=True)
    matrix.sum_duplicates()
    return matrix


def _alike(one: Any, other: Any) -> bool:
    return np.array_equal(one.indptr, other.indptr) and np.array_equal(one.indices, other.indices)


def _keys(matrix: Any) -> np.ndarray:
    """Return ascending numbers for the places of a matrix that is sorted."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def _checked_bands(name: str, bands: Any, length: int) -> tuple[int, int]:
    """Return the numbers of diagonals below and above the main one; ValueError names them."""
    try:
        lower, upper = (int(number) for number in bands if number == int(number))
    except (TypeError, ValueError):
        lower = upper = -1
    if not (0 <= lower < length and 0 <= upper < length):
        raise ValueError(
            f"`{name}.bands` must be the numbers of diagonals below and above the main one, two "
            f"integers from 0 to {length - 1}, got {shown(bands)}."
        )
    return lower, upper


def _checked_sparsity(name: str, sparsity: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the entries in their order; ValueError names the argument."""
    if not scipy.sparse.issparse(sparsity) or sparsity.shape != (length, length):
        got = sparsity.shape if scipy.sparse.issparse(sparsity) else shown(sparsity)
        raise ValueError(
            f"`{name}.sparsity` must be a sparse matrix of shape {(length, length)}, got {got}."
        )
    places = sparsity.tocoo()
    if len(np.unique(places.row.astype(np.int64) * length + places.col)) != places.nnz:
        raise ValueError(
            f"`{name}.sparsity` must have each entry once: call its `sum_duplicates()`."
        )
    return places.row.astype(int), places.col.astype(int)
