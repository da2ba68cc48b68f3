"""Hessians of running and terminal costs: those of expressions against differences."""

import numpy as np
import pytest
import sympy

import pint
from pint.grid import Steps
from pint.optimise.gauss_newton.shooting import Shooting
from pint.steppers.symbolic import SympyODE

y, z, u, a, b, k, m, t = sympy.symbols("y z u a b k m t")


def problem(quadrature="trapezoid", running=None, **options):
    if running is None:
        running = sympy.sin(y * u) * k + a**2 * z + b * m * t + sympy.exp(z * a) + abs(y) * m
    ode = SympyODE(
        [y, z], [z, u - k * y], {"u": u, "ab": [a, b]}, parameters={"k": k, "m": m},
        running_cost=running, terminal_cost=y**2 * k + sympy.cos(z * m), initial_state=[1, 0.5],
        time=t,
    )  # fmt: skip
    return ode.problem("rk4", quadrature, **options)


@pytest.mark.parametrize("quadrature", ["left", "right", "midpoint", "trapezoid"])
def test_those_of_steps_are_differences_of_the_derivative(quadrature):
    cost = problem(quadrature).objective
    assert cost.has_hessian
    random = np.random.default_rng(1)
    s = Steps(np.arange(3), np.array([[0.0], [0.3], [0.5]]), np.array([[0.3], [0.5], [1.0]]), 0)
    # Another order of the fields than that of the expressions
    names = [("y0", 2), ("y1", 2), ("ab", 2), ("u", 1), ("m", 1), ("k", 1)]
    at = {name: random.normal(size=(3, size)) for name, size in names[:4]}
    shared = {name: random.normal(size=1) for name in ("m", "k")}

    def slopes(parts, theta):
        dy0, dy1, du, _ = cost.step_cost_derivative(
            s, parts["y0"], parts["y1"], {n: parts[n] for n in ("ab", "u")}, theta
        )
        whole = [np.broadcast_to(d, (3, 2)) for d in (dy0, dy1)]
        return np.concatenate([*whole, du["ab"], du["u"]], axis=1)

    found = cost.step_cost_hessian(s, at["y0"], at["y1"], {n: at[n] for n in ("ab", "u")}, shared)
    assert found.shape == (3, 9, 9)
    np.testing.assert_array_equal(found, np.swapaxes(found, 1, 2))
    column = 0
    for name, size in names:
        for i in range(size):
            two = []
            for step in (1e-5, -1e-5):
                parts, theta = dict(at), dict(shared)
                where = theta if name in theta else parts
                where[name] = where[name].copy()
                where[name][..., i] += step
                two.append(slopes(parts, theta))
            np.testing.assert_allclose(
                found[:, :7, column], (two[0] - two[1]) / 2e-5, rtol=1e-8, atol=1e-8
            )
            column += 1


def test_those_of_gauss_newton_with_and_without():
    """The matrices of all steps: exact, and by differences where the cost has none."""
    given = problem()
    grid = pint.TimeGrid(np.array([0.0, 0.2, 0.5, 0.6, 1.0]))
    functional = pint.ReducedFunctional(given, grid)
    shooting = Shooting(functional)
    control = functional.control(u=0.3, ab=[0.1, 0.4], k=[0.7], m=[1.2])
    states = functional.gather_states(functional._solved(control)[0])
    shooting.set_typical(states, control, np.zeros((4, 2)))
    exact = [shooting.cost_hessian(states, control), shooting.terminal_hessian(states, control)]
    shooting._has_hessian = False
    other = [shooting.cost_hessian(states, control), shooting.terminal_hessian(states, control)]
    np.testing.assert_allclose(exact[1], other[1], atol=1e-9)
    np.testing.assert_allclose(exact[0][:, :7, :], other[0][:, :7, :], atol=1e-9)
    theta = slice(7, None)
    np.testing.assert_allclose(
        exact[0][:, theta, theta].sum(axis=0), other[0][:, theta, theta].sum(axis=0), atol=1e-9
    )


def test_half_of_them_is_left_to_differences():
    class Half(pint.Objective):
        def step_cost(self, s, y0, y1, u, theta):
            return np.reshape(s.dt, -1) * (u["u"] ** 4).sum(axis=1)

        def step_cost_derivative(self, s, y0, y1, u, theta):
            return 0.0, 0.0, {"u": 4 * np.reshape(s.dt, (-1, 1)) * u["u"] ** 3}, {}

        def terminal(self, y, theta):
            return float(((y - 2.0) ** 2).sum())

        def terminal_derivative(self, y, theta):
            return 2.0 * (y - 2.0), {}

        def step_cost_hessian(self, s, y0, y1, u, theta):
            raise AssertionError("without `terminal_hessian` it does not count")

    ode = SympyODE([y], [u], {"u": u}, initial_state=[0])
    made = ode.problem("rk4")
    whole = pint.Problem(made.stepper, made.adjoint, Half(), made.controls)
    functional = pint.ReducedFunctional(whole, pint.TimeGrid.uniform(1.0, 8))
    found = pint.minimize(functional, functional.control(u=0.5), pint.GaussNewton())
    assert found.status is pint.Status.CONVERGED
