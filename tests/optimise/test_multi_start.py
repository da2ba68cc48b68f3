"""The best of several starts."""

import weakref

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


def test_states_of_worse_runs_are_freed(monkeypatch):
    states, run = [], pint.ReducedSpace.run

    def noted(self, *arguments):
        result = run(self, *arguments)
        states.append(weakref.ref(result.state))
        return result

    monkeypatch.setattr(pint.ReducedSpace, "run", noted)
    result = pint.minimize(functional(), method=pint.MultiStart(pint.ReducedSpace(), starts=4))
    alive = [one() for one in states if one() is not None]
    assert len(states) == 4 and any(one is result.state for one in alive)
    assert len(alive) <= 2  # that of the last run is the functional's guess


@pytest.mark.parametrize("options", [{"starts": 0}, {"size": -1.0}, {"seed": -1}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="`MultiStart"):
        pint.MultiStart(pint.GaussNewton(), **options)
