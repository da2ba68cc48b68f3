"""Ready-made steps for coarse levels: order, stability, and what a problem gets from them."""

import warnings

import numpy as np
import pytest
from ode_cases import Forced, forced_problem, forced_symbolic
from registry import random_control

import pint
from pint.equations import Cycles
from pint.steppers import (
    RKC,
    SDIRK,
    RunningCost,
    SDIRKAdjoint,
    Substeps,
    Theta,
    ThetaAdjoint,
    scheme,
)
from problems.ode import Tracking, VanDerPol
from problems.ode_catalogue import CATALOGUE

U, THETA, T = np.array([0.8, -0.3]), {"theta": np.array([1.3, 0.4])}, 2.0


class Linear(pint.ODE):
    """``y_i' = rate_i y_i``."""

    def __init__(self, rates):
        self.rates, self.initial_state = rates, np.ones(len(rates))

    def f(self, t, y, u, theta):
        return self.rates * y

    def f_vjp(self, t, y, u, theta, lam):
        return self.rates * lam, {}, {}


class Root(pint.ODE):
    """``y' = -1 / y``: the implicit Euler step has no solution where dt > y^2 / 4."""

    initial_state = np.ones(1)

    def f(self, t, y, u, theta):
        return -1 / y

    def f_vjp(self, t, y, u, theta, lam):
        return lam / y**2, {}, {}


class AllenCahn(pint.ODE):
    """``y_t = nu y_xx + y - y^3 + u`` on (0, 1) by the method of lines; u in both halves."""

    def __init__(self, points):
        x = (np.arange(points) + 0.5) / points
        self.nu = 0.01 * points**2
        self.initial_state = 0.5 * np.cos(np.pi * x) + 0.1 * np.cos(5 * np.pi * x)
        self.halves = np.stack([x < 0.5, x >= 0.5]).astype(float)

    def diffused(self, y):
        around = np.concatenate([y[:, :1], y, y[:, -1:]], axis=1)
        return self.nu * (around[:, 2:] - 2 * y + around[:, :-2])

    def f(self, t, y, u, theta):
        return self.diffused(y) + y - y**3 + u["u"] @ self.halves

    def f_vjp(self, t, y, u, theta, lam):
        return self.diffused(lam) + (1 - 3 * y**2) * lam, {"u": lam @ self.halves.T}, {}


def allen_cahn(coarse=None, points=12):
    parts = scheme(AllenCahn(points), "rk4", coarse=coarse)
    cost = RunningCost(Tracking(0.5 / points, 0.05, target=0.3))
    return pint.Problem(*parts, cost, {"u": pint.TimeControl(2)})


def final_state(stepper, steps):
    grid, y = pint.TimeGrid.uniform(T, steps), stepper.initial(THETA)[None]
    for n in range(steps):
        y = stepper.step(grid.batch(0, range(n, n + 1), 1), y, {"u": U[None]}, THETA)
    return y[0]


def amplification(stepper, dt):
    """Return the factor of each component in a step from ones."""
    s = pint.TimeGrid.uniform(dt, 1).batch(0, range(1), 1)
    return stepper.step(s, np.ones((1, *stepper.space.shape)), {}, {})[0]


# The schemes


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda ode: SDIRK(ode), 2),
        (lambda ode: SDIRK(ode, 0.386), 1),
        (lambda ode: Theta(ode, 0.7), 1),
        (lambda ode: RKC(ode, stages=7), 2),
        (lambda ode: RKC(ode, spectral_radius=10.0), 2),
        (lambda ode: Substeps(SDIRK(ode), 2), 2),
    ],
)
def test_order(make, order):
    stepper, steps = make(Forced()), np.array([40, 80, 160])
    exact = final_state(scheme(Forced(), "rk4")[0], 1000)
    errors = [np.linalg.norm(final_state(stepper, n) - exact) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.1)


