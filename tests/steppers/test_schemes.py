"""Ready-made schemes: order, exactness on linear problems, clear errors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ode_cases import Forced, ForcedCost
from scipy.integrate import solve_ivp

import pint
from pint.steppers import (
    SCHEMES,
    Lagrangian,
    RungeKutta,
    RungeKuttaAdjoint,
    Tableau,
    Theta,
    ThetaAdjoint,
    scheme,
)

ORDERS = {
    "forward-euler": 1,
    "rk2": 2,
    "rk4": 4,
    "implicit-euler": 1,
    "backward-euler": 1,
    "midpoint": 2,
    "implicit-midpoint": 2,
    "crank-nicolson": 2,
}
U, THETA, T = np.array([0.8, -0.3]), {"theta": np.array([1.3, 0.4])}, 2.0

KUTTA_3 = Tableau([[0, 0, 0], [0.5, 0, 0], [-1, 2, 0]], [1 / 6, 2 / 3, 1 / 6], [0, 0.5, 1])


class Linear(pint.ODE):
    """``y' = A y + u``; counts the evaluations of f."""

    initial_state = np.array([1.0, -0.5])
    A = np.array([[-2.0, 1.0], [300.0, -400.0]])

    def __init__(self):
        self.calls = 0

    def f(self, t, y, u, theta):
        self.calls += 1
        return y @ self.A.T + u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        return lam @ self.A, {"u": lam}, {}

    def jacobian(self, t, y, u, theta):
        return np.broadcast_to(self.A, (len(y), 2, 2))


class WithoutJacobian(Linear):
    jacobian = pint.ODE.jacobian


class Root(Linear):
    """``y' = -1 / y``: the implicit Euler step has no solution where dt > y^2 / 4."""

    initial_state = np.ones(1)

    def f(self, t, y, u, theta):
        return -1 / y

    def jacobian(self, t, y, u, theta):
        return 1 / y[..., None] ** 2


def final_state(stepper, steps):
    """Return the state at T from plain steps."""
    grid, u = pint.TimeGrid.uniform(T, steps), {"u": U[None]}
    y = stepper.initial(THETA)[None]
    for n in range(steps):
        y = stepper.step(grid.batch(0, range(n, n + 1), 1), y, u, THETA)
    return y[0]


@pytest.fixture(scope="module")
def exact():
    def f(t, y):
        return Forced().f(t, y[None], {"u": U[None]}, THETA)[0]

    initial = Forced().initial(THETA)
    solution = solve_ivp(f, (0, T), initial, method="DOP853", rtol=1e-13, atol=1e-14)
    return solution.y[:, -1]


def slope(stepper, exact, steps):
    errors = [np.linalg.norm(final_state(stepper, n) - exact) for n in steps]
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", SCHEMES)
def test_order(name, exact):
    steps = {1: (400, 800, 1600), 2: (40, 80, 160), 4: (40, 80, 160)}[ORDERS[name]]
    assert slope(scheme(Forced(), name)[0], exact, steps) == pytest.approx(ORDERS[name], abs=0.1)


def test_order_of_a_tableau_of_the_user(exact):
    assert slope(RungeKutta(Forced(), KUTTA_3), exact, (40, 80, 160)) == pytest.approx(3, abs=0.1)


def one_step(ode, dt=0.1, rows=1):
    random = np.random.default_rng(0)
    grid = pint.TimeGrid.uniform(rows * dt, rows)
    shape = (rows, *np.shape(ode.initial_state))
    u = {"u": random.standard_normal(shape)}
    return grid.batch(0, range(rows), 1), random.standard_normal(shape), u, {}


@pytest.mark.parametrize(
    ("name", "rational"),
    {
        "forward-euler": lambda Z, eye: eye + Z,
        "rk4": lambda Z, eye: eye + Z @ (eye + Z / 2 @ (eye + Z / 3 @ (eye + Z / 4))),
        "implicit-euler": lambda Z, eye: np.linalg.inv(eye - Z),
        "midpoint": lambda Z, eye: np.linalg.solve(eye - Z / 2, eye + Z / 2),
        "crank-nicolson": lambda Z, eye: np.linalg.solve(eye - Z / 2, eye + Z / 2),
    }.items(),
)
def test_amplification(name, rational):
    ode, dt = Linear(), 0.3
    s, y, u, theta = one_step(ode, dt, rows=5)
    u = {"u": 0 * u["u"]}
    expected = y @ rational(dt * ode.A, np.eye(2)).T
    step = scheme(ode, name)[0].step(s, y, u, theta)
    np.testing.assert_allclose(step, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["implicit-euler", "midpoint", "crank-nicolson"])
