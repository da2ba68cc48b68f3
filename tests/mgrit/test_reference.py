"""Residual histories of an independent MGRIT program, see the notes in the data file."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import solve_banded

import pint
from pint.mgrit import Propagator

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "data" / "mgrit_residuals.json").read_text(encoding="utf-8")
)
NODES = 33
DX = np.pi / (NODES - 1)
X = np.arange(NODES) * DX


class OneByOne(Propagator):
    """Steps ``function(t0, t1, y)`` on each level of a grid."""

    def __init__(self, grid, function):
        self.grid, self.function = grid, function

    def apply(self, level, steps, states, out, guess=None):
        t = self.grid.t[:: self.grid.strides[level]]
        pairs = zip(steps, states, strict=True)
        out[...] = [self.function(t[k], t[k + 1], y) for k, y in pairs]


def decay(t0, t1, y):
    return y / (1 + t1 - t0)


def heat(t0, t1, y):
    """One step of backward Euler for ``u_t = u_xx + sin x (cos t - sin t)``."""
    dt = t1 - t0
    c = dt / DX**2
    rhs = y.copy()
    rhs[[0, -1]] = np.sin(X[[0, -1]]) * np.cos(t1)
    rhs += dt * np.sin(X) * (np.cos(t1) - np.sin(t1))
    bands = np.empty((3, NODES))
    bands[0], bands[1], bands[2] = -c, 1 + 2 * c, -c
    bands[1, [0, -1]] = 1.0
    bands[0, 1] = bands[2, -2] = 0.0
    return solve_banded((1, 1), bands, rhs)


def random_c_points():
    """Return the reference's first guess at the C-points, from its congruential generator."""
    seed, values = 1, np.empty(32 * NODES)
    for i in range(len(values)):
        seed = (1103515245 * seed + 12345) % 2**64
        values[i] = ((seed >> 16) % 2**32 % 32768) / 32768
    return values.reshape(32, NODES)


def agree(residuals, expected):
    """Compare to 8 digits; a residual is a difference of states of norm 1 to 20, so that it is
    known to 1e-14 at best: this decides at the last entry of a history, which is 0 or 1e-7.
    """
    np.testing.assert_allclose(residuals, expected, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(residuals[:-1], expected[:-1], rtol=1e-8)


def test_scalar_decay():
    expected = REFERENCE["scalar_decay"]["residuals_from_cycle_2"]
    grid = pint.TimeGrid.uniform(5.0, 10, coarsening=2, levels=2)
    solver, propagator = pint.MGRIT(grid, pint.ArraySpace(1)), OneByOne(grid, decay)
    y = solver.allocate()
    y[0], y[1:] = 1.0, 0.456
    solver.set_guess(propagator, y, "coarse")
    agree(solver.solve(propagator, y, pint.Accuracy(len(expected))).residuals, expected)


def test_heat_on_two_levels():
    expected = REFERENCE["heat_two_level"]["residuals"]
    grid = pint.TimeGrid.uniform(2 * np.pi, 64, coarsening=2, levels=2)
    solver, propagator = pint.MGRIT(grid, pint.ArraySpace(NODES)), OneByOne(grid, heat)
    y = solver.allocate()
    y[0], y[2::2] = np.sin(X), random_c_points()
    agree(solver.solve(propagator, y, pint.Accuracy(len(expected))).residuals, expected)
    error = np.sqrt(DX * ((y[-1] - np.sin(X) * np.cos(2 * np.pi)) ** 2).sum())
    assert error == pytest.approx(REFERENCE["heat_two_level"]["final_error"], rel=1e-8)


def test_heat_on_seven_levels():
    expected = REFERENCE["heat_multilevel_skip"]["residuals_from_cycle_2"]
    grid = pint.TimeGrid.uniform(2 * np.pi, 256, coarsening=2, levels=7)
    solver, propagator = pint.MGRIT(grid, pint.ArraySpace(NODES)), OneByOne(grid, heat)
    y = solver.allocate()
    y[0] = np.sin(X)
    solver.set_guess(propagator, y, "coarse")
    agree(solver.solve(propagator, y, pint.Accuracy(len(expected))).residuals, expected)
