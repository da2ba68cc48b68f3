"""Constraints: closed forms, multipliers, the same by every method, and what cannot be met."""

import numpy as np
import pytest
import sympy

import pint
from pint.optimise.constrained.method import _Parts
from pint.steppers.symbolic import SympyODE

METHODS = {
    "gauss-newton": pint.GaussNewton(),
    "reduced": pint.ReducedSpace(iterations=1500),
    "adaptive": pint.Adaptive(iterations=1500),
    "scipy": pint.External("scipy:L-BFGS-B", iterations=1500),
}

y, v, u = sympy.symbols("y v u")


def integrator(steps=20, cost=u**2 / 2, initial=0, levels=1, **bounds):
    ode = SympyODE([y], [u], {"u": u}, running_cost=cost, initial_state=[initial])
    problem = ode.problem("midpoint", "midpoint", controls=bounds)
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=levels)
    return ode, pint.ReducedFunctional(problem, grid)


@pytest.mark.parametrize("method", METHODS)
def test_terminal_equality(method):
    # min 1/2 int u^2, y(1) = 2: u = 2 = -multiplier
    ode, functional = integrator(levels=2 if method == "adaptive" else 1)
    options = pint.AugmentedLagrangian(METHODS[method], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(2.0, abs=5e-8)
    np.testing.assert_allclose(result.control["u"], 2.0, atol=2e-8)
    assert result.constrained.multipliers[0] == pytest.approx([-2.0], abs=1e-6)
    assert result.constrained.violations[0] <= 1e-8
    assert result.state.control.space is functional.controls


@pytest.mark.parametrize("method", ["gauss-newton", "reduced"])
def test_integral_is_a_bound_or_an_equation(method):
    # min 1/2 int u^2, int y = 1: u = 3 (1 - t), J = 3/2; midpoints: 1 / sum of squares
    ode, functional = integrator()
    places = (np.arange(20) + 0.5) / 20
    exact = 0.5 / ((1 - places) ** 2).mean()
    for constraint in (
        ode.integral_constraint(y, 1.0),
        ode.integral_constraint([-y, y], [-1.0, 5.0], equality=False),
    ):
        result = pint.minimize(
            functional, None, pint.AugmentedLagrangian(METHODS[method], [constraint])
        )
        assert result.objective == pytest.approx(exact, rel=1e-7)
        assert result.status is pint.Status.CONVERGED
    assert result.constrained.multipliers[0] == pytest.approx([2 * exact, 0.0], rel=1e-6)
    assert result.states().shape == (21, 1)


def test_active_path_constraint_has_the_multiplier_of_its_density():
    # min int (y - 1)^2 / 2, y' = u, u <= 1 - as a path constraint: u = 1
    ode, functional = integrator(40, (y - 2) ** 2 / 2)
    options = pint.AugmentedLagrangian(pint.GaussNewton(), [ode.path_constraint(u - 1)])
    result = pint.minimize(functional, None, options)
    np.testing.assert_allclose(result.control["u"], 1.0, atol=2e-8)
    t = (np.arange(40) + 0.5) / 40
    adjoint = 2 * (1 - t) - (1 - t**2) / 2  # int from t to 1 of 2 - s
    np.testing.assert_allclose(result.constrained.multipliers[0][:, 0], adjoint, atol=1e-3)


def test_inequality_that_does_not_press_changes_nothing():
    ode, functional = integrator(cost=(y - 1) ** 2 / 2 + u**2 / 2)
    free = pint.minimize(functional, None, pint.GaussNewton())
    constraints = [ode.path_constraint(y - 5), ode.terminal_constraint(y - 3, equality=False)]
    found = pint.minimize(
        functional, None, pint.AugmentedLagrangian(METHODS["reduced"], constraints)
    )
    assert found.objective == pytest.approx(free.objective, abs=1e-12)
    assert not any(m.any() for m in found.constrained.multipliers)


def test_history_has_all_runs_and_the_violations():
    ode, functional = integrator()
    seen = []
    options = pint.AugmentedLagrangian(METHODS["reduced"], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(
        functional, None, options, callback=lambda row, control, state: seen.append(row)
    )
    assert seen == list(result.history)
    assert [row.iteration for row in seen] == list(range(result.iterations + 1))
    assert len({len(row.violations) for row in seen}) == 1
    assert seen[0].violations == (2.0,)
    assert seen[0].objective == pytest.approx(0.0, abs=1e-12)  # without the penalty
    assert seen[-1].objective == pytest.approx(result.objective, rel=1e-12)
    table = pint.history_arrays(result.history)
    assert table["violations_0"][-1] == result.constrained.violations[0]
    assert (np.diff(table["seconds"]) >= 0).all()
    stopped = pint.minimize(functional, None, options, callback=lambda row, *_: row.iteration == 2)
    assert (stopped.status, stopped.iterations) == (pint.Status.STOPPED, 2)


@pytest.mark.parametrize("method", ["gauss-newton", "reduced", "adaptive"])
def test_unreachable_state_is_infeasible(method):
    ode, functional = integrator(levels=2 if method == "adaptive" else 1, u=(-1, 1))
    options = pint.AugmentedLagrangian(METHODS[method], [ode.terminal_constraint(y - 2)])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.INFEASIBLE
    assert "cannot be met" in result.message
    assert result.objective == pytest.approx(0.5, abs=1e-6)
    assert result.constrained.violations[0] == pytest.approx(1.0, abs=1e-6)


def test_contradiction_is_infeasible_and_finite():
    ode, functional = integrator()
    both = [ode.path_constraint(y - 1), ode.path_constraint(2 - y)]
    result = pint.minimize(functional, None, pint.AugmentedLagrangian(pint.GaussNewton(), both))
    assert result.status is pint.Status.INFEASIBLE
    assert np.isfinite(result.control["u"]).all()
    assert np.isfinite(result.gradient_norm)


@pytest.mark.parametrize("quadrature", ["left", "right", "midpoint", "trapezoid"])
@pytest.mark.parametrize("scheme", ["rk4", "crank-nicolson"])
def test_augmented_problem_passes_the_checks(scheme, quadrature):
    k, t = sympy.symbols("k t")
    ode = SympyODE(
        [y, v], [v, u - k * sympy.sin(y)], {"u": u}, parameters={"k": k},
        running_cost=y**2 + u**2, initial_state=[k, 1], time=t,
    )  # fmt: skip
    constraints = [
        ode.terminal_constraint([y * v - k, v]),
        ode.path_constraint([y * u - t, v - k], at="begin"),
        ode.path_constraint(y**2 - 0.1, equality=True),
        ode.integral_constraint([u * y, v**2 * k], [0.1, 2.0], quadrature=quadrature),
    ]
    grid = pint.TimeGrid.uniform(1.0, 8, coarsening=2, levels=2)
    parts = _Parts(constraints, ode.problem(scheme), grid)
    for number, term in enumerate(parts.terms):
        term.penalty = 2.0 + number
        term.multipliers += 0.3
    pint.verify.check_problem(parts.problem, grid).require()


class Single(pint.TimeStepper):
    """y' = u by forward Euler, one step a call, states of shape (2, 1)."""

    initial_state = np.zeros((2, 1))

    def step(self, s, y, u, theta):
        return y + s.dt * u["u"]


class Square(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * s.dt * float((u["u"] ** 2).sum())

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 0.0, {"u": s.dt * u["u"]}, {}


class Sum(pint.IntegralConstraint):
    bound = 1.0
    quadrature = "right"

    def value(self, t, y, u, theta):
        return y.sum(axis=(1, 2))[:, None]

    def vjp(self, t, y, u, theta, weight):
        return np.broadcast_to(weight[:, :, None], y.shape), {}, {}


class Below(pint.PathConstraint):
    def value(self, t, y, u, theta):
        return y[:, 0] - 0.4

    def vjp(self, t, y, u, theta, weight):
        of_y = np.zeros(y.shape)
        of_y[:, 0] = weight
        return of_y, {}, {}


def test_constraints_by_hand_with_single_steps():
    problem = pint.Problem(Single(), None, Square(), {"u": pint.TimeControl((2, 1))})
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 10))
    options = pint.AugmentedLagrangian(pint.ReducedSpace(iterations=500), [Sum(), Below()])
    result = pint.minimize(functional, None, options)
    assert result.status is pint.Status.CONVERGED
    states = result.states()
    assert states[1:].sum() / 10 == pytest.approx(1.0, abs=1e-7)
    assert states[:, 0].max() <= 0.4 + 1e-8
    assert states[:, 1].max() > 0.6
    gauss_newton = pint.minimize(
        functional, None, pint.AugmentedLagrangian(pint.GaussNewton(), [Sum(), Below()])
    )
    assert gauss_newton.objective == pytest.approx(result.objective, rel=1e-7)


def test_mistakes_are_one_line_before_any_work():
    ode, functional = integrator()
    end = ode.terminal_constraint(y - 2)
    outer = pint.AugmentedLagrangian(pint.GaussNewton(), end)
    with pytest.raises(ValueError, match="needs at least one"):
        pint.AugmentedLagrangian(pint.GaussNewton(), [])
    with pytest.raises(TypeError, match="must consist of"):
        pint.AugmentedLagrangian(pint.GaussNewton(), [1])
    with pytest.raises(ValueError, match="cannot be AugmentedLagrangian"):
        pint.minimize(functional, None, pint.AugmentedLagrangian(outer, [end]))
    with pytest.raises(ValueError, match="cannot be Nested"):
        nested = pint.Nested([pint.TimeGrid.uniform(1.0, 10)], pint.ReducedSpace())
        pint.minimize(functional, None, pint.AugmentedLagrangian(nested, [end]))
    with pytest.raises(ValueError, match="cannot be resumed"):
        pint.minimize(functional, None, outer, checkpoint=pint.Checkpoint("run.npz"))
    wrong = Below()
    wrong.count = 3
    problem = pint.Problem(Single(), None, Square(), {"u": pint.TimeControl((2, 1))})
    other = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    with pytest.raises(ValueError, match=r"Below.value.*\(1, 3\)"):
        pint.minimize(other, None, pint.AugmentedLagrangian(pint.ReducedSpace(), [wrong]))
    with pytest.raises(ValueError, match="only states and parameters"):
        ode.terminal_constraint(u)
