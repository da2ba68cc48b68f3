"""The ODE problems against optima that plain programs compute, by every method."""

import math
from functools import cache, partial

import numpy as np
import ode_references as reference
import pytest

import pint
from problems.ode import PROBLEMS

SCHEMES = [(name, scheme) for name, kind in PROBLEMS.items() for scheme in kind.schemes]


def functional(definition, steps, levels=1, scheme=None, **bounds):
    grid = pint.TimeGrid.uniform(definition.T, steps, 4, levels)
    return pint.ReducedFunctional(definition.problem(scheme, **bounds), grid)


def solve(definition, steps, method="sequential", scheme=None, tolerance=1e-8, near=None, **bounds):
    """Minimise from the problem's first control, or from one near `near`."""
    rf = functional(definition, steps, 1 if method == "sequential" else 2, scheme, **bounds)
    start = definition.start(rf.controls)
    if near is not None:
        away = 0.01 * np.random.default_rng(0).standard_normal(near.shape)
        start = rf.controls.control(u=(near + away)[:, None])
    options = {"iterations": 1500, "gradient_tolerance": tolerance}
    methods = {
        "one-shot": partial(pint.OneShot, cycles=2),
        "lagged": partial(pint.Lagged, cycles=1),
    }
    return pint.minimize(rf, start, methods.get(method, pint.ReducedSpace)(**options))


@pytest.mark.parametrize(("name", "scheme"), SCHEMES)
def test_everything_that_can_be_checked(name, scheme):
    definition = PROBLEMS[name]()
    grid = pint.TimeGrid.uniform(definition.T, 48, 2, 2)
    problem = definition.problem(scheme, lower=-2.0, upper=3.0)
    u = 0.5 * np.random.default_rng(0).standard_normal((48, definition.controls))
    control = problem.control_space(grid).control(u=u)
    pint.verify.check_problem(problem, grid, control).require()


# Linear-quadratic problems: dense optima

MASSES = np.zeros((6, 6))
MASSES[:3, 3:] = np.eye(3)
MASSES[3:, :3] = [[-2, 1, 0], [1, -2, 1], [0, 1, -2]]
MASSES[3:, 3:] = -0.1 * np.eye(3)
PUSHES = np.zeros((6, 2))
PUSHES[3, 0] = PUSHES[5, 1] = 1.0


def scalar(scheme, a=-1.0, b=1.0, q=1.0, r=0.1, s=0.5, T=1.0, y0=1.0):
    return reference.linear_quadratic_optimum(a, b, y0, T, 64, scheme, q / 2, r / 2, s / 2)


def masses(T=4.0, r=0.1, s=1.0):
    y0 = [1, 0, -1, 0, 0.5, 0]
    return reference.linear_quadratic_optimum(MASSES, PUSHES, y0, T, 64, "midpoint", 0.5, r / 2, s)


def oscillator(T=20.0, r=1.0, damping=0.05):
    A, B = [[0, 1], [-1, -damping]], [[0], [1]]
    return reference.linear_quadratic_optimum(A, B, [1, 0], T, 64, "midpoint", 0.5, r / 2, 0.0)


def double_integrator(gamma=0.005, T=1.0):
    return reference.double_integrator_optimum(gamma, T, 20)


LINEAR = [
    ("double-integrator", "forward-euler", {}, double_integrator),
    ("double-integrator", "forward-euler", {"gamma": 0.1, "T": 2.0}, double_integrator),
    ("vector-lqr", "implicit-midpoint", {}, masses),
    ("vector-lqr", "implicit-midpoint", {"T": 2.0, "r": 0.5, "s": 3.0}, masses),
    ("oscillator", "implicit-midpoint", {}, oscillator),
    ("oscillator", "implicit-midpoint", {"T": 5.0, "r": 0.3, "damping": 0.2}, oscillator),
]
OTHER = {"a": 0.5, "b": -2.0, "q": 2.0, "r": 0.3, "s": 0.0, "T": 1.5, "y0": -1.0}
for _scheme in PROBLEMS["scalar-lqr"].schemes:
    for _set in ({}, OTHER):
        LINEAR.append(("scalar-lqr", _scheme, _set, partial(scalar, _scheme)))


