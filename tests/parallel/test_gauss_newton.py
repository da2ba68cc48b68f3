"""Gauss-Newton on many ranks: the iterates of one, with fewer steps than ranks, too."""

import numpy as np
import pytest
import sympy
from parallel.cases import finished

import pint
from pint.comm import on_root
from pint.steppers.symbolic import SympyODE
from problems.ode_catalogue import CATALOGUE


def solved(problem, steps, final_time, comm, start=None):
    functional = pint.ReducedFunctional(
        problem, pint.TimeGrid.uniform(final_time, steps, comm=comm)
    )
    control = None if start is None else start(functional.controls)
    result = pint.minimize(functional, control, pint.GaussNewton())
    return finished(result), result.all_at_once.gains


def compare(world, *arguments, start=None, tolerance=1e-10):
    one, expected = on_root(world, lambda: solved(*arguments, None, start))
    many, gains = solved(*arguments, world, start)
    assert (many.status, many.iterations) == (one.status, one.iterations)
    assert many.objective == pytest.approx(one.objective, rel=1e-12)
    objectives = ([row.objective for row in run.history] for run in (many, one))
    np.testing.assert_allclose(*objectives, rtol=tolerance)
    for name, values in one.fields.items():
        np.testing.assert_allclose(many.fields[name], values, atol=1e-9 * np.abs(values).max())
    gains = np.concatenate(world.allgather(gains))
    np.testing.assert_allclose(gains, expected, rtol=1e-7, atol=1e-9)


# The states of the last one are far from the equation at first, and amplify rounding.
@pytest.mark.parametrize(
    ("name", "tolerance"), [("attitude", 1e-10), ("tracking", 1e-10), ("duffing", 1e-6)]
)
def test_iterates(world, name, tolerance):
    one = CATALOGUE[name]
    compare(world, one.problem("rk4"), 48, one.final_time, start=one.start, tolerance=tolerance)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("bounds", [{}, {"u": (-0.1, 0.4), "rate": (0.0, 0.8)}])
def test_few_steps_and_a_shared_parameter(world, steps, bounds):
    y, u, rate = sympy.symbols("y u rate")
    ode = SympyODE(
        [y], [u - rate * y], {"u": u}, parameters={"rate": rate}, initial_state=[1.5],
        running_cost=(y - 1) ** 2 + u**2, terminal_cost=(rate - 1) ** 2 + y**4,
    )  # fmt: skip
    compare(world, ode.problem("rk4", controls=bounds), steps, 1.0)


def test_random_starts_do_not_depend_on_the_ranks(world):
    method, found = pint.MultiStart(pint.ReducedSpace(iterations=0), starts=3, seed=4), []
    for comm in (None, world):
        one = CATALOGUE["seir"]
        grid = pint.TimeGrid.uniform(one.final_time, 24, comm=comm)
        functional = pint.ReducedFunctional(one.problem("rk4"), grid)
        result = pint.minimize(functional, one.start(functional.controls), method)
        found.append([stage.control.gather() for stage in result.stages])
    for expected, control in zip(*found, strict=True):
        for name, values in expected.items():
            np.testing.assert_array_equal(control[name], values)
