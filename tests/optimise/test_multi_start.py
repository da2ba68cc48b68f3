"""The best of several starts."""

import pytest
import sympy

import pint
from pint.steppers.symbolic import SympyODE


def functional():
    """A double well: the start decides where the state ends, and the left one is lower."""
    y, u = sympy.symbols("y u")
    ode = SympyODE(
        [y], [u], {"u": u}, running_cost=u**2 / 50, initial_state=[0.1],
        terminal_cost=(y**2 - 1) ** 2 + y / 10,
    )  # fmt: skip
    grid = pint.TimeGrid.uniform(1.0, 20)
    return pint.ReducedFunctional(ode.problem("rk4"), grid)


@pytest.mark.parametrize("method", [pint.GaussNewton(), pint.ReducedSpace()])
def test_the_best_optimum_counts(method):
    one = pint.minimize(functional(), functional().control(u=0.5), method)
    problem = functional()
    best = pint.minimize(
        problem, problem.control(u=0.5), pint.MultiStart(method, starts=6, size=2.0)
    )
    assert best.objective < one.objective - 0.1
    assert len(best.stages) == 6
    assert best.stages[0].objective == one.objective
    assert best.objective == min(result.objective for result in best.stages)


@pytest.mark.parametrize("options", [{"starts": 0}, {"size": -1.0}, {"seed": -1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="`MultiStart"):
        pint.MultiStart(pint.GaussNewton(), **options)
