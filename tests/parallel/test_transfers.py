"""Levels with other states on many ranks: the numbers of one rank."""

import numpy as np
import pytest
from mesh_problems import reaction_problem
from parallel.cases import (
    SMALL,
    assert_same_control,
    assert_same_residuals,
    assert_same_trajectory,
    random_case,
)
from registry import random_control

import pint
from pint.equations import Cycles, Lagged

CASES = [*SMALL[1:], *(random_case(seed, largest=24) for seed in (301, 302, 305, 306, 309))]


def functional(case, comm):
    seed = case.seed
    points = ((15, 7, 3), (7, 7, 3), (15, 15, 7, 3))[seed % 3]
    return pint.ReducedFunctional(
        reaction_problem(points, batched=seed % 2 == 0),
        case.grid(comm),
        accuracy=pint.Accuracy(2),
        relaxation=("FCF", "FCFCF")[seed // 2 % 2],
        cycle=("V", "F")[seed // 3 % 2],
        guess=("nested", "coarse", "constant")[seed % 3],
    )


@pytest.mark.layout
@pytest.mark.parametrize("case", CASES, ids=str)
def test_solves_and_derivatives(world, case):
    each = [functional(case, comm) for comm in (world, pint.SerialComm())]
    found = []
    for one in each:
        control = random_control(one.controls, case.seed)
        state, adjoint = one.state.new(), one.adjoint.new()
        for how in (
            (Cycles(one.accuracy), Lagged(2)) if case.levels > 1 else (Cycles(one.accuracy),)
        ):
            one.state.solve(state, control, how)
            one.adjoint.solve(adjoint, state, how)
            control = 0.9 * control
        found.append((state, adjoint, one.derivative_of(state, adjoint)))
    ours = each[0]
    for mine, theirs in zip(found[0][:2], found[1][:2], strict=True):
        assert_same_trajectory(ours.grid, mine.points, theirs.points)
        assert_same_residuals(
            mine.convergence.residuals, theirs.convergence.residuals, theirs.points
        )
    assert_same_control(found[0][2], found[1][2])
    if case.levels > 1:
        size = ours.state.solver.levels[1].space.shape
        assert found[0][0].tau.shape[1:] == size


@pytest.mark.layout
def test_c_points_alone(world):
    values = []
    for comm in (world, pint.SerialComm()):
        grid = pint.TimeGrid.uniform(1.0, 24, (4, 2), 3, comm)
        one = pint.ReducedFunctional(reaction_problem((15, 7, 3)), grid, storage="C")
        values.append((one, *one.value_and_gradient(random_control(one.controls))))
    assert values[0][1] == pytest.approx(values[1][1], rel=1e-12)
    assert_same_control(values[0][2], values[1][2])


@pytest.mark.layout
def test_an_optimum(world):
    results = []
    for comm in (world, pint.SerialComm()):
        grid = pint.TimeGrid.uniform(1.0, 24, 2, 3, comm)
        one = pint.ReducedFunctional(reaction_problem((7, 3)), grid)
        start = one.controls.control(theta=np.ones(1))
        results.append(pint.minimize(one, start, pint.OneShot(2, iterations=6)))
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-10)
