"""Constraints on several ranks: the same numbers as on one."""

import numpy as np
import pytest

pytest.importorskip("sympy")

import sympy

import pint
from pint.steppers.symbolic import SympyODE

y, v, u = sympy.symbols("y v u")


def solved(comm, method, steps, levels):
    ode = SympyODE([y, v], [v, u], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 1])
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=2, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(ode.problem("midpoint"), grid)
    constraints = [
        ode.terminal_constraint([y, v + 1]),
        ode.path_constraint(y - 0.2),
        ode.integral_constraint(u**2, 5.5, equality=False),
    ]
    return pint.minimize(functional, None, pint.AugmentedLagrangian(method, constraints, 1e-5))


@pytest.mark.parametrize(
    ("method", "levels", "steps"),
    [(pint.GaussNewton(), 1, 3), (pint.ReducedSpace(iterations=500), 2, 8)],
)
def test_same_as_on_one_rank(world, method, levels, steps):
    many, one = (solved(comm, method, steps, levels) for comm in (world, pint.SerialComm()))
    assert many.status is one.status is pint.Status.CONVERGED
    assert many.objective == pytest.approx(one.objective, rel=1e-6)
    np.testing.assert_allclose(
        np.concatenate(world.allgather(many.constrained.multipliers[1])),
        one.constrained.multipliers[1],
        atol=1e-3,
    )
    assert len(set(world.allgather(many.constrained.violations))) == 1


def test_control_rates_by_gauss_newton(world):
    def objective(over, method):
        ode = SympyODE([y], [u - y], {"u": u}, running_cost=(y - 1) ** 2 + u**2, initial_state=[0])
        problem = ode.problem(regularisers=[pint.Smoothness(0.1, ["u"])])
        grid = pint.TimeGrid(np.linspace(0.0, 1.0, 12) ** 1.5, comm=over)
        return pint.minimize(pint.ReducedFunctional(problem, grid), None, method)

    many = objective(world, pint.GaussNewton())
    assert many.iterations == 1
    other = objective(pint.SerialComm(), pint.ReducedSpace())
    assert many.objective == pytest.approx(other.objective, rel=1e-12)
