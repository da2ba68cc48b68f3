"""Ready-made schemes: order, exactness on linear problems, clear errors."""

import importlib.util
import itertools
from pathlib import Path

import mpmath
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
    "midpoint": 2,
    "crank-nicolson": 2,
    "sdirk2": 2,
}
ONE_SOLVE = ("implicit-euler", "midpoint", "crank-nicolson")
IMPLICIT = (*ONE_SOLVE, "sdirk2")
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


@pytest.mark.parametrize("name", ORDERS)
def test_order(name, exact):
    steps = (50, 100, 200) if ORDERS[name] == 1 else (20, 40, 80)
    assert slope(scheme(Forced(), name)[0], exact, steps) == pytest.approx(ORDERS[name], abs=0.1)


def test_names_with_the_same_meaning():
    others = {"sdirk3", "dirk2", "dirk3", "imex-euler", "imex-rk2", "imex-rk3"}
    assert set(SCHEMES) == {*ORDERS, "backward-euler", "implicit-midpoint", *others}
    for name, other in (("backward-euler", "implicit-euler"), ("implicit-midpoint", "midpoint")):
        assert scheme(Forced(), name)[0].scheme == scheme(Forced(), other)[0].scheme == other


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


@pytest.mark.parametrize("name", IMPLICIT)
def test_linear_equations_take_one_newton_iteration(name):
    ode = Linear()
    scheme(ode, name)[0].step(*one_step(ode, dt=0.125, rows=7))
    # At the first guess and at the result of each equation, and at the beginning of the step.
    assert ode.calls == {"crank-nicolson": 3, "sdirk2": 4}.get(name, 2)


# Accuracy by component


class Robertson(pint.ODE):
    """Three species, one of them 1e-5 of the others."""

    initial_state = np.array([1.0, 0.0, 0.0])

    def f(self, t, y, u, theta):
        a, b, c = y.T
        one, two, three = 0.04 * a, 1e4 * b * c, 3e7 * b * b
        return np.stack([two - one, one - two - three, three], axis=1)

    def f_vjp(self, t, y, u, theta, lam):
        return np.einsum("bi,bij->bj", lam, self.jacobian(t, y, u, theta)), {}, {}

    def jacobian(self, t, y, u, theta):
        _, b, c = y.T
        matrix = np.zeros((len(y), 3, 3), y.dtype)
        matrix[:, 0] = np.stack([0 * b - 0.04, 1e4 * c, 1e4 * b], axis=1)
        matrix[:, 2, 1] = 6e7 * b
        matrix[:, 1] = -matrix[:, 0] - matrix[:, 2]
        return matrix


class Network(pint.ODE):
    """``y' = D g(y / D)``: a network whose components are measured in the units D."""

    def __init__(self, units):
        random = np.random.default_rng(0)
        self.units, self.initial_state = units, np.ones(len(units))
        self.inner, self.outer = 2 * random.standard_normal((2, len(units), len(units)))

    def f(self, t, y, u, theta):
        y = y / self.units
        return (np.tanh(y @ self.inner.T) @ self.outer.T - 3 * y) * self.units

    def f_vjp(self, t, y, u, theta, lam):
        return np.einsum("bi,bij->bj", lam, self.jacobian(t, y, u, theta)), {}, {}

    def jacobian(self, t, y, u, theta):
        slope = 1 - np.tanh(y / self.units @ self.inner.T) ** 2
        matrix = (self.outer * slope[:, None]) @ self.inner - 3 * np.eye(len(self.units))
        return matrix * self.units[:, None] / self.units


@pytest.mark.parametrize(("name", "explicit"), [("implicit-euler", 0), ("crank-nicolson", 0.5)])
@pytest.mark.parametrize("dt", [1e-4, 1e-2, 1.0, 40.0])
def test_every_component_is_solved_to_rounding(name, explicit, dt):
    """Robertson's equations, against 40 digits; a batch of states along the way."""
    ode, rows = Robertson(), 6
    stepper, grid = Theta(ode, name), pint.TimeGrid.uniform(rows * dt, rows)
    states = [ode.initial_state]
    for n in range(rows):
        states.append(stepper.step(grid.batch(0, range(n, n + 1), 1), states[-1][None], {}, {})[0])
    batch = stepper.step(grid.batch(0, range(rows), 1), np.array(states[:-1]), {}, {})
    np.testing.assert_array_equal(batch, states[1:])

    def f(a, b, c):
        one, two, three = mpmath.mpf(0.04) * a, 10**4 * b * c, 3 * 10**7 * b * b
        return two - one, one - two - three, three

    with mpmath.workdps(40):
        for y0, y1 in itertools.pairwise(states):
            old = [mpmath.mpf(value) for value in y0]
            base = [
                y + explicit * mpmath.mpf(dt) * slope for y, slope in zip(old, f(*old), strict=True)
            ]

            def residual(*y, base=base):
                implicit = (1 - explicit) * mpmath.mpf(dt)
                return [
                    z - b - implicit * slope for z, b, slope in zip(y, base, f(*y), strict=True)
                ]

            exact = mpmath.findroot(residual, [mpmath.mpf(value) for value in y1], tol=1e-60)
            np.testing.assert_allclose(y1, np.array(exact.tolist(), float)[:, 0], rtol=1e-13)


