"""One-step recursions for the tests of the solver, and the matrices of its theory."""

import numpy as np
from registry import amplification

import pint
from pint.mgrit import Propagator

RELAXATIONS = {0: "F", 1: "FCF", 2: "FCFCF", 3: "FCFCFCF"}

# N, coarsening, levels: divisible and not, one interval, as many levels as fit
GRIDS = [
    (16, 2, 2),
    (16, 4, 2),
    (17, 4, 2),
    (23, 5, 2),
    (5, 5, 2),
    (7, 6, 2),
    (32, 2, 4),
    (37, 2, 4),
    (41, 3, 3),
    (43, (4, 2, 3), 4),
]


def non_uniform(steps, coarsening, levels):
    sizes = np.random.default_rng(steps).uniform(0.05, 0.2, steps)
    return pint.TimeGrid(np.cumsum([0.0, *sizes]), coarsening, levels)


def solver_for(grid, nu=1, reverse=False, **options):
    options = {"relaxation": RELAXATIONS[nu], "reverse": reverse, **options}
    solver = pint.MGRIT(grid, pint.ArraySpace(1), **options)
    return InSweepOrder(solver) if reverse else solver


class InSweepOrder:
    """A solver backward in time on one rank, given blocks in the direction of the sweep."""

    def __init__(self, solver):
        self.solver = solver

    def __getattr__(self, name):
        return getattr(self.solver, name)

    def _call(self, name, recursion, blocks, *arguments, **options):
        recursion.reverse = True
        blocks = (None if block is None else block[::-1] for block in blocks)
        return getattr(self.solver, name)(recursion, *blocks, *arguments, **options)

    def solve(self, recursion, y, accuracy, rhs=None, **options):
        rhs = None if rhs is None else rhs[::-1]
        return self._call("solve", recursion, [y], accuracy, rhs, **options)

    def set_guess(self, recursion, y, guess, rhs=None):
        return self._call("set_guess", recursion, [y], guess, None if rhs is None else rhs[::-1])

    def lagged_solve(self, recursion, y, tau, cycles, rhs=None):
        rhs = None if rhs is None else rhs[::-1]
        return self._call("lagged_solve", recursion, [y], tau, cycles, rhs)

    def march(self, recursion, y, rhs=None):
        return self._call("march", recursion, [y, rhs])

    def relax(self, recursion, y, rhs=None):
        return self._call("relax", recursion, [y, rhs])

    def add_sums(self, tau, rhs):
        self.solver.add_sums(tau, rhs[::-1])


def random_trajectory(solver, seed=0):
    y = solver.allocate()
    y[...] = np.random.default_rng(seed).standard_normal(y.shape)
    return y


def sizes_of(grid):
    return [grid.steps // stride for stride in grid.strides]


def ones(grid):
    return Recursion([np.ones(size) for size in sizes_of(grid)])


class Recursion(Propagator):
    """``y[k+1] = factor_l[k] y[k] + forcing_l[k]`` on each level, k in the sweep's direction."""

    def __init__(self, factors, forcings=None, reverse=False):
        self.factors = factors
        self.forcings = forcings or [np.zeros_like(factor) for factor in factors]
        self.calls = [0] * len(factors)
        self.reverse = reverse

    def apply(self, level, steps, states, out, guess=None):
        self.calls[level] += 1
        k = list(reversed(steps) if self.reverse else steps)  # blocks ascend in time
        assert states.shape == out.shape == (len(k), 1)
        out[...] = self.factors[level][k, None] * states + self.forcings[level][k, None]

    def solution(self, initial, rhs=None):
        """Return the sequential solution on level 0; rhs by point, shape (N + 1, 1)."""
        y = np.empty((len(self.factors[0]) + 1, 1))
        y[0] = initial
        for k in range(len(y) - 1):
            self.apply(0, range(k, k + 1), y[k : k + 1], y[k + 1 : k + 2])
            if rhs is not None:
                y[k + 1] += rhs[k + 1]
        return y


def dahlquist(grid, scheme, rate, forcing=0.0):
    """Return ``y' = rate y + forcing cos t`` by a one-step method, on each level of a grid."""
    factors, forcings = [], []
    for stride in grid.strides:
        t = grid.t[::stride]
        dt = np.diff(t)
        factors.append(amplification(scheme, rate * dt))
        forcings.append(forcing * dt * np.cos(t[:-1]))
    return Recursion(factors, forcings)


def error_propagator(factors, coarsening, counts, c_weight=1.0, f_cycle=False):
    """Return the matrix of one cycle's effect on the errors at points 1..N of the finest level.

    With A = I - diag(a) S, S the lower shift, P the F-relaxation of C-point errors (ideal
    interpolation), R_I the injection to C-points and M the relaxation,

        E_l = P (R_I - B R_I A) M,   B = (I - E_{l+1}) A_{l+1}^{-1},

    E of the coarsest level being zero; in an F-cycle a V-cycle follows: E_{l+1} = E_V E_F.
    """
    a, n = factors[0], len(factors[0])
    if len(factors) == 1:
        return np.zeros((n, n))
    m, coarse_n = coarsening[0], n // coarsening[0]
    matrix = np.eye(n) - np.diag(a[1:], -1)
    c_points = np.arange(1, coarse_n + 1) * m - 1  # row of point k: k - 1
    inject = np.eye(n)[c_points]
    interpolate = np.zeros((n, coarse_n))
    for row in range(m - 1, n):
        last_c_point = (row + 1) // m * m - 1
        interpolate[row, (row + 1) // m - 1] = np.prod(a[last_c_point + 1 : row + 1])
    f_relaxation = interpolate @ inject
    c_relaxation = np.eye(n)
    c_relaxation[c_points] -= c_weight * matrix[c_points]
    relaxation = np.linalg.matrix_power(f_relaxation @ c_relaxation, counts[0]) @ f_relaxation
    rest = (factors[1:], coarsening[1:], counts[1:], c_weight)
    coarse_error = error_propagator(*rest, f_cycle)
    if f_cycle:
        coarse_error = error_propagator(*rest) @ coarse_error
    coarse_matrix = np.eye(coarse_n) - np.diag(factors[1][1:coarse_n], -1)
    correct = (np.eye(coarse_n) - coarse_error) @ np.linalg.inv(coarse_matrix)
    return interpolate @ (inject - correct @ inject @ matrix) @ relaxation
