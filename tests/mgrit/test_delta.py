"""Coarse steps with a linear correction: Newton's method for the C-points."""

import json
from itertools import pairwise as pairwise_of
from pathlib import Path

import numpy as np
import pytest
from pairwise import pairwise
from recursions import GRIDS, RELAXATIONS, non_uniform

import pint
from pint.mgrit import Corrected, Propagator

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "data" / "delta_correction.json").read_text(encoding="utf-8")
)["lorenz"]


class Bent(Propagator):
    """``y[k+1] = A_k y[k] + bend sin(y[k])``, another A_k for each step; three numbers a state."""

    def __init__(self, grid, bend, reverse=False):
        random = np.random.default_rng(7)
        sizes = [grid.steps // stride for stride in grid.strides]
        self.matrices = [0.4 * random.standard_normal((size, 3, 3)) for size in sizes]
        self.bend, self.reverse, self.calls = bend, reverse, [0 for _ in sizes]

    def _of(self, level, steps):
        return self.matrices[level][list(reversed(steps) if self.reverse else steps)]

    def apply(self, level, steps, states, out, guess=None):
        self.calls[level] += len(steps)
        out[...] = np.einsum("kij,kj->ki", self._of(level, steps), states)
        out += self.bend * np.sin(states)

    def jacobians(self, level, steps, states, out, guess=None):
        out[...] = self._of(level, steps)
        if self.bend:
            out[:, range(3), range(3)] += self.bend * np.cos(states)


def solver_for(grid, nu, cycle="V", reverse=False, **options):
    return pint.MGRIT(
        grid,
        pint.ArraySpace(3),
        relaxation=RELAXATIONS[nu],
        cycle=cycle,
        reverse=reverse,
        **options,
    )


def started(solver, reverse):
    """Return a random right-hand side, and a random trajectory from a given point."""
    random = np.random.default_rng(3)
    rhs, y = solver.allocate(), solver.allocate()
    rhs[...], y[...] = random.standard_normal((2, *y.shape))
    y[-1 if reverse else 0] = 1.0, -2.0, 0.5
    return rhs, y


@pytest.mark.parametrize(
    ("shape", "nu", "cycle", "reverse", "rank"),
    pairwise(GRIDS, [0, 1, 2], ["V", "F"], [False, True], [1, 2, None]),
)
def test_the_sequential_solution_is_a_fixed_point(shape, nu, cycle, reverse, rank):
    grid = non_uniform(*shape)
    solver, steps = solver_for(grid, nu, cycle, reverse), Bent(grid, 0.3, reverse)
    rhs, y = started(solver, reverse)
    solver.march(steps, y, rhs)
    exact = y.copy()
    convergence = solver.solve(Corrected(steps, solver, rank), y, pint.Accuracy(2), rhs)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13 * abs(exact).max())
    assert max(convergence.residuals) <= 1e-13 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("shape", "nu", "cycle", "reverse", "chunk_bytes"),
    pairwise(GRIDS, [0, 1], ["V", "F"], [False, True], [None, 100]),
)
@pytest.mark.parametrize("linear", [False, True])
def test_one_cycle_solves_linear_equations(shape, nu, cycle, reverse, chunk_bytes, linear):
    """On any number of levels; `linear` says so beforehand, and makes no coarse steps."""
    grid = non_uniform(*shape)
    solver = solver_for(grid, nu, cycle, reverse, chunk_bytes=chunk_bytes)
    steps = Bent(grid, 0.0, reverse)
    rhs, y = started(solver, reverse)
    exact = y.copy()
    solver.march(steps, exact, rhs)
    steps.calls = [0] * grid.levels
    corrected = Corrected(steps, solver, linear=linear)
    residual = solver.solve(corrected, y, pint.Accuracy(2), rhs).residuals[1]
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13 * abs(exact).max())
    assert residual <= 1e-13 * np.linalg.norm(exact)
    assert linear is (steps.calls[1:] == [0] * (grid.levels - 1))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(64, 4, 2), (67, (4, 2), 3)])