@pytest.mark.parametrize("name", IMPLICIT)
def test_units_do_not_matter(name):
    """Components of sizes 1e-8 to 1e8: the step and its transpose are those of one size."""
    units = 2.0 ** np.array([-27, 0, 27, 13, -20, 5])
    random = np.random.default_rng(2)
    y, lam = random.standard_normal((2, 5, 6))
    s = pint.TimeGrid.uniform(1.0, 5).batch(0, range(5), 1)
    one, other = scheme(Network(np.ones(6)), name), scheme(Network(units), name)
    expected = one[0].step(s, y, {}, {})
    np.testing.assert_allclose(other[0].step(s, y * units, {}, {}) / units, expected, atol=3e-15)
    expected = one[1].step(s, y, {}, {}, lam)
    found = other[1].step(s, y * units, {}, {}, lam / units) * units
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_a_small_component_beside_a_large_one():
    """They do not depend on each other: each is solved as if it were alone."""
    sizes = np.array([1e8, 1.0, 1e-8])

    class Decay(pint.ODE):
        def __init__(self, sizes):
            self.sizes, self.initial_state = sizes, sizes

        def f(self, t, y, u, theta):
            return -(y**3) / self.sizes**2

        def f_vjp(self, t, y, u, theta, lam):
            return -3 * y**2 / self.sizes**2 * lam, {}, {}

        def jacobian(self, t, y, u, theta):
            return -3 * (y**2 / self.sizes**2)[:, :, None] * np.eye(len(self.sizes))

    s = pint.TimeGrid.uniform(0.7, 1).batch(0, range(1), 1)
    together = Theta(Decay(sizes)).step(s, sizes[None], {}, {})[0]
    alone = [Theta(Decay(size)).step(s, size[None], {}, {})[0, 0] for size in np.split(sizes, 3)]
    np.testing.assert_allclose(together, alone, rtol=1e-15)
    np.testing.assert_allclose(together + 0.7 * together**3 / sizes**2, sizes, rtol=1e-15)


def test_an_approximate_jacobian_costs_iterations_and_no_accuracy():
    class Half(Network):
        def jacobian(self, *arguments):
            return 0.7 * super().jacobian(*arguments)

    units = np.ones(4)
    y, s = np.random.default_rng(2).standard_normal((3, 4)), one_step(Network(units), rows=3)[0]
    exact, rough = (Theta(kind(units)).step(s, y, {}, {}) for kind in (Network, Half))
    np.testing.assert_allclose(rough, exact, rtol=3e-15, atol=3e-15)


# Guesses


def forced_step(name, rows=6, dt=0.4):
    """Return a stepper, its adjoint, arguments of a step of a nonlinear ODE, and an adjoint."""
    ode = CountingForced()
    s, y, u, _ = one_step(ode, dt, rows)
    lam = np.random.default_rng(5).standard_normal(y.shape)
    return ode, *scheme(ode, name), (s, y, u, THETA), lam


class CountingForced(Forced):
    """Counts the evaluations of f and the Newton iterations."""

    def __init__(self):
        self.calls = self.iterations = 0

    def f(self, *arguments):
        self.calls += 1
        return super().f(*arguments)

    def jacobian(self, *arguments):
        self.iterations += 1
        return super().jacobian(*arguments)


def assert_near(one, other, tolerance=1e-13):
    """Compare results, and tuples and mappings of them, relative to the largest entry."""
    if isinstance(other, tuple):
        for x, y in zip(one, other, strict=True):
            assert_near(x, y, tolerance)
    elif isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in other:
            assert_near(one[name], other[name], tolerance)
    else:
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("name", ONE_SOLVE)
def test_a_good_guess_saves_iterations_and_changes_the_result_by_rounding_only(name):
    ode, stepper, adjoint, (s, *arguments), lam = forced_step(name)
    result, transposes = stepper.step(s, *arguments), adjoint.vjp(s, *arguments, lam)
    alone = adjoint.step(s, *arguments, lam)
    assert ode.iterations > 6
    ode.iterations = 0
    guessed = s._replace(guess=result.copy())
    assert_near(stepper.step(guessed, *arguments), result)
    assert ode.iterations <= 1  # the result itself is accurate to rounding
    assert_near(adjoint.vjp(guessed, *arguments, lam), transposes)
    assert_near(adjoint.step(guessed, *arguments, lam), alone)
    assert ode.iterations <= 5  # with the matrices of the two transposes
    np.testing.assert_array_equal(guessed.guess, result)


