"""check_problem compares the derivatives of constraints with their values."""

import numpy as np
import pytest

import pint
from pint.verify import check_problem


class Single(pint.TimeStepper):
    """y' = u - y by forward Euler, one step a call, states that are one number."""

    initial_state = np.array(1.0)

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] - theta["k"] * y)


class Square(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * s.dt * (y1**2 + u["u"] ** 2)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {"u": s.dt * u["u"]}, {}


class End(pint.TerminalConstraint):
    count, factor = 2, 1.0

    def value(self, y, theta):
        return np.array([y - 0.5, theta["k"] * y**2])

    def vjp(self, y, theta, weight):
        return weight[0] + 2 * theta["k"] * y * weight[1], {"k": self.factor * weight[1] * y**2}


class Product:
    factor = 1.0

    def value(self, t, y, u, theta):
        return (t * y * u["u"])[:, None]

    def vjp(self, t, y, u, theta, weight):
        w = weight[:, 0]
        return w * t * u["u"], {"u": self.factor * w * t * y}, {}


class Path(Product, pint.PathConstraint):
    pass


class Integral(Product, pint.IntegralConstraint):
    pass


def problem():
    fields = {"u": pint.TimeControl(()), "k": pint.SharedControl(())}
    return pint.Problem(Single(), None, Square(), fields)


def test_right_ones_pass():
    grid = pint.TimeGrid.uniform(1.0, 6)
    check_problem(problem(), grid, constraints=[End(), Path(), Integral()]).require()


@pytest.mark.parametrize(
    ("kind", "field"), [(End, "theta['k']"), (Path, "u['u']"), (Integral, "u['u']")]
)
def test_a_wrong_one_is_named(kind, field):
    constraint = kind()
    constraint.factor = 1.1
    report = check_problem(problem(), pint.TimeGrid.uniform(1.0, 6), constraints=[constraint])
    assert {(c.method, c.field) for c in report.failures} == {(f"{kind.__name__}.vjp", field)}
    assert "1.1 times what it should be" in str(report)


def test_no_constraint():
    with pytest.raises(TypeError, match=r"`check_problem\(constraints=\.\.\.\)` must be"):
        check_problem(problem(), pint.TimeGrid.uniform(1.0, 6), constraints=[1])


def test_constraints_on_states_that_are_one_number():
    functional = pint.ReducedFunctional(problem(), pint.TimeGrid.uniform(1.0, 6))
    integral = Integral()
    integral.bound = -0.1
    options = pint.AugmentedLagrangian(pint.ReducedSpace(iterations=300), [integral])
    result = pint.minimize(functional, functional.control(k=1.0), options)
    assert result.status is pint.Status.CONVERGED
    y, u = result.states(), result.control["u"]
    t = np.linspace(0.0, 1.0, 7)
    total = ((t * y)[:-1] * u + (t * y)[1:] * u).sum() / 12
    assert total == pytest.approx(-0.1, abs=2e-8)
