"""Constraints on several ranks: the same numbers as on one."""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("sympy")

import sympy

import pint
from pint.comm import on_root, split
from pint.steppers.symbolic import SympyODE
from problems.heat import Heat, manufactured

y, v, u = sympy.symbols("y v u")


def solved(comm, method, steps, levels):
    """Return status, objective, this rank's multipliers of the path, and the violations."""
    ode = SympyODE([y, v], [v, u], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 1])
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=2, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(ode.problem("midpoint"), grid)
    constraints = [
        ode.terminal_constraint([y, v + 1]),
        ode.path_constraint(y - 0.2),
        ode.integral_constraint(u**2, 5.5, equality=False),
    ]
    options = pint.AugmentedLagrangian(method, constraints, 1e-5)
    result = pint.minimize(functional, None, options)
    constrained = result.constrained
    return result.status, result.objective, constrained.multipliers[1], constrained.violations


@pytest.mark.parametrize(
    ("method", "levels", "steps"),
    [(pint.GaussNewton(), 1, 3), (pint.ReducedSpace(iterations=500), 2, 8)],
)
def test_same_as_on_one_rank(world, method, levels, steps):
    one = on_root(world, lambda: solved(pint.SerialComm(), method, steps, levels))
    status, objective, multipliers, violations = solved(world, method, steps, levels)
    assert status is one[0] is pint.Status.CONVERGED
    assert objective == pytest.approx(one[1], rel=1e-6)
    np.testing.assert_allclose(np.concatenate(world.allgather(multipliers)), one[2], atol=1e-3)
    assert len(set(world.allgather(violations))) == 1


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


class Half(pint.PathConstraint):
    """y <= 1, NaN in the first or in the last half of the time."""

    def __init__(self, first):
        self.first = first

    def value(self, t, y, u, theta):
        return np.where((t < 0.5)[:, None] == self.first, np.nan, y[:, :1] - 1.0)

    def vjp(self, t, y, u, theta, weight):
        return np.concatenate([weight, 0 * weight], axis=1), {}, {}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("first", [True, False])
def test_nan_on_one_rank_is_told_by_all(world, first):
    ode = SympyODE([y, v], [v, u], {"u": u}, running_cost=u**2, initial_state=[0, 1])
    grid = pint.TimeGrid.uniform(1.0, 8, comm=world)
    functional = pint.ReducedFunctional(ode.problem("midpoint"), grid)
    options = pint.AugmentedLagrangian(pint.ReducedSpace(), Half(first))
    with pytest.raises(pint.NotFiniteError, match=r"`Half\.value` is NaN or infinite"):
        pint.minimize(functional, None, options)


class VectorMean(pint.TerminalConstraint):
    """The mean of a PETSc vector is 0.05: it needs what only a vector has."""

    def value(self, y, theta):
        return np.array([y.sum() / y.getSize() - 0.05])

    def vjp(self, y, theta, weight):
        slope = y.duplicate()
        slope.set(weight[0] / y.getSize())
        return slope, {}


@pytest.mark.petsc
def test_terminal_constraint_of_petsc_states(world):
    from problems.heat_petsc import petsc_problem

    heat, comms = Heat("distributed", 5), split(world, world.size)
    grid = pint.TimeGrid.uniform(1.0, 3, comm=comms[0])
    problem, _ = petsc_problem(heat, comms[1], partial(manufactured, heat, 1.0))
    functional = pint.ReducedFunctional(problem, grid)
    options = pint.AugmentedLagrangian(pint.ReducedSpace(), VectorMean(), tolerance=1e-3)
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    states = result.states()
    if states is not None:
        assert states[-1].mean() == pytest.approx(0.05, abs=1e-3)
