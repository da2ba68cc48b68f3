"""`second_order_test` finds mistakes in tangents and in second derivatives, and nothing else."""

import numpy as np
import pytest
import registry

import pint
from pint.verify import check_problem, second_order_test


def report_of(problem):
    grid = pint.TimeGrid(2.0 * np.linspace(0, 1, 13) ** 1.1, 3, 2)
    functional = pint.ReducedFunctional(problem, grid)
    return second_order_test(functional, registry.random_control(functional.controls, 3))


@pytest.mark.parametrize("name", ["pendulum-effort", "symbolic-rk4", "forced-midpoint"])
def test_passes_where_all_is_well(name):
    report = report_of(registry.PROBLEMS[name]())
    assert report.passed, str(report)


class Cost(pint.Objective):
    """``dt (y_0^3 + u_0^2)`` in each step."""

    wrong = False

    def step_cost(self, s, y0, y1, u, theta):
        return s.dt[:, 0] * (y1[:, 0] ** 3 + u["u"][:, 0] ** 2)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        of_y, of_u = np.zeros_like(y1), np.zeros_like(u["u"])
        of_y[:, 0] = 3 * s.dt[:, 0] * y1[:, 0] ** 2
        of_u[:, 0] = 2 * s.dt[:, 0] * u["u"][:, 0]
        return 0.0, of_y, {"u": of_u}, {}

    def step_cost_hessian(self, s, y0, y1, u, theta):
        H = np.zeros((len(y0), 8, 8))
        H[:, 2, 2] = (3 if self.wrong else 6) * s.dt[:, 0] * y1[:, 0]
        H[:, 4, 4] = 2 * s.dt[:, 0]
        return H

    def terminal_hessian(self, y, theta):
        return np.zeros((4, 4))


class WrongCost(Cost):
    wrong = True


class HalfTangent(pint.Tangent):
    def jvp(self, s, y, u, theta, dy, du, dtheta):
        return 0.5 * dy


def problem_of(objective, tangent=None):
    plain = registry.PROBLEMS["pendulum-running"]()
    return pint.Problem(plain.stepper, plain.adjoint, objective, plain.controls, tangent=tangent)


@pytest.mark.parametrize(
    ("objective", "tangent", "culprit"),
    [
        (WrongCost(), None, "WrongCost.step_cost_hessian"),
        (Cost(), HalfTangent(), "HalfTangent.jvp"),
    ],
)
def test_names_what_is_wrong(objective, tangent, culprit):
    assert report_of(problem_of(Cost())).passed
    problem = problem_of(objective, tangent)
    assert any(culprit in check.method for check in report_of(problem).failures)
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2)
    assert any(culprit in check.method for check in check_problem(problem, grid).failures)