@pytest.mark.parametrize("distance", [1e-8, 1e-3, 0.3])
@pytest.mark.parametrize("name", IMPLICIT)
def test_the_result_does_not_depend_on_the_guess(name, distance):
    _, stepper, adjoint, (s, *arguments), lam = forced_step(name)
    result = stepper.step(s, *arguments)
    noise = distance * np.random.default_rng(1).standard_normal(result.shape)
    guessed = s._replace(guess=result + noise)
    assert_near(stepper.step(guessed, *arguments), result)
    assert_near(adjoint.vjp(guessed, *arguments, lam), adjoint.vjp(s, *arguments, lam))


def test_newton_starts_again_from_the_state_where_a_guess_is_poor():
    """y' = -1/y: from 0 the first iterate is infinite, from the state it converges."""

    class CountingRoot(Root):
        rows = 0

        def jacobian(self, t, y, u, theta):
            self.rows += len(y)
            return super().jacobian(t, y, u, theta)

    ode = CountingRoot()
    stepper, adjoint = scheme(ode, "implicit-euler")
    s = pint.TimeGrid.uniform(0.3, 3).batch(0, range(3), 1)
    y, lam = np.array([[3.0], [2.0], [1.0]]), np.ones((3, 1))
    result = stepper.step(s, y, {}, {})
    ode.rows = 0
    np.testing.assert_array_equal(stepper.step(s._replace(guess=result), y, {}, {}), result)
    assert ode.rows == 0
    poor = s._replace(guess=np.where([[False], [True], [False]], 0.0, result))
    np.testing.assert_array_equal(stepper.step(poor, y, {}, {}), result)
    # One row only, as often as without a guess: from 0 it is given up before an iteration.
    again, ode.rows = ode.rows, 0
    stepper.step(pint.Steps(s.index[1:2], s.t0[1:2], s.t1[1:2]), y[1:2], {}, {})
    assert again == ode.rows
    assert_near(adjoint.step(poor, y, {}, {}, lam), adjoint.step(s, y, {}, {}, lam))


def test_newton_starts_again_where_it_runs_away_from_a_guess():
    """``y1 = y + dt f(y1)`` with ``dt f = y1 - arctan(y1)``: Newton diverges from beyond 1.4."""

    class Arctan(Root):
        def f(self, t, y, u, theta):
            return y - np.arctan(y)

        def jacobian(self, t, y, u, theta):
            return 1 - 1 / (1 + y[..., None] ** 2)

    s = pint.TimeGrid.uniform(2.0, 2).batch(0, range(2), 1)
    guessed = s._replace(guess=np.array([[3.0], [0.5]]))
    step = Theta(Arctan()).step(guessed, np.array([[0.3], [0.6]]), {}, {})
    np.testing.assert_allclose(step, np.tan([[0.3], [0.6]]), rtol=1e-13)


def test_a_step_that_fails_from_guess_and_state_is_reported_once():
    stepper = Theta(Root(), "implicit-euler")
    s = pint.TimeGrid.uniform(2.0, 2).batch(0, range(2), 1)
    guess = np.array([[0.0], [0.0]])
    with pytest.warns(RuntimeWarning, match="1 of 2 steps") as warned:
        step = stepper.step(s._replace(guess=guess), np.array([[3.0], [1.0]]), {}, {})
    assert len(warned) == 1
    np.testing.assert_allclose(step, [[(3 + np.sqrt(5)) / 2], [np.nan]], rtol=1e-14)


# What steps keep, and results written in place


@pytest.mark.parametrize("name", ["rk2", "rk4", *IMPLICIT])
def test_kept_stages_save_evaluations_of_f(name):
    ode, stepper, adjoint, (s, *arguments), lam = forced_step(name)
    result, transposes = stepper.step(s, *arguments), adjoint.vjp(s, *arguments, lam)
    kept = s._replace(kept=np.full((len(s.index), *stepper.kept_shape), np.nan))
    np.testing.assert_array_equal(stepper.step(kept, *arguments), result)
    ode.calls = 0
    assert_near(adjoint.vjp(kept, *arguments, lam), transposes)
    assert ode.calls == 0


