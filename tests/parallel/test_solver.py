"""The solver on many ranks: trajectories, residuals and step counts of one rank."""

import numpy as np
import pytest
from parallel.cases import (
    SMALL,
    assert_same_residuals,
    assert_same_trajectory,
    random_case,
)
from recursions import Recursion, dahlquist

import pint

pytestmark = pytest.mark.layout

CASES = [*SMALL, *(random_case(seed) for seed in range(12))]
ARRANGEMENTS = [("F", "V", 1.0), ("FCF", "V", 1.0), ("FCFCF", "F", 1.0), ("FCF", "F", 0.7)]


def solved(case, comm, reverse, arrangement, guess, accuracy, with_rhs):
    """Return the grid, the solver, the trajectory and what the solve reports."""
    relaxation, cycle, c_weight = arrangement
    grid = case.grid(comm)
    solver = pint.MGRIT(
        grid,
        pint.ArraySpace(1),
        reverse=reverse,
        relaxation=relaxation,
        cycle=cycle,
        c_weight=c_weight,
    )
    y, rhs = solver.allocate(), None
    finest = solver.levels[0]
    finest.trajectory = y
    if finest.layout.owns_initial:
        y[finest.point(0)] = 2.0
    if with_rhs:
        rhs = case.random().standard_normal((case.steps + 1, 1))[grid.first : grid.last + 1]
    recursion = dahlquist(grid, "backward-euler", -1.3, 0.8)
    recursion.reverse = reverse
    solver.set_guess(recursion, y, guess, rhs)
    return grid, solver, y, solver.solve(recursion, y, accuracy, rhs)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("guess", ["zero", "constant", "coarse", "nested"])
def test_trajectory_residuals_and_counts(world, case, reverse, guess):
    arrangement = ARRANGEMENTS[case.seed % len(ARRANGEMENTS)]
    rest = (reverse, arrangement, guess, pint.Accuracy(1 + case.seed % 3), case.seed % 2 == 0)
    _, solver, expected, convergence = solved(case, pint.SerialComm(), *rest)
    grid, distributed, y, ours = solved(case, world, *rest)
    assert_same_trajectory(grid, y, expected)
    assert_same_residuals(ours.residuals, convergence.residuals, expected)
    counts = np.sum(world.allgather(distributed.steps_evaluated), axis=0)
    assert tuple(counts) == solver.steps_evaluated


@pytest.mark.parametrize("case", CASES[4:12], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_all_ranks_stop_at_a_tolerance_together(world, case, reverse):
    rest = (reverse, ARRANGEMENTS[1], "zero", pint.Accuracy(20, relative=1e-5), True)
    _, _, expected, convergence = solved(case, pint.SerialComm(), *rest)
    grid, _, y, ours = solved(case, world, *rest)
    assert len(ours.residuals) == len(convergence.residuals)
    assert ours.converged
    assert_same_trajectory(grid, y, expected)


@pytest.mark.parametrize("case", CASES[:14], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_marching_from_rank_to_rank(world, case, reverse):
    grid = case.grid(world)
    solver = pint.MGRIT(grid, pint.ArraySpace(1), reverse=reverse)
    recursion = dahlquist(grid, "trapezoid", -1.3, 0.8)
    recursion.reverse = reverse
    y, finest = solver.allocate(), solver.levels[0]
    if finest.layout.owns_initial:
        finest.trajectory = y
        y[finest.point(0)] = 2.0
    solver.march(recursion, y)
    expected = recursion.solution(2.0)
    assert_same_trajectory(grid, y, expected[::-1] if reverse else expected)


@pytest.mark.parametrize("step", [0, 7, 15])
def test_every_rank_knows_the_level_that_is_not_finite(world, step):
    grid = pint.TimeGrid.uniform(1.0, 32, 2, 2, world)
    factors = [np.ones(32), np.ones(16)]
    factors[1][step] = np.nan
    solver = pint.MGRIT(grid, pint.ArraySpace(1))
    y = solver.allocate()
    solver.solve(Recursion(factors), y, pint.Accuracy(1))
    assert solver.bad_level() == 1


@pytest.mark.parametrize("nu", [0, 1, 2])
def test_work_is_shared(world, nu):
    """Each rank evaluates (nu + 1) cycles' worth of its own fine steps, N / P of them."""
    cycles, m, intervals = 3, 4, 30
    steps = m * intervals
    grid = pint.TimeGrid.uniform(1.0, steps, m, 2, world)
    solver = pint.MGRIT(grid, pint.ArraySpace(1), relaxation=("F", "FCF", "FCFCF")[nu])
    y = solver.allocate()
    solver.solve(Recursion([np.ones(steps), np.ones(intervals)]), y, pint.Accuracy(cycles))
    own = grid.local_steps
    assert abs(own - steps / world.size) < m
    assert solver.steps_evaluated == (
        cycles * (nu + 1) * own + own * (m - 1) // m,
        cycles * 2 * own // m,
    )
