"""Inner products by a matrix, such as the mass matrix of finite elements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu, spsolve_triangular

from pint.comm import agreeing
from pint.errors import real_array, shown

SYMMETRY = 1e-12
"""Largest asymmetry of a metric, relative to its largest entry: it is rounding."""


class Metric(ABC):
    """A symmetric positive definite matrix M: the inner product ``a^T M b`` of vectors.

    All methods work on the rows of an array, shape (vectors, size), and return a new one. Those
    of a distributed matrix are collective over its ranks.

    Attributes
    ----------
    size : int
        Numbers of a vector, this rank's part.
    diagonal : ndarray, shape (size,)
        Of M.
    is_diagonal : bool
        Whether M has no other entries, as a lumped mass matrix.
    has_root : bool
        Whether it knows R with ``M = R^T R``: see `SparseMetric.root`.
    """

    size: int
    diagonal: np.ndarray
    is_diagonal: bool
    has_root: bool = False

    @abstractmethod
    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Return ``M row`` of each row."""

    @abstractmethod
    def solve(self, rows: np.ndarray) -> np.ndarray:
        """Return ``M^{-1} row`` of each row, the Riesz map."""

    def squared_norm(self, rows: np.ndarray) -> float:
        """Return this rank's part of the sum of ``row^T M row``."""
        return float(np.vdot(rows, self.apply(rows)).real)


class SparseMetric(Metric):
    """A metric by a matrix of scipy or numpy; it is factorised once.

    Parameters
    ----------
    owner : str
        For messages, such as ``TimeControl(metric=...)``.
    matrix : sparse matrix or ndarray, shape (size, size)
    size : int

    Raises
    ------
    TypeError, ValueError
        If it is no matrix of real numbers of this shape, symmetric and positive definite.
    """

    has_root = True
    _factor: Any

    def __init__(self, owner: str, matrix: Any, size: int) -> None:
        self.owner, self.size = owner, size
        self.matrix = _checked(owner, matrix, size)
        self.diagonal = self.matrix.diagonal()
        self.is_diagonal = self.matrix.nnz == np.count_nonzero(self.diagonal)
        pivots, self._factor = self.diagonal, None
        if not self.is_diagonal:
            self._factor = _factorised(owner, self.matrix)
            pivots = self._factor.U.diagonal()
        if not (pivots > 0).all():
            raise ValueError(f"`{owner}` must be positive definite: a mass matrix is.")

    def __reduce__(self) -> tuple[Any, ...]:
        return SparseMetric, (self.owner, self.matrix, self.size)  # factors cannot be copied

    def apply(self, rows: np.ndarray) -> np.ndarray:
        product: np.ndarray = (self.matrix @ rows.T).T
        return product

    def solve(self, rows: np.ndarray) -> np.ndarray:
        if self.is_diagonal:
            return rows / self.diagonal
        solution: np.ndarray = self._factor.solve(np.ascontiguousarray(rows.T)).T
        return solution

    # With P M P^T = L D L^T, R = D^{1/2} L^T P gives M = R^T R: R row has M's norm as its own.

    def root(self, rows: np.ndarray) -> np.ndarray:
        """Return ``R row`` of each row, for ``M = R^T R``."""
        product: np.ndarray = (self._upper @ rows.T[self._order]).T
        return product

    def root_solve(self, rows: np.ndarray) -> np.ndarray:
        """Return ``R^{-1} row`` of each row."""
        solution = np.empty(rows.shape[::-1])
        solution[self._order] = spsolve_triangular(self._upper, rows.T, lower=False)
        return solution.T

    def root_transposed_solve(self, rows: np.ndarray) -> np.ndarray:
        """Return ``R^{-T} row`` of each row: derivatives with respect to ``R x``."""
        lower = self._upper.T.tocsr()
        solution: np.ndarray = spsolve_triangular(lower, rows.T[self._order], lower=True).T
        return solution

    @property
    def _order(self) -> np.ndarray:
        return np.argsort(self._factor.perm_c)

    @property
    def _upper(self) -> Any:
        """R without the permutation."""
        roots = np.sqrt(self._factor.U.diagonal())
        return scipy.sparse.diags(roots) @ self._factor.L.T.tocsr()


def metric_of(owner: str, matrix: Any, size: int, comm: Any) -> Metric:
    """Return the metric by a user's matrix, on vectors of `size` numbers on this rank.

    Collective over `comm`, the ranks that the vectors are distributed over.

    Raises
    ------
    TypeError, ValueError
        If it is no symmetric positive definite matrix that fits; the line begins with `owner`.
    """
    if hasattr(matrix, "multTranspose"):
        from pint.states.petsc import PetscMetric

        return PetscMetric(owner, matrix, size, comm)
    with agreeing(comm, owner):
        metric = SparseMetric(owner, matrix, size)
    if comm.size > 1 and not metric.is_diagonal:
        raise ValueError(
            f"`{owner}`: vectors that are distributed over {comm.size} ranks in space need a PETSc "
            "matrix that is distributed like them, or a diagonal one of this rank's part."
        )
    return metric


def _checked(owner: str, matrix: Any, size: int) -> Any:
    """Return a user's matrix as one of scipy of the framework's own."""
    if not scipy.sparse.issparse(matrix):
        matrix = real_array(owner, matrix)
        if matrix.ndim != 2:
            raise TypeError(
                f"`{owner}` must be a matrix, sparse, dense or of PETSc, got {shown(matrix)}; use "
                "scipy.sparse.diags for a diagonal."
            )
    if matrix.shape != (size, size):
        raise ValueError(
            f"`{owner}` must have the shape {(size, size)} for vectors of {size} numbers, got "
            f"{matrix.shape}."
        )
    if matrix.dtype.kind not in "iuf":
        raise TypeError(f"`{owner}` must hold real numbers, got {matrix.dtype}.")
    own = scipy.sparse.csr_matrix(matrix, dtype=float, copy=True)
    own.sum_duplicates()
    own.eliminate_zeros()
    if not np.isfinite(own.data).all():
        raise ValueError(f"`{owner}` contains NaN or infinity.")
    if abs(own - own.T).max() > SYMMETRY * abs(own).max():
        raise ValueError(f"`{owner}` must be symmetric: a mass matrix is.")
    return own


def _factorised(owner: str, matrix: Any) -> Any:
    """Return the factors ``P M P^T = L D L^T``, one permutation for rows and columns."""
    options = {"SymmetricMode": True}
    try:
        return splu(matrix.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError as error:
        raise ValueError(f"`{owner}` is singular; a mass matrix is positive definite.") from error