@pytest.mark.parametrize("name", ["forward-euler", "rk4"])
def test_explicit_steps_write_in_place(name):
    _, stepper, adjoint, arguments, lam = forced_step(name)
    out = np.full_like(lam, np.nan)
    assert stepper.step(*arguments, out=out) is out
    np.testing.assert_array_equal(out, stepper.step(*arguments))
    assert adjoint.vjp(*arguments, lam, out=out)[0] is out
    np.testing.assert_array_equal(out, adjoint.vjp(*arguments, lam)[0])


# Failures of Newton's method


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

    problem = pint.Problem(
        *scheme(Root(), "implicit-euler"), Final(), controls={"u": pint.TimeControl(1)}
    )
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 2))
    with pytest.raises(pint.NotFiniteError), pytest.warns(RuntimeWarning, match="Newton"):
        functional.value(functional.control())


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
    RungeKuttaAdjoint(stepper).vjp(s, y, u, theta, y)
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


def test_a_quadrature_rule_does_not_differentiate_where_it_has_no_node():
    s, y0, u, _ = one_step(Forced(), rows=4)
    for quadrature, zero in (("left", 1), ("right", 0)):
        objective = pint.RunningCost(ForcedCost(), quadrature)
        slopes = objective.step_cost_derivative(s, y0, y0 + 1, u, THETA)
        assert slopes[zero] == 0.0 and np.shape(slopes[1 - zero]) == y0.shape


def test_terminal_cost_is_zero_by_default():
    class Zero(Lagrangian):
        value = gradient = ForcedCost.value

    objective, y = pint.RunningCost(Zero()), np.ones(2)
    assert objective.terminal(y, THETA) == 0
    assert objective.terminal_derivative(y, THETA) == (0.0, {})


EULER = ([[0]], [1], [0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: scheme(Linear(), "leapfrog"), ValueError, r"`scheme\(name=.*rk4.*'leapfrog'"),
        (lambda: RungeKutta(Linear(), "rk5"), ValueError, r"`RungeKutta\(tableau=.*'rk5'"),
        (lambda: Theta(Linear(), "bdf2"), ValueError, r"`Theta\(scheme=.*'bdf2'"),
        (lambda: RungeKutta("x"), TypeError, r"`RungeKutta\(ode=.*got str"),
        (lambda: Theta("x"), TypeError, r"`Theta\(ode=.*got str"),
        (lambda: Theta(Linear(), 1.5), ValueError, r"`Theta\(scheme=.*1.5"),
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


def test_a_jacobian_by_products_with_unit_vectors():
    class WithoutJacobian(Forced):
        jacobian = pint.ODE.jacobian

    _, _, _, (s, y, u, theta), _ = forced_step("implicit-euler")
    at = np.reshape(s.t0, -1), y, u, theta
    np.testing.assert_allclose(WithoutJacobian().jacobian(*at), Forced().jacobian(*at), rtol=1e-15)


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

    problem = pint.Problem(*scheme(Field(), "rk4"), Final(), controls={"u": pint.TimeControl(1)})
    control = problem.control_space(pint.TimeGrid.uniform(1.0, 6, levels=2)).zeros()
    pint.verify.stepper_test(problem, control).require()
    pint.verify.adjoint_dot_test(problem, control).require()


@pytest.mark.parametrize("name", ["rk4", "crank-nicolson"])
def test_example_of_the_documentation(name):
    path = Path(__file__).parents[2] / "docs" / "examples" / "logistic.py"
    spec = importlib.util.spec_from_file_location("logistic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    problem = module.make_problem(name)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 32, levels=2))
    control = functional.control(harvest=0.3 + 0.1 * np.arange(32.0)[:, None] / 32, r=1.5)
    if name == "rk4":  # the other scheme calls the same methods
        pint.verify.check_problem(problem, functional.grid, control).require()
    result = pint.minimize(functional, control, pint.ReducedSpace(gradient_tolerance=1e-7))
    assert result.status is pint.Status.CONVERGED
    # By scipy's SLSQP.
    expected = {"rk4": -0.239619467372749, "crank-nicolson": -0.239568874087732}
    assert result.objective == pytest.approx(expected[name], abs=1e-10)


def test_pairs_are_what_scheme_returns():
    explicit, implicit = scheme(Linear(), "rk2"), scheme(Linear(), "implicit-midpoint")
    assert isinstance(explicit[1], RungeKuttaAdjoint) and explicit[1].stepper is explicit[0]
    assert isinstance(implicit[1], ThetaAdjoint) and implicit[1].stepper is implicit[0]
