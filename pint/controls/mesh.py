"""Controls on a coarser time mesh than the states: a subspace of one block for each step."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse

from pint.comm import reduce
from pint.grid.timegrid import TimeGrid


class ControlMesh:
    """The blocks ``u = B c`` of all steps that M coefficient blocks c give.

    With ``interpolate="constant"`` a coefficient holds for `every` steps; with ``"linear"`` the
    coefficients are values at every `every`-th time point and at the end, and a step takes the
    value of the interpolating hat functions at its midpoint. The gradient in this subspace is
    ``g = B (B^T W B)^{-1} B^T dJ``, W the metric's weights.

    B^T W B is diagonal or tridiagonal. Each rank eliminates the coefficients that only its own
    steps see. The Schur complement of the coefficients that several ranks see, at most two for each
    rank boundary, is summed over the ranks and factorised on all of them.

    Parameters
    ----------
    grid : TimeGrid
    every : int
        Steps for each coefficient, >= 1 (>= 2 if linear).
    interpolate : 'constant' or 'linear'
    weights : ndarray, shape (local steps,)
        Of this rank's steps.

    Attributes
    ----------
    coefficients : int
        M, their number on all ranks together.

    Raises
    ------
    ValueError
        If there are to be hat functions on a grid of one step.
    """

    def __init__(
        self,
        grid: TimeGrid,
        every: int,
        interpolate: Literal["constant", "linear"],
        weights: np.ndarray,
    ) -> None:
        linear = interpolate == "linear"
        if linear and grid.steps < 2:
            raise ValueError(
                "`TimeControl(interpolate='linear')` needs a grid of at least 2 steps, got 1."
            )
        self.comm = grid.comm
        self.coefficients = -(-grid.steps // every) + linear
        self._basis = _linear(grid, every) if linear else _constant(grid, every)
        self._weights = weights
        self._first, count = grid.first // every, self._basis.shape[1]
        gram = (self._basis.T @ scipy.sparse.diags(weights) @ self._basis).tocsr()
        self._shared = _shared(grid, every, linear)
        start, stop = np.searchsorted(self._shared, [self._first, self._first + count])
        self._own_shared = slice(int(start), int(stop))
        self._eliminate(gram.diagonal(), gram.diagonal(1), self._shared[start:stop] - self._first)
        self._schur_factor: Any = None

    def _eliminate(self, diagonal: np.ndarray, beside: np.ndarray, outer: np.ndarray) -> None:
        """Eliminate the coefficients between the `outer` ones, which lie at both ends."""
        left = int((outer == np.arange(len(outer))).sum())
        inner = slice(left, len(diagonal) - (len(outer) - left))
        self._outer, self._inner = outer, inner
        size = inner.stop - inner.start
        bands = np.zeros((2, size))
        bands[0], bands[1, :-1] = diagonal[inner], beside[inner][: max(size - 1, 0)]
        self._factor = _factor(bands)
        coupling = np.zeros((size, len(outer)))
        if size and left:
            coupling[0, left - 1] = beside[left - 1]
        if size and left < len(outer):
            coupling[-1, left] = beside[inner.stop - 1]
        self._influence = _solve(self._factor, coupling)
        schur = np.diag(diagonal[outer])
        for i in range(len(outer) - 1):
            if outer[i + 1] == outer[i] + 1:
                schur[i, i + 1] = schur[i + 1, i] = beside[outer[i]]
        self._schur = schur - coupling.T @ self._influence

    def riesz(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient's blocks from the derivative's, this rank's steps. Collective."""
        rows = derivative.reshape(len(derivative), math.prod(derivative.shape[1:]))
        sums = self._basis.T @ rows
        own = _solve(self._factor, sums[self._inner])
        coefficients = np.empty_like(sums)
        if len(self._shared):
            seen = np.zeros((len(self._shared), rows.shape[1]))
            seen[self._own_shared] = sums[self._outer] - self._influence.T @ sums[self._inner]
            seen = _solve(self._factor_of_shared(), reduce(self.comm, seen))[self._own_shared]
            coefficients[self._outer] = seen
            own -= self._influence @ seen
        coefficients[self._inner] = own
        blocks: np.ndarray = (self._basis @ coefficients).reshape(derivative.shape)
        return blocks

    def _factor_of_shared(self) -> Any:
        """Return the factor of the Schur complement, made at the first call. Collective."""
        if self._schur_factor is None:
            bands = np.zeros((4, len(self._shared)))  # a rank sees two at each end
            for (i, j), value in np.ndenumerate(self._schur):
                if i >= j:
                    bands[i - j, self._own_shared.start + j] = value
            self._schur_factor = _factor(reduce(self.comm, bands))
        return self._schur_factor

    def project(self, blocks: np.ndarray) -> np.ndarray:
        """Return the nearest blocks of the subspace in the metric. Collective."""
        weights = self._weights.reshape((-1,) + (1,) * (blocks.ndim - 1))
        return self.riesz(weights * blocks)

    def expand(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the blocks of this rank's steps that all coefficients give. Not collective."""
        own = coefficients[self._first : self._first + self._basis.shape[1]]
        rows: Any = self._basis @ own.reshape(len(own), math.prod(own.shape[1:]))
        return rows.reshape(-1, *coefficients.shape[1:])


def _constant(grid: TimeGrid, every: int) -> Any:
    """Return this rank's rows and columns of B, for coefficients that hold for `every` steps."""
    count = (grid.last - 1) // every + 1 - grid.first // every if grid.local_steps else 0
    column = np.arange(grid.first, grid.last) // every - grid.first // every
    places = (np.arange(grid.local_steps), column)
    shape = (grid.local_steps, count)
    return scipy.sparse.csr_matrix((np.ones(grid.local_steps), places), shape=shape)


def _linear(grid: TimeGrid, every: int) -> Any:
    """Return the same for hat functions at every `every`-th point, at the steps' midpoints."""
    first = grid.first // every
    count = (grid.last - 1) // every + 2 - first if grid.local_steps else 0
    nodes = grid.t[np.minimum(np.arange(first, first + count) * every, grid.steps)]
    t = grid.t[grid.first : grid.last + 1]
    left = np.arange(grid.first, grid.last) // every - first
    share = (0.5 * (t[1:] + t[:-1]) - nodes[left]) / (nodes[left + 1] - nodes[left])
    values = np.concatenate([1 - share, share])
    places = (np.tile(np.arange(grid.local_steps), 2), np.concatenate([left, left + 1]))
    return scipy.sparse.csr_matrix((values, places), shape=(grid.local_steps, count))


def _shared(grid: TimeGrid, every: int, linear: bool) -> np.ndarray:
    """Return the coefficients that steps of more than one rank see, ascending."""
    boundaries = np.array([grid.boundary(rank) for rank in range(1, grid.comm.size)], dtype=int)
    boundaries = boundaries[(0 < boundaries) & (boundaries < grid.steps)]
    inside = boundaries[boundaries % every != 0] // every
    if linear:
        return np.unique(np.concatenate([boundaries // every, inside + 1]))
    return np.unique(inside)


def _factor(bands: np.ndarray) -> Any:
    """Return the factor of a symmetric positive definite matrix from its lower bands."""
    return (scipy.linalg.cholesky_banded(bands, lower=True), True) if bands.size else None


def _solve(factor: Any, sides: np.ndarray) -> np.ndarray:
    """Return the solution for right-hand sides, shape (size, their number)."""
    if factor is None or not sides.size:
        return sides.copy()
    solution: np.ndarray = scipy.linalg.cho_solve_banded(factor, sides)
    return solution