def test_linear_equations_take_one_newton_iteration(name):
    ode = Linear()
    scheme(ode, name)[0].step(*one_step(ode, rows=7))
    # At the first guess and at the result, and at the beginning of the step.
    assert ode.calls == (3 if name == "crank-nicolson" else 2)


@pytest.mark.parametrize("name", ["implicit-euler", "midpoint", "crank-nicolson"])
def test_guess_saves_iterations_and_does_not_change_the_result(name):
    ode = Linear()
    stepper = Theta(ode, name)
    arguments = one_step(ode)
    result = stepper.step(*arguments)
    ode.calls = 0
    again = stepper.step(*arguments, guess=result)
    assert ode.calls <= 2
    np.testing.assert_allclose(again, result, rtol=1e-12)


def test_a_row_does_not_depend_on_the_others():
    stepper = Theta(Forced(), "midpoint")
    s, y, u, _ = one_step(Forced(), rows=6)
    whole = stepper.step(s, y, u, THETA)
    for i in range(6):
        one = pint.Steps(s.index[i : i + 1], s.t0[i : i + 1], s.t1[i : i + 1])
        alone = stepper.step(one, y[i : i + 1], {"u": u["u"][i : i + 1]}, THETA)
        np.testing.assert_array_equal(alone[0], whole[i])


def test_newton_failure_names_time_and_step_size():
    stepper = Theta(Root(), "implicit-euler")
    s = pint.TimeGrid.uniform(2.0, 2).batch(0, range(2), 1)
    message = r"implicit-euler step at t = 1 with step size 1 \(level 0\) .* 1 of 2 steps"
    with pytest.warns(RuntimeWarning, match=message):
        step = stepper.step(s, np.array([[3.0], [1.0]]), {}, {})
    # y1 = y - 1 / y1 of the other row is solved nevertheless.
    np.testing.assert_allclose(step, [[(3 + np.sqrt(5)) / 2], [np.nan]], rtol=1e-14)


def test_newton_failure_of_a_whole_solve_is_an_error():
    class Final(pint.Objective):
        def terminal(self, y, theta):
            return y.sum()

        def terminal_derivative(self, y, theta):
            return np.ones_like(y), {}

    grid = pint.TimeGrid.uniform(2.0, 2)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(1))
    problem = pint.Problem(grid, *scheme(Root(), "implicit-euler"), Final(), controls)
    with pytest.raises(pint.NotFiniteError), pytest.warns(RuntimeWarning, match="Newton"):
        pint.ReducedFunctional(problem).value(controls.zeros())


def test_singular_matrices_count_as_failures():
    class Singular(Linear):
        A = np.eye(2)

    s, y, u, theta = one_step(Singular(), dt=1.0, rows=2)
    with pytest.warns(RuntimeWarning, match="2 of 2 steps"):
        assert np.isnan(Theta(Singular()).step(s, y, u, theta)).all()


def test_a_state_that_is_not_finite_stays_so():
    s, y, u, theta = one_step(Linear(), rows=3)
    y[1] = np.nan
    step = Theta(Linear(), "midpoint").step(s, y, u, theta)
    assert np.isnan(step[1]).all() and np.isfinite(step[[0, 2]]).all()


def test_one_transpose_evaluation_a_stage():
    class Counting(Linear):
        def f_vjp(self, *arguments):
            self.transposes += 1
            return super().f_vjp(*arguments)

    ode = Counting()
    ode.transposes = 0
    stepper = RungeKutta(ode)
    s, y, u, theta = one_step(ode)
    RungeKuttaAdjoint(stepper).control_derivative(s, y, u, theta, y)
    assert (ode.transposes, ode.calls) == (4, 3)


@pytest.mark.parametrize("quadrature", ["left", "right", "midpoint", "trapezoid"])
def test_quadrature(quadrature):
    """The formulas of the docstring."""
    cost, ode = ForcedCost(), Forced()
    s, y0, u, _ = one_step(ode, rows=4)
    y1, t0, t1 = y0[::-1] + 1, s.t0[:, 0], s.t1[:, 0]
    left, right = cost.value(t0, y0, u, THETA), cost.value(t1, y1, u, THETA)
    middle = cost.value((t0 + t1) / 2, (y0 + y1) / 2, u, THETA)
    mean = {"left": left, "right": right, "midpoint": middle, "trapezoid": (left + right) / 2}
    value = pint.RunningCost(cost, quadrature).step_cost(s, y0, y1, u, THETA)
    np.testing.assert_allclose(value, (t1 - t0) * mean[quadrature], rtol=1e-13)


def test_terminal_cost_is_zero_by_default():
    class Zero(Lagrangian):
        value = gradient = ForcedCost.value

    objective, y = pint.RunningCost(Zero()), np.ones(2)
    assert objective.terminal(y, THETA) == 0
    np.testing.assert_array_equal(objective.terminal_derivative(y, THETA)[0], 0 * y)


