"""The constant matrix M of ``M y' = f``."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from pint.errors import shown


class Mass:
    """Products with `ODE.mass_matrix` for batches of vectors; the identity where there is none.

    Parameters
    ----------
    ode : ODE
    length : int
        Of a state.

    Raises
    ------
    ValueError
        If the matrix has not the shape (length, length), or its entries are not finite numbers.
    """

    def __init__(self, ode: Any, length: int) -> None:
        name, given = f"`{type(ode).__name__}.mass_matrix`", ode.mass_matrix
        self.length, self.is_identity = length, given is None
        self._matrix: Any = None
        if given is None:
            return
        is_sparse = scipy.sparse.issparse(given)
        if not (is_sparse or isinstance(given, np.ndarray)):
            raise ValueError(f"{name} must be an array or a sparse matrix, got {shown(given)}.")
        if given.shape != (length, length):
            raise ValueError(f"{name} must have the shape {(length, length)}, got {given.shape}.")
        if given.dtype.kind not in "fiu" or not np.isfinite(given.sum()):
            raise ValueError(f"{name} must consist of finite real numbers.")
        self._matrix = given.tocsr().astype(float) if is_sparse else np.array(given, dtype=float)
        self._transpose = self._matrix.T.tocsr() if is_sparse else self._matrix.T

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Return M times each vector of a batch; the batch itself where there is no matrix."""
        return vectors if self.is_identity else (self._matrix @ vectors.T).T

    def transposed(self, vectors: np.ndarray) -> np.ndarray:
        """Return M^T times each vector of a batch; the batch itself where there is no matrix."""
        return vectors if self.is_identity else (self._transpose @ vectors.T).T

    @property
    def array(self) -> np.ndarray:
        """M as an array of shape (d, d)."""
        if self.is_identity:
            return np.eye(self.length)
        array: np.ndarray = self.entries.toarray() if self._is_sparse else self._matrix
        return array

    @property
    def entries(self) -> Any:
        """M as a sparse matrix of rows, columns and data, each entry once."""
        matrix = scipy.sparse.identity(self.length) if self.is_identity else self._matrix
        matrix = scipy.sparse.coo_matrix(matrix, dtype=float)
        matrix.sum_duplicates()
        return matrix

    @property
    def _is_sparse(self) -> bool:
        return scipy.sparse.issparse(self._matrix)
