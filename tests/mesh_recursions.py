"""One-step recursions whose states lie on meshes of other sizes on coarse levels."""

import numpy as np
from scipy.linalg import solve_banded

from pint.mgrit import Propagator


def linear_interpolation(nodes):
    """Return the matrix of linear interpolation from n to 2 n - 1 nodes."""
    matrix = np.zeros((2 * nodes - 1, nodes))
    for column in range(nodes):
        matrix[2 * column, column] = 1.0
        for row in (2 * column - 1, 2 * column + 1):
            if 0 <= row < len(matrix):
                matrix[row, column] = 0.5
    return matrix


def full_weighting(nodes):
    """Return the matrix of the weights (1/4, 1/2, 1/4) to n nodes; the ends are injected."""
    matrix = linear_interpolation(nodes).T / 2
    matrix[[0, -1]] = 0.0
    matrix[0, 0] = matrix[-1, -1] = 1.0
    return matrix


class HeatReference(Propagator):
    """Backward Euler for ``u_t = u_xx + sin x (cos t - sin t)`` on a mesh for each level."""

    def __init__(self, grid, nodes):
        self.grid, self.nodes = grid, nodes

    def apply(self, level, steps, states, out, guess=None):
        t, n = self.grid.t[:: self.grid.strides[level]], self.nodes[level]
        x = np.linspace(0, np.pi, n)
        for row, k in enumerate(steps):
            dt = t[k + 1] - t[k]
            c, rhs = dt / (x[1] - x[0]) ** 2, states[row].copy()
            rhs[[0, -1]] = np.sin(x[[0, -1]]) * np.cos(t[k + 1])
            rhs += dt * np.sin(x) * (np.cos(t[k + 1]) - np.sin(t[k + 1]))
            bands = np.empty((3, n))
            bands[0], bands[1], bands[2] = -c, 1 + 2 * c, -c
            bands[1, [0, -1]] = 1.0
            bands[0, 1] = bands[2, -2] = 0.0
            out[row] = solve_banded((1, 1), bands, rhs)


class Linear(Propagator):
    """``y[k+1] = A_l y[k] + b_l[k]`` on each level; A is a matrix for each size of states."""

    def __init__(self, grid, nodes, seed=0, reverse=False):
        random = np.random.default_rng(seed)
        self.reverse, self.steps = reverse, [grid.steps // stride for stride in grid.strides]
        self.matrices = [0.6 * random.standard_normal((n, n)) / np.sqrt(n) for n in nodes]
        self.forcings = [
            random.standard_normal((count, n)) for count, n in zip(self.steps, nodes, strict=True)
        ]

    def apply(self, level, steps, states, out, guess=None):
        k = list(reversed(steps) if self.reverse else steps)  # blocks ascend in time
        out[...] = states @ self.matrices[level].T + self.forcings[level][k]

    def solution(self, initial, rhs):
        """Return the sequential solution on level 0, in the direction of the sweep."""
        y = np.empty((self.steps[0] + 1, len(initial)))
        y[0] = initial
        for k in range(len(y) - 1):
            y[k + 1] = self.matrices[0] @ y[k] + self.forcings[0][k] + rhs[k + 1]
        return y