def test_order_with_numbers_of_stages_that_are_found():
    """As many stages for all of these step sizes."""
    stepper, steps = RKC(Forced()), np.array([160, 320, 640])
    exact = final_state(scheme(Forced(), "rk4")[0], 1000)
    errors = [np.linalg.norm(final_state(stepper, n) - exact) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("gamma", [1 - np.sqrt(0.5), 0.386, 1.0])
def test_two_solves_are_l_stable(gamma):
    z = np.array([-0.1, -1.0, -7.0, -1e3, -1e9])
    found = amplification(SDIRK(Linear(z), gamma), 1.0)
    np.testing.assert_allclose(found, (1 + (1 - 2 * gamma) * z) / (1 - gamma * z) ** 2, rtol=1e-6)
    assert np.all(np.abs(found) < 1) and abs(found[-1]) < 1e-8


def test_chebyshev_steps_are_stable_as_far_as_they_say():
    for stages in (2, 5, 20, 100):
        z = -np.linspace(0.0, 0.65 * (stages**2 - 1), 400)[1:]
        assert np.abs(amplification(RKC(Linear(z), stages), 1.0)).max() < 1
    # The number of stages that is found makes a step stable, and one less would not suffice.
    rates = np.array([-3000.0, -1.0])
    assert np.abs(amplification(RKC(Linear(rates)), 1.0)).max() < 1
    assert np.abs(amplification(RKC(Linear(rates), spectral_radius=3000.0), 1.0)).max() < 1
    assert np.abs(amplification(RKC(Linear(rates), stages=60), 1.0)).max() > 1


def test_chebyshev_steps_of_a_batch_are_those_one_by_one():
    """With different numbers of stages."""
    grid, ode = pint.TimeGrid(np.array([0.0, 0.1, 0.3, 20.0, 21.0])), Forced()
    y, u = np.random.default_rng(0).standard_normal((2, 4, 2))
    s, stepper = grid.batch(0, range(4), 1), RKC(ode)
    assert len(list(stepper.schemes(s, y, {"u": u}, THETA))) > 1
    together = stepper.step(s, y, {"u": u}, THETA)
    for n in range(4):
        one = stepper.step(
            grid.batch(0, range(n, n + 1), 1), y[n : n + 1], {"u": u[n : n + 1]}, THETA
        )
        np.testing.assert_array_equal(one[0], together[n])


def test_two_solves_near_the_exponential():
    """The factors of Parareal and of FCF-relaxation for decay that the documentation states."""
    z = -np.logspace(-3, 6, 300)
    exact = np.exp(z)

    def factors(coarse):
        parts = scheme(Linear(z), "rk4", coarse=coarse)
        b = amplification(parts[0].coarsen(1), 1.0)
        f = np.abs(exact - b) / (1 - np.abs(b))
        return f.max(), (f * exact).max()

    assert factors("two-solve") == pytest.approx((0.058, 0.026), abs=1e-3)
    assert factors("implicit-euler") == pytest.approx((0.298, 0.112), abs=1e-3)
    assert factors("sdirk2") == pytest.approx((0.262, 0.011), abs=1e-3)


def test_substeps_are_steps():
    stepper = scheme(Forced(), "rk4")[0]
    np.testing.assert_allclose(
        final_state(Substeps(stepper, 4), 10), final_state(stepper, 40), rtol=1e-13
    )


# Equations without a solution


@pytest.mark.parametrize(
    ("make", "adjoint"),
    [
        (lambda: Theta(Root(), estimates=True), ThetaAdjoint),
        (lambda: Theta(Root(), "crank-nicolson", estimates=True), ThetaAdjoint),
        (lambda: SDIRK(Root(), estimates=True), SDIRKAdjoint),
    ],
)
def test_a_step_that_cannot_be_solved_gives_an_estimate_without_a_word(make, adjoint):
    s = pint.TimeGrid.uniform(6.0, 3).batch(0, range(3), 1)
    y, lam = np.array([[4.0], [1.0], [0.3]]), np.ones((3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stepper = make()
        for guess in (None, np.full((3, 1), 0.1)):
            near = s._replace(guess=guess)
            assert np.isfinite(stepper.step(near, y, {}, {})).all()
            assert np.isfinite(adjoint(stepper).step(near, y, {}, {}, lam)).all()
    # One iteration from the state, where there is no solution; the others are solved.
    if stepper.scheme == "implicit-euler":
        step = stepper.step(s, y, {}, {})
        h = y[1:] ** 2
        assert step[0, 0] == pytest.approx(2 + np.sqrt(2), rel=1e-14)
        np.testing.assert_allclose(step[1:], y[1:] - 2 / y[1:] / (1 - 2 / h), rtol=1e-14)
    assert np.isnan(stepper.step(s, y * [[1], [np.nan], [1]], {}, {})[1])


# Problems


@pytest.mark.parametrize("coarse", ["midpoint", "two-solve", "rkc", "substeps:2"])
def test_gradients_are_those_of_the_fine_steps(coarse):
    """Value and gradient of the sequential sweeps, to 1e-10."""
    problem, grid = forced_problem("rk4", coarse=coarse), pint.TimeGrid.uniform(2.0, 36, [3, 2], 3)
    functional = pint.ReducedFunctional(problem, grid)
    sequential = pint.ReducedFunctional(forced_problem("rk4"), pint.TimeGrid.uniform(2.0, 36))
    control = random_control(functional.controls)
    same = random_control(sequential.controls)
    assert functional.value(control) == pytest.approx(sequential.value(same), rel=1e-11)
    found, expected = functional.gradient(control).vector, sequential.gradient(same).vector
    assert np.linalg.norm(found - expected) < 1e-10 * np.linalg.norm(expected)


@pytest.mark.parametrize("method", [pint.Adaptive, pint.ReducedSpace])
def test_allen_cahn_by_hand(method):
    """RK4 is unstable on level 1, whose steps are four times as long."""

    def solved(coarse, levels, method):
        grid = pint.TimeGrid.uniform(4.0, 28, 4, levels)
        functional = pint.ReducedFunctional(
            allen_cahn(coarse), grid, accuracy=pint.Accuracy(20, relative=1e-12), relaxation="F"
        )
        return pint.minimize(functional, None, method(gradient_tolerance=1e-6))

    found, expected = solved("two-solve", 2, method), solved(None, 1, pint.ReducedSpace)
    assert found.status is pint.Status.CONVERGED
    assert found.converged_solves == found.solves
    assert found.objective == pytest.approx(expected.objective, rel=1e-10)


def test_an_explicit_coarse_step_that_overflows():
    """Van der Pol with coarse steps of 1.25."""
    found = {}
    for coarse in (None, "implicit-euler", "sdirk2", "substeps:4"):
        problem, grid = VanDerPol().problem(coarse=coarse), pint.TimeGrid.uniform(10.0, 64, 8, 2)
        functional = pint.ReducedFunctional(problem, grid, unconverged="ignore")
        state = functional.state.new()
        with np.errstate(all="ignore"):
            functional.state.solve(state, functional.controls.zeros(), Cycles(pint.Accuracy(2)))
        found[coarse] = bool(np.isfinite(state.convergence.residuals).all())
    assert found == {None: False, "implicit-euler": True, "sdirk2": True, "substeps:4": True}


def test_the_optimum_is_the_sequential_one():
    """Of van-de-vusse on three levels, with coarse steps 16 times as long."""
    kind = CATALOGUE["van-de-vusse"]
    grid = pint.TimeGrid.uniform(kind.T, kind.steps, 4, 3)
    functional = pint.ReducedFunctional(kind.problem(coarse="implicit-euler"), grid)
    result = pint.minimize(
        functional, kind.start(functional.controls), pint.Adaptive(gradient_tolerance=1e-7)
    )
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(kind.minima[0], rel=1e-6)


def test_names_and_values_of_the_module_mean_the_same():
    same = {
        "implicit-euler": pint.coarse.theta(),
        "crank-nicolson": pint.coarse.theta("crank-nicolson"),
        "sdirk2": pint.coarse.sdirk2(),
        "two-solve": pint.coarse.two_solve(),
        "rkc": pint.coarse.rkc(),
        "rkc:6": pint.coarse.rkc(6),
        "substeps:3": pint.coarse.substeps(3),
    }
    for name, value in same.items():
        assert pint.RungeKutta(Forced(), coarse=name).coarse == value
        assert pint.Theta(Forced(), coarse=value).coarse == value
        assert forced_symbolic().problem(coarse=name).stepper.coarse == value


def test_level_0_keeps_its_step():
    stepper, adjoint = scheme(Forced(), "crank-nicolson", coarse="sdirk2")
    assert isinstance(stepper, Theta) and isinstance(stepper.coarsen(1), SDIRK)
    assert isinstance(adjoint.coarsen(2), SDIRKAdjoint)
    plain, other = scheme(Forced(), "rk4")
    assert plain.coarsen(1) is plain and other.coarsen(1) is other


class Field(Forced):
    initial_state = np.zeros((2, 3))

    def initial(self, theta):
        return self.initial_state


KNOWN = "must be one of implicit-euler, .*substeps:k"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: scheme(Forced(), "rk4", coarse="bdf2"), ValueError, rf"`scheme\(coarse.*{KNOWN}"),
        (lambda: pint.RungeKutta(Forced(), coarse=3), TypeError, rf"`RungeKutta\(coarse.*{KNOWN}"),
        (lambda: pint.Theta(Forced(), coarse="substeps"), ValueError, r"`Theta\(coarse=.*'subst"),
        (lambda: scheme(Forced(), "rk4", coarse="substeps:0"), ValueError, "integer >= 1, got 0"),
        (lambda: scheme(Forced(), "rk4", coarse="substeps:x"), ValueError, "got 'substeps:x'"),
        (lambda: scheme(Forced(), "rk4", coarse="rkc:1"), ValueError, "integer >= 2, got 1"),
        (lambda: scheme(Forced(), "rk4", coarse="sdirk2:2"), ValueError, "got 'sdirk2:2'"),
        (lambda: forced_symbolic().problem(coarse="x"), ValueError, r"`SympyODE.problem\(coarse="),
        (lambda: pint.coarse.substeps(0), ValueError, r"substeps\(count=.*>= 1, got 0"),
        (lambda: pint.coarse.theta("rk4"), ValueError, r"`Theta\(scheme=.*'rk4'"),
        (lambda: pint.coarse.theta(0), ValueError, r"`Theta\(scheme=.*in \(0, 1\], got 0"),
        (lambda: pint.coarse.two_solve(0.2), ValueError, r"`SDIRK\(gamma=.*got 0.2"),
        (lambda: pint.coarse.rkc(5, 1.0), ValueError, "give one of them, not both"),
        (lambda: pint.RungeKutta(Field(), coarse="rkc").coarsen(1), ValueError, "no vectors"),
        (lambda: pint.RungeKutta(Field(), coarse="sdirk2").coarsen(1), ValueError, "are vectors"),
        (lambda: SDIRK("x"), TypeError, r"`SDIRK\(ode=.*got str"),
        (lambda: RKC("x"), TypeError, r"`RKC\(ode=.*got str"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