def test_residuals_decay_quadratically(shape, reverse):
    """On more than two levels one cycle solves the coarse equation only nearly."""
    grid = non_uniform(*shape)
    solver, steps = solver_for(grid, 0, "F", reverse), Bent(grid, 0.2, reverse)
    rhs, y = started(solver, reverse)
    residuals = solver.solve(Corrected(steps, solver), y, pint.Accuracy(7), rhs).residuals
    plain = solver.solve(steps, started(solver, reverse)[1], pint.Accuracy(7), rhs).residuals
    small = [pair for pair in pairwise_of(residuals) if 1e-7 < pair[0] < 1]
    assert len(small) >= 2
    assert all(after < 3 * before**2 + 1e-14 for before, after in small)
    assert residuals[-1] < 1e-13 < 1e-4 < plain[-1]


def test_a_rank_keeps_the_largest_singular_values():
    """The coarse step is zero, so that the correction is the matrix of one interval itself."""
    grid = pint.TimeGrid.uniform(1.0, 4, coarsening=2, levels=2)
    solver, steps = solver_for(grid, 0), Bent(grid, 0.0)
    steps.matrices[1][...] = 0.0
    corrected = Corrected(steps, solver, rank=2)
    solver.solve(corrected, started(solver, False)[1], pint.Accuracy(1))
    left, sizes, right = np.linalg.svd(steps.matrices[0][3] @ steps.matrices[0][2])
    nearest = left[:, :2] * sizes[:2] @ right[:2]
    np.testing.assert_allclose(corrected.delta.matrices[1], nearest, atol=1e-14)


@pytest.mark.parametrize("rank", [2, None])
def test_a_coarse_derivative_that_is_not_finite_leaves_its_step_as_it_is(rank):
    grid = pint.TimeGrid.uniform(1.0, 8, coarsening=2, levels=2)
    solver, steps = solver_for(grid, 0), Bent(grid, 0.0)
    steps.matrices[1][2, 0, 1] = np.inf
    corrected = Corrected(steps, solver, rank)
    with np.errstate(all="ignore"):
        solver.solve(corrected, started(solver, False)[1], pint.Accuracy(1))
    corrects = corrected.delta.matrices.any(axis=(1, 2))
    np.testing.assert_array_equal(corrects, [True, True, False, True])


class Lorenz(pint.ODE):
    initial_state = np.array([9.614521163788712, 17.519127090401067, 13.94230712158098])

    def f(self, t, y, u, theta):
        a, b, c = y.T
        return np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], axis=1)

    def f_vjp(self, t, y, u, theta, lam):
        (a, b, c), (p, q, r) = y.T, lam.T
        of_y = [-10 * p + (28 - c) * q + b * r, 10 * p - q + a * r, -a * q - 8 / 3 * r]
        return np.stack(of_y, axis=1), {}, {}


class Last(pint.Objective):
    def terminal(self, y, theta):
        return float(y @ y)

    def terminal_derivative(self, y, theta):
        return 2 * y, {}


@pytest.mark.parametrize(
    ("correction", "expected"), [(None, "plain"), ("full", "full_delta"), (3, "full_delta")]
)
def test_residuals_of_an_independent_program(correction, expected):
    """To 8 digits; a residual is a difference of states of norm 300, known to 1e-14 at best."""
    stepper, adjoint = pint.steppers.scheme(Lorenz(), "forward-euler")
    problem = pint.Problem(stepper, adjoint, Last(), {"u": pint.TimeControl(1)})
    grid = pint.TimeGrid.uniform(0.5 * np.log(10) / 0.9, 256, coarsening=2, levels=2)
    options = {"relaxation": "F", "guess": "constant", "unconverged": "ignore"}
    rf = pint.ReducedFunctional(problem, grid, correction=correction, **options)
    state = rf.state.new()
    accuracy = pint.Accuracy(len(REFERENCE[expected]))
    rf.state.solve(state, rf.controls.zeros(), pint.equations.Cycles(accuracy))
    found = state.convergence.residuals
    np.testing.assert_allclose(found, REFERENCE[expected], rtol=1e-8, atol=1e-14)