@pytest.mark.parametrize(("name", "scheme", "settings", "optimum"), LINEAR)
def test_linear_quadratic_optimum(name, scheme, settings, optimum):
    expected, control = optimum(**settings)
    definition = PROBLEMS[name](**settings)
    result = solve(definition, len(control), scheme=scheme, tolerance=1e-13)
    np.testing.assert_allclose(result.objective, expected, rtol=1e-12)
    np.testing.assert_allclose(result.control["u"], control, rtol=0, atol=1e-10)


METHODS = (
    *("one-shot", "lagged"),  # double integrator
    *("lagged", "mgrit"),  # three masses
    *(None, "one-shot"),  # oscillator
    *("mgrit", "one-shot", "lagged", "mgrit", "one-shot", "lagged"),  # each scheme
)
PARALLEL = [(*case, method) for case, method in zip(LINEAR, METHODS, strict=True) if method]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme", "settings", "optimum", "method"), PARALLEL)
def test_linear_quadratic_optimum_parallel_in_time(name, scheme, settings, optimum, method):
    expected, control = optimum(**settings)
    result = solve(PROBLEMS[name](**settings), len(control), method, scheme)
    assert result.status is pint.Status.CONVERGED
    np.testing.assert_allclose(result.objective, expected, rtol=1e-12)
    np.testing.assert_allclose(result.control["u"], control, rtol=0, atol=1e-5)


def test_known_value_of_the_double_integrator():
    assert double_integrator()[0] == pytest.approx(5.06187699853476e-2, rel=1e-13)
    assert double_integrator()[1][0, 0] == pytest.approx(9.87622695991, rel=1e-10)


@pytest.mark.parametrize(
    ("scheme", "order"), [("forward-euler", 1), ("backward-euler", 1), ("crank-nicolson", 2)]
)
def test_scalar_optimum_converges_to_the_closed_form(scheme, order):
    a, b, q, r, s, y0, T = -1.0, 1.0, 1.0, 0.1, 0.5, 1.0, 1.0
    omega = math.sqrt(a**2 + b**2 * q / r)
    C, S = math.cosh(omega * T), math.sinh(omega * T) / omega
    exact = y0**2 * (s * C + (q + a * s) * S) / (2 * (C + (b**2 * s / r - a) * S))
    errors = [
        abs(solve(PROBLEMS["scalar-lqr"](), steps, scheme=scheme).objective - exact)
        for steps in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


# Nonlinear problems: scipy on plain loops

NONLINEAR = {
    "van-der-pol": (64, reference.van_der_pol, None),
    "fishing": (48, reference.fishing, (0.0, 1.0)),
    "pendulum": (48, reference.pendulum, None),
}


@cache
def optimum_of(name):
    """Return objective and control of the plain program."""
    steps, make, bounds = NONLINEAR[name]
    definition = make()
    t = (np.arange(steps) + 0.5) * definition[-1] / steps
    start = np.sin(3.13 * t) if name == "pendulum" else np.zeros(steps)
    return reference.optimum(definition, start, bounds)


@pytest.mark.parametrize("name", NONLINEAR)
def test_cost_and_gradient_are_those_of_the_plain_loop(name):
    steps, make, _ = NONLINEAR[name]
    u = np.random.default_rng(1).uniform(0, 1, steps)
    J, derivative = reference.cost_and_derivative(make(), u)
    rf = functional(PROBLEMS[name](), steps)
    control = rf.controls.control(u=u[:, None])
    assert rf.value(control) == pytest.approx(J, rel=1e-13)
    scale = abs(derivative).max()
    np.testing.assert_allclose(
        rf.derivative(control)["u"][:, 0], derivative, rtol=0, atol=1e-12 * scale
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_optimum(name):
    expected, control = optimum_of(name)
    result = solve(PROBLEMS[name](), NONLINEAR[name][0])
    assert result.status is pint.Status.CONVERGED
    assert result.gradient_norm <= 1e-8
    assert abs(result.objective - expected) < 1e-10
    found = result.control["u"][:, 0]
    if name == "pendulum":  # it may swing up on either side
        found = found * np.sign(found[0] * control[0])
    np.testing.assert_allclose(found, control, rtol=0, atol=1e-5)
    if name == "fishing":
        check_active_set(result, control)
    if name == "pendulum":  # it stands in the end
        angle, speed = result.states()[-1]
        assert math.cos(angle) < -0.99
        assert abs(speed) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("van-der-pol", "lagged"),
        ("fishing", "mgrit"),
        # The pendulum's coarse steps are too poor for one lagged cycle, see docs/one_shot.md.
        ("pendulum", "one-shot"),
    ],
)
def test_nonlinear_optimum_parallel_in_time(name, method):
    expected, control = optimum_of(name)
    # From afar it is the sequential test's task: hundreds of updates.
    result = solve(PROBLEMS[name](), NONLINEAR[name][0], method, tolerance=1e-6, near=control)
    assert result.status is pint.Status.CONVERGED
    assert abs(result.objective - expected) < 1e-9


