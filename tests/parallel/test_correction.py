"""A linear correction of coarse steps on many ranks: the numbers of one rank."""

import numpy as np
import pytest
import registry
from parallel.cases import SMALL, Case
from solves import SOLVES, assert_same_numbers
from solves import numbers as numbers_of

import pint
from pint.comm import on_root
from problems.ode import PROBLEMS

# Intervals that ranks share, on the finest level or on a coarser one, are among them
CASES = [
    *SMALL[1:],
    Case(2001, 37, (4, 3), 3),
    Case(2002, 60, (2, 5, 2), 4),
    Case(2003, 48, (4,), 2),
]


def numbers(case, name, solve, options, comm=None):
    problem, grid = registry.PROBLEMS[name](), case.grid(comm)
    rf = pint.ReducedFunctional(problem, grid, unconverged="ignore", **options)
    found = numbers_of(rf, solve, registry.random_control(rf.controls, deviation=0.3))
    return [(kind, value) for kind, value in found if kind != "states"]


OPTIONS = [
    {"correction": "full", "relaxation": "F"},
    {"correction": 1},
    {"correction": "full", "cycle": "F", "chunk_bytes": 1},
]
NAMES = ("forced-rk4", "pendulum-loop-running")


@pytest.mark.layout
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers(world, case):
    place = CASES.index(case)
    # Newton's method needs short coarse steps.
    name = NAMES[place % 2] if case.steps < 50 else "forced-midpoint"
    arguments = name, tuple(SOLVES)[place % 7], OPTIONS[place // 2 % 3]
    expected = on_root(world, lambda: numbers(case, *arguments))
    assert_same_numbers(numbers(case, *arguments, world), expected, 1e-11)


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.layout
def test_one_shot(world, storage):

    def objectives(comm):
        grid = pint.TimeGrid.uniform(4.0, 48, 8, 2, comm)
        problem = PROBLEMS["van-der-pol"]().problem()
        rf = pint.ReducedFunctional(problem, grid, correction="full", storage=storage)
        result = pint.minimize(rf, method=pint.Lagged(iterations=4))
        return [row.objective for row in result.history]

    expected = on_root(world, lambda: objectives(None))
    np.testing.assert_allclose(objectives(world), expected, rtol=1e-9)


def test_ranks_must_have_the_same_correction(world):
    if world.size == 1:
        pytest.skip("needs two ranks")
    grid = pint.TimeGrid.uniform(4.0, 64, 4, 2, world)
    problem = PROBLEMS["van-der-pol"]().problem()
    with pytest.raises(ValueError, match="correction"):
        pint.ReducedFunctional(problem, grid, correction=1 + (world.rank == 1))
