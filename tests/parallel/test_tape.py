"""What steps keep on many ranks: the numbers of one rank that keeps nothing."""

import pytest
from parallel.cases import SMALL, random_case
from registry import random_control
from solves import assert_same_numbers, numbers
from test_tape import PROBLEMS

import pint

pytestmark = pytest.mark.layout


@pytest.mark.parametrize("solve", ["cycles", "marched", "to_tolerance", "interrupted"])
@pytest.mark.parametrize("case", [*SMALL[1::2], random_case(203), random_case(207)], ids=str)
def test_numbers(world, case, solve):
    problem = PROBLEMS[("network", "convolution", "rk4", "midpoint")[case.seed % 4]]
    if case.levels == 1 and solve != "marched":
        return  # one level marches in any case
    found = []
    for comm, kept_bytes in ((pint.SerialComm(), 0), (world, 2**31)):
        rf = pint.ReducedFunctional(problem(), case.grid(comm), kept_bytes=kept_bytes)
        control = random_control(rf.controls, seed=2, deviation=0.3)
        found.append(numbers(rf, solve, control)[:6])
    serial, ours = found
    assert_same_numbers(
        [pair for pair in ours if pair[0] != "states"],
        [pair for pair in serial if pair[0] != "states"],
    )


@pytest.mark.parametrize("shape", [(24, 3, 2), (25, 3, 2), (40, 4, 2), (30, 2, 3)])
def test_lagged_solves(world, shape):
    """With coarse steps that keep, C-points of the state that are F-points of the adjoint, ..."""
    found = []
    for comm, options in ((pint.SerialComm(), {"kept_bytes": 0}), (world, {"chunk_bytes": 1})):
        grid = pint.TimeGrid.uniform(1.0, *shape, comm=comm)
        rf = pint.ReducedFunctional(PROBLEMS["network"](), grid, relaxation="F", **options)
        control = random_control(rf.controls, seed=2, deviation=0.3)
        found.append(numbers(rf, "lagged", control))
    assert_same_numbers(found[1], found[0])