def test_known_value_of_the_van_der_pol_oscillator():
    assert optimum_of("van-der-pol")[0] == pytest.approx(2.87980918252074, rel=1e-13)


def test_weight_of_the_fishing_effort():
    definition = reference.fishing(beta=0.5)
    expected, _ = reference.optimum(definition, np.zeros(32), (0.0, 1.0))
    assert abs(solve(PROBLEMS["fishing"](beta=0.5), 32).objective - expected) < 1e-10


# Bounds


def check_active_set(result, expected):
    """Check that bounds hold where they should, with multipliers of the right sign."""
    rf = functional(PROBLEMS["fishing"](), 48)
    space = rf.controls
    control = space.control(u=result.control["u"])
    gradient = rf.gradient(control)
    projected = space.norm(control - space.project(control - gradient))
    assert projected < 1e-8
    u, g = control["u"][:, 0], gradient["u"][:, 0]
    for bound, sign in ((0.0, 1), (1.0, -1)):
        active = abs(expected - bound) < 1e-12
        assert 0 < active.sum() < len(u)
        np.testing.assert_array_equal(u == bound, active)
        assert (sign * g[active] > 0).all()
    free = (u > 0) & (u < 1)
    assert abs(g[free]).max() < 1e-7


@pytest.mark.slow
def test_active_set_of_fishing_by_one_shot():
    result = solve(PROBLEMS["fishing"](), 48, "one-shot")
    check_active_set(result, optimum_of("fishing")[1])


def test_bounds_of_the_van_der_pol_oscillator():
    """-0.1 <= u <= 0.6, where both bounds hold somewhere."""
    expected, control = reference.optimum(reference.van_der_pol(), np.zeros(64), (-0.1, 0.6))
    result = solve(PROBLEMS["van-der-pol"](), 64, lower=-0.1, upper=0.6)
    u = result.control["u"][:, 0]
    assert result.gradient_norm <= 1e-8
    assert abs(result.objective - expected) < 1e-10
    for bound in (-0.1, 0.6):
        assert (u == bound).any()
        np.testing.assert_array_equal(u == bound, abs(control - bound) < 1e-12)


def test_the_pendulum_hangs_at_a_saddle_point():
    rf = functional(PROBLEMS["pendulum"](), 48)
    zero = rf.controls.zeros()
    assert rf.controls.norm(rf.gradient(zero)) < 1e-12


# Bad input


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("double-integrator", {"T": 0.0}, "T=.*positive"),
        ("double-integrator", {"gamma": -1.0}, "gamma"),
        ("scalar-lqr", {"a": math.nan}, "a=.*finite"),
        ("scalar-lqr", {"r": -0.1}, "r="),
        ("fishing", {"beta": math.inf}, "beta"),
    ],
)
def test_bad_parameter(name, settings, match):
    with pytest.raises(ValueError, match=match):
        PROBLEMS[name](**settings)


def test_bad_scheme():
    definition = PROBLEMS["fishing"]()
    with pytest.raises(ValueError, match=r"scheme=.*'implicit-euler'"):
        definition.problem("implicit-euler")
