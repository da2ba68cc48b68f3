"""Cycles that begin with the coarse correction: what they solve, and what they cost."""

import numpy as np
import pytest
from pairwise import pairwise
from recursions import (
    GRIDS,
    dahlquist,
    non_uniform,
    ones,
    random_trajectory,
    sizes_of,
    solver_for,
)

import pint


def solved(grid, recursion, nu, cycles, *, cycle="V", reverse=False, initial=2.0, seed=0):
    """Return a trajectory after lagged cycles, right-hand side, residual norms, and the solver."""
    solver = solver_for(grid, nu, cycle=cycle, reverse=reverse)
    y, rhs, tau = solver.allocate(), random_trajectory(solver, seed), solver.allocate_tau()
    y[0] = initial
    solver.add_sums(tau, rhs)
    convergence = solver.lagged_solve(recursion, y, tau, cycles, rhs)[0]
    return y, rhs, convergence.residuals, solver


@pytest.mark.parametrize(
    ("shape", "nu", "cycles", "reverse"),
    pairwise([shape for shape in GRIDS if shape[2] == 2], [0, 1, 2], [1, 2, 3], [False, True]),
)
def test_with_steps_that_stay_it_is_a_cycle_less(shape, nu, cycles, reverse):
    """k + 1 lagged cycles are a coarse march, k cycles and the relaxation after them."""
    grid = non_uniform(*shape)
    recursion = dahlquist(grid, "backward-euler", -1.3, forcing=0.8)
    y, rhs, residuals, _ = solved(grid, recursion, nu, cycles + 1, reverse=reverse)
    solver = solver_for(grid, nu, reverse=reverse)
    expected = solver.allocate()
    expected[0] = 2.0
    solver.set_guess(recursion, expected, "coarse", rhs)
    plain = solver.solve(recursion, expected, pint.Accuracy(cycles), rhs)
    size = abs(expected).max()
    np.testing.assert_allclose(residuals[:-1], plain.residuals, rtol=1e-9, atol=1e-13 * size)
    if nu == 0:  # relaxation comes last here, so that its C-points are those of the next cycle
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13 * size)


@pytest.mark.parametrize(
    ("shape", "nu", "cycle", "reverse"), pairwise(GRIDS, [0, 1], ["V", "F"], [False, True])
)
def test_it_converges_to_the_sequential_solution_and_stays_there(shape, nu, cycle, reverse):
    grid = non_uniform(*shape)
    recursion = dahlquist(grid, "backward-euler", -1.3, forcing=0.8)
    intervals = grid.steps // grid.strides[1]
    y, rhs, residuals, _ = solved(
        grid, recursion, nu, 2 * intervals + 2, cycle=cycle, reverse=reverse
    )
    exact = recursion.solution(2.0, rhs)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-12 * abs(exact).max())
    assert max(residuals[-2:]) <= 1e-12 * np.linalg.norm(exact)


@pytest.mark.parametrize("shape", [(64, 4, 2), (67, 4, 2), (64, 4, 3), (59, (5, 2, 3), 4)])
@pytest.mark.parametrize("nu", [0, 1])
def test_counts_of_a_cycle(shape, nu):
    """Each step of level 0 nu + 1 times; with two levels and nu = 0 each coarse step once."""
    grid = pint.TimeGrid.uniform(1.0, *shape)
    sizes = sizes_of(grid)
    *_, solver = solved(grid, ones(grid), nu, 1)
    counts = list(solver.steps_evaluated)
    assert counts[0] == (nu + 1) * sizes[0]
    if len(sizes) == 2:
        assert counts[1] == (1 if nu == 0 else 2) * sizes[1]
    else:
        # A V-cycle from level 1 and its relaxation, and one evaluation of Phi_1 for tau.
        below = (nu + 1) * sizes[1] + sizes[1] - sizes[2]
        assert counts[1] == below + sizes[1]


@pytest.mark.parametrize("nu", [0, 1])
@pytest.mark.parametrize("shape", [(22, 4, 2), (22, 4, 3), (22, 2, 2)])
def test_the_last_pass_makes_each_step_once(nu, shape):
    """It is the last relaxation and residual of the last cycle, and no other pass is the last."""
    grid = pint.TimeGrid.uniform(1.0, *shape)
    solver, recursion, passes = solver_for(grid, nu), ones(grid), []

    def recorded(level, steps, states, out, guess=None, apply=recursion.apply):
        passes[-1][1].extend(steps if level == 0 else ())
        apply(level, steps, states, out, guess)

    recursion.apply, recursion.begin_pass = recorded, lambda last: passes.append((last, []))
    y, tau = solver.allocate(), solver.allocate_tau()
    passes.append((False, []))
    solver.lagged_solve(recursion, y, tau, 2)
    assert [last for last, _ in passes].index(True) == len(passes) - 1
    assert sorted(passes[-1][1]) == list(range(22))


@pytest.mark.parametrize("shape", [(24, 4, 2), (26, 3, 3)])
@pytest.mark.parametrize("nu", [0, 1])
def test_a_start_of_its_own_is_left_as_it_is(shape, nu):
    """A solve that begins with another right-hand side does what one with a copy of it does."""
    grid = non_uniform(*shape)
    recursion = dahlquist(grid, "backward-euler", -1.3, forcing=0.8)
    y, _, _, solver = solved(grid, recursion, nu, 2)
    tau = random_trajectory(solver)[: len(solver.allocate_tau())]
    kept, copied, new, other = tau.copy(), tau.copy(), solver.allocate_tau(), y.copy()
    solver.lagged_solve(recursion, y, copied, 2)
    solver.lagged_solve(recursion, other, new, 2, start=tau)
    np.testing.assert_array_equal(tau, kept)
    np.testing.assert_array_equal(y, other)
    np.testing.assert_allclose(new[1:], copied[1:], rtol=0, atol=1e-14)


@pytest.mark.parametrize("nu", [0, 1])
def test_the_level_whose_step_blows_up_is_known(nu):
    """Also where the coarse march writes into the C-points of level 0."""
    grid = pint.TimeGrid.uniform(1.0, 24, 4, 2)
    recursion = ones(grid)
    recursion.factors[1][2] = np.inf
    solver = solver_for(grid, nu)
    y, tau = solver.allocate(), solver.allocate_tau()
    y[0] = 1.0
    with np.errstate(all="ignore"):
        solver.lagged_solve(recursion, y, tau, 1)
    assert solver.bad_level() == 1
