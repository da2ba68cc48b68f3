"""Controls on a coarser time mesh than the states: a subspace of one block for each step."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import scipy.linalg
import scipy.sparse

from pint.comm import reduce
from pint.timegrid import TimeGrid


class ControlMesh:
    """The blocks ``u = B c`` of all steps that M coefficient blocks c give.

    With ``interpolate="constant"`` a coefficient holds for `every` steps; with ``"linear"`` the
    coefficients are values at every `every`-th time point and at the end, and a step takes the
    value of the interpolating hat functions at its midpoint. The gradient in this subspace is
    ``g = B (B^T W B)^{-1} B^T dJ``, W the metric's weights; B^T W B is diagonal or tridiagonal,
    small, and factorised on every rank.

    Parameters
    ----------
    grid : TimeGrid
    every : int
        Steps for each coefficient, >= 1 (>= 2 if linear).
    interpolate : 'constant' or 'linear'
    weights : ndarray, shape (N,)
        Of all steps.

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
        if interpolate == "linear" and grid.steps < 2:
            raise ValueError(
                "`TimeControl(interpolate='linear')` needs a grid of at least 2 steps, got 1."
            )
        self.comm = grid.comm
        basis = _constant(grid, every) if interpolate == "constant" else _linear(grid, every)
        self.coefficients = basis.shape[1]
        gram = (basis.T @ scipy.sparse.diags(weights) @ basis).tocsr()
        bands = np.zeros((2, self.coefficients))
        bands[0] = gram.diagonal()
        bands[1, :-1] = gram.diagonal(1)
        self._factor = (scipy.linalg.cholesky_banded(bands, lower=True), True)
        self._all = basis
        self._basis = basis[grid.first : grid.last]
        self._weights = weights[grid.first : grid.last]

    def riesz(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient's blocks from the derivative's, this rank's steps. Collective."""
        rows = derivative.reshape(len(derivative), math.prod(derivative.shape[1:]))
        sums = reduce(self.comm, self._basis.T @ rows)
        return self.expand(scipy.linalg.cho_solve_banded(self._factor, sums), derivative.shape)

    def project(self, blocks: np.ndarray) -> np.ndarray:
        """Return the nearest blocks of the subspace in the metric. Collective."""
        weights = self._weights.reshape((-1,) + (1,) * (blocks.ndim - 1))
        return self.riesz(weights * blocks)

    def expand_all(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the blocks of all steps that coefficients give. Not collective."""
        rows: Any = self._all @ coefficients.reshape(self.coefficients, -1)
        return rows.reshape(-1, *coefficients.shape[1:])

    def expand(self, coefficients: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the blocks of this rank's steps that coefficients give, in the given shape."""
        rows: Any = self._basis @ coefficients.reshape(self.coefficients, -1)
        return rows.reshape(shape)


def _constant(grid: TimeGrid, every: int) -> Any:
    """Return B for coefficients that hold for `every` steps."""
    steps = np.arange(grid.steps)
    return scipy.sparse.csr_matrix((np.ones(grid.steps), (steps, steps // every)))


def _linear(grid: TimeGrid, every: int) -> Any:
    """Return B for hat functions at every `every`-th point, taken at the steps' midpoints."""
    nodes = grid.t[np.append(np.arange(0, grid.steps, every), grid.steps)]
    middle = 0.5 * (grid.t[1:] + grid.t[:-1])
    steps, left = np.arange(grid.steps), np.arange(grid.steps) // every
    share = (middle - nodes[left]) / (nodes[left + 1] - nodes[left])
    values = np.concatenate([1 - share, share])
    places = (np.tile(steps, 2), np.concatenate([left, left + 1]))
    return scipy.sparse.csr_matrix((values, places), shape=(grid.steps, len(nodes)))
