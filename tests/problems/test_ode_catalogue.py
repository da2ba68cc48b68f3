"""The catalogue of ODE problems against the optima of an independent program."""

import pytest

import pint
from problems.ode_catalogue import CATALOGUE


def sequential(name, **options):
    case = CATALOGUE[name]
    grid = pint.TimeGrid.uniform(case.final_time, case.steps)
    functional = pint.ReducedFunctional(case.problem(), grid, **options)
    return functional, case.start(functional.controls)


def test_there_are_fifteen_problems():
    assert len(CATALOGUE) == 15


@pytest.mark.parametrize("name", ["rayleigh", "duffing", "batch-reactor", "attitude", "crane"])
def test_the_reduced_space_ends_at_a_known_minimum(name):
    functional, start = sequential(name)
    first = functional.controls.norm(functional.gradient(start))
    result = pint.minimize(
        functional, start, pint.ReducedSpace(gradient_tolerance=1e-8 * first, iterations=500)
    )
    known = CATALOGUE[name].minima
    assert min(abs(result.objective - minimum) / abs(minimum) for minimum in known) < 1e-9


@pytest.mark.parametrize(
    ("name", "objective"),
    # By hand: constant controls of problems whose states, or cost, are then known.
    [("quadrotor", 105.0), ("crane", 450.0), ("arm", 325.0)],
)
def test_the_objective_at_the_start(name, objective):
    functional, start = sequential(name)
    assert functional.value(start) == pytest.approx(objective, rel=1e-9)


def test_derivatives_of_a_problem_with_time():
    case = CATALOGUE["tracking"]
    grid = pint.TimeGrid.uniform(case.final_time, 24, 4, 2)
    problem = case.problem()
    control = case.start(problem.control_space(grid))
    pint.verify.check_problem(problem, grid, control).require()