EULER = ([[0]], [1], [0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: scheme(Linear(), "leapfrog"), ValueError, r"`scheme\(name=.*rk4.*'leapfrog'"),
        (lambda: RungeKutta(Linear(), "rk5"), ValueError, r"`RungeKutta\(tableau=.*'rk5'"),
        (lambda: Theta(Linear(), "bdf2"), ValueError, r"`Theta\(scheme=.*'bdf2'"),
        (lambda: RungeKutta("x"), TypeError, r"`RungeKutta\(ode=.*got str"),
        (lambda: Theta("x"), TypeError, r"`Theta\(ode=.*got str"),
        (lambda: Theta(WithoutJacobian()), TypeError, "WithoutJacobian defines no `jacobian`"),
        (lambda: Tableau([[1]], [1], [0]), ValueError, r"`Tableau\(a=.*explicit"),
        (lambda: Tableau([[0]], [0.5], [0]), ValueError, r"`Tableau\(b=.*sum to 1, got 0.5"),
        (lambda: Tableau([[0]], [0.5, 0.5], [0, 0]), ValueError, r"`Tableau\(a=.*\(2, 2\)"),
        (lambda: Tableau([[0]], [1], [0, 1]), ValueError, r"`Tableau\(c=.*\(1,\)"),
        (lambda: Tableau([[0]], 1, [0]), ValueError, r"`Tableau\(b=.*shape"),
        (lambda: Tableau([[0]], [np.nan], [0]), ValueError, "NaN"),
        (lambda: pint.RunningCost(ForcedCost(), "simpson"), ValueError, r"quadrature=.*'simpson'"),
        (lambda: pint.RunningCost(1), TypeError, r"`RunningCost\(cost=.*got int"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_implicit_schemes_need_vectors():
    class Matrices(Linear):
        initial_state = np.zeros((2, 2))

    with pytest.raises(ValueError, match=r"states that are vectors.*\(2, 2\)"):
        Theta(Matrices())


def test_a_jacobian_of_the_wrong_shape():
    class Wrong(Linear):
        def jacobian(self, t, y, u, theta):
            return self.A

    with pytest.raises(ValueError, match=r"`Wrong.jacobian` must return .* \(1, 2, 2\)"):
        Theta(Wrong()).step(*one_step(Wrong()))


def test_tableaux_are_equal_by_value():
    assert Tableau(*EULER) == Tableau(*EULER)
    assert hash(Tableau(*EULER)) == hash(Tableau(*EULER))
    assert RungeKutta(Linear(), "euler").tableau == Tableau(*EULER)


def test_adjoint_of_a_state_with_two_axes():
    """Explicit schemes take states of any shape."""

    class Field(pint.ODE):
        initial_state = np.ones((2, 3))

        def f(self, t, y, u, theta):
            return -(y**2) + t[:, None, None]

        def f_vjp(self, t, y, u, theta, lam):
            return -2 * y * lam, {}, {}

    class Final(pint.Objective):
        def terminal(self, y, theta):
            return (y**3).sum()

        def terminal_derivative(self, y, theta):
            return 3 * y**2, {}

    grid = pint.TimeGrid.uniform(1.0, 6, levels=2)
    controls = pint.ControlSpace(grid, u=pint.TimeControl(1))
    problem = pint.Problem(grid, *scheme(Field(), "rk4"), Final(), controls)
    pint.verify.stepper_test(problem, controls.zeros()).require()
    pint.verify.adjoint_dot_test(problem, controls.zeros()).require()


@pytest.mark.parametrize("name", ["rk4", "crank-nicolson"])
def test_example_of_the_documentation(name):
    path = Path(__file__).parents[2] / "docs" / "examples" / "logistic.py"
    spec = importlib.util.spec_from_file_location("logistic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    problem = module.make_problem(name, levels=2)
    control = problem.controls.control(harvest=0.3 + 0.1 * np.arange(32.0)[:, None] / 32, r=1.5)
    pint.verify.stepper_test(problem, control).require()
    pint.verify.adjoint_dot_test(problem, control).require()
    result = pint.minimize(pint.ReducedFunctional(problem), control, gradient_tolerance=1e-7)
    assert result.status is pint.Status.CONVERGED
    # By scipy's SLSQP.
    expected = {"rk4": -0.239619467372749, "crank-nicolson": -0.239568874087732}
    assert result.objective == pytest.approx(expected[name], abs=1e-10)


def test_pairs_are_what_scheme_returns():
    explicit, implicit = scheme(Linear(), "rk2"), scheme(Linear(), "implicit-midpoint")
    assert isinstance(explicit[1], RungeKuttaAdjoint) and explicit[1].stepper is explicit[0]
    assert isinstance(implicit[1], ThetaAdjoint) and implicit[1].stepper is implicit[0]
