"""Updates do not depend on the units of objective, control, state and time."""

from functools import cache, partial

import numpy as np
import pytest
from scaled import Units

import pint
from problems.ode import Fishing, VanDerPol, VectorLQR

METHODS = {
    "lbfgs": (1, pint.ReducedSpace),
    "bfgs": (1, partial(pint.ReducedSpace, hessian=pint.bfgs())),
    "steepest descent": (1, partial(pint.ReducedSpace, hessian=pint.identity())),
    "mgrit": (2, pint.ReducedSpace),
    "one-shot": (2, partial(pint.OneShot, 2)),
    "lagged": (2, pint.Lagged),
    "adaptive": (2, pint.Adaptive),
}
CASES = {
    "vector-lqr": (VectorLQR(), 16),
    "van-der-pol": (VanDerPol(T=4.0), 32),
    "fishing": (Fishing(), 24),
}
# Each unit is large with each other one, and small: all that could go wrong goes wrong in one.
SIGNS = [(1, 1, 1, -1), (1, -1, -1, 1), (-1, 1, -1, -1), (-1, -1, 1, 1)]
# A method meets all four of them: two on each of two problems, which make it take the same ways.
SHARED_OUT = [
    (name, signs)
    for name, some in (("vector-lqr", SIGNS[::3]), ("van-der-pol", SIGNS[1:3]))
    for signs in some
]


def solve(name, method, units, reduction):
    """Return the result of up to 60 updates; the gradient is reduced to about `reduction`."""
    (ode, steps), (levels, kind) = CASES[name], METHODS[method]
    functional = units.functional(ode.problem(), ode.T, steps, levels)
    tolerance = reduction * units.gradient
    return pint.minimize(functional, method=kind(gradient_tolerance=tolerance, iterations=60))


@cache
def plain(name, method, reduction):
    return solve(name, method, Units(), reduction)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "signs"), SHARED_OUT)
def test_units_change_nothing(name, method, signs):
    # Powers of two, about 1e12, so that the numbers are the same to the last bit.
    units = Units(*(2.0 ** (40 * sign) for sign in signs))
    ours, expected = solve(name, method, units, 1e-3), plain(name, method, 1e-3)
    assert ours.status is expected.status
    assert ours.objective == units.objective * expected.objective
    for row, other in zip(ours.history, expected.history, strict=True):
        assert row.line_search_trials == other.line_search_trials
        assert (row.state_cycles, row.adjoint_cycles) == (other.state_cycles, other.adjoint_cycles)


# Directions of one kind share their bounds; so do solves.
@pytest.mark.parametrize(
    ("method", "signs"),
    [
        (method, signs)
        for methods, some in (("lbfgs one-shot", SIGNS[::3]), ("bfgs adaptive", SIGNS[1:3]))
        for method in methods.split()
        for signs in some
    ],
)
def test_units_change_nothing_with_bounds(method, signs):
    units = Units(*(2.0 ** (40 * sign) for sign in signs))
    ours, expected = solve("fishing", method, units, 1e-3), plain("fishing", method, 1e-3)
    assert ours.status is expected.status
    assert ours.iterations == expected.iterations
    assert ours.objective == units.objective * expected.objective
    assert ours.gradient_norm == units.gradient * expected.gradient_norm


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("method", ["lbfgs", "one-shot"])
def test_bounds_that_hold_nothing_change_nothing(method, size):
    """A tolerance relative to the first gradient is that of the problem without bounds."""
    levels, kind = METHODS[method]
    value = kind(relative_gradient_tolerance=1e-6, gradient_tolerance=0.0)
    found = []
    for bounds in ({}, {"lower": -9.0, "upper": 9.0}):
        fields = {"u": pint.TimeControl(1, **bounds)}
        parts = Euler(), EulerAdjoint(), Target(size)
        problem = pint.Problem(*parts, fields, [pint.Tikhonov(size, ["u"])])
        grid = pint.TimeGrid.uniform(1.0, 64, 4, levels)
        found.append(pint.minimize(pint.ReducedFunctional(problem, grid), method=value))
    assert found[0].status is found[1].status is pint.Status.CONVERGED
    assert found[0].iterations == found[1].iterations
    assert found[0].objective == found[1].objective


@pytest.mark.parametrize("method", ["lbfgs", "bfgs", "one-shot", "adaptive"])
@pytest.mark.parametrize(("name", "signs"), SHARED_OUT)
def test_decimal_units_change_updates_by_rounding_alone(name, method, signs):
    units = Units(*(10.0 ** (12 * sign) for sign in signs))
    ours, expected = solve(name, method, units, 1e-3), plain(name, method, 1e-3)
    assert ours.status is expected.status is pint.Status.CONVERGED
    # Adaptive runs also take decisions by estimates, some of which rounding turns: starts that
    # differ by 1e-14 need 18 to 22 updates for vector-lqr. Units that round nothing: see above.
    share = 0.25 if method == "adaptive" else 0.1
    assert abs(ours.iterations - expected.iterations) <= share * expected.iterations
    assert ours.objective == pytest.approx(units.objective * expected.objective, rel=1e-5)


class Euler(pint.TimeStepper):
    """y' = u - y, with the control in units of `unit`."""

    batched = True
    initial_state = np.zeros(1)

    def __init__(self, unit=1.0):
        self.unit = unit

    def step(self, s, y, u, theta):
        return y + s.dt * (self.unit * u["u"] - y)


class EulerAdjoint(pint.Adjoint):
    def __init__(self, unit=1.0):
        self.unit = unit

    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"u": s.dt * self.unit * lam}, {}


class Target(pint.Objective):
    def __init__(self, size=50.0):
        self.size = size

    def terminal(self, y, theta):
        return self.size * ((y - 1.0) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 2 * self.size * (y - 1.0), {}


@pytest.mark.parametrize(
    ("cost", "final_time", "unit"),
    [(1.0, 1.0, 1.0), (1e5, 1.0, 1.0), (1e-5, 1.0, 1.0), (1.0, 1e-6, 1.0), (1.0, 1.0, 1e-4)],
    ids=["plain", "large cost", "small cost", "short", "small unit"],
)
@pytest.mark.parametrize("method", METHODS)
def test_the_problem_of_the_readme_in_other_sizes(cost, final_time, unit, method):
    levels, kind = METHODS[method]
    fields = {"u": pint.TimeControl(1)}
    effort = pint.Tikhonov(unit**2, ["u"])
    parts = [Euler(unit), EulerAdjoint(unit), Target(50 * cost)]
    problem = pint.Problem(*parts, fields, [effort])
    grid = pint.TimeGrid.uniform(final_time, 64, coarsening=4, levels=levels)
    value = kind(relative_gradient_tolerance=1e-9, gradient_tolerance=0.0)
    result = pint.minimize(pint.ReducedFunctional(problem, grid), method=value)
    # min of 50 c (b.u - 1)^2 + r |u|^2 / 2 in the metric, with y_N = b.u
    dt = final_time / 64
    b = (1 - dt) ** np.arange(63, -1, -1.0)
    expected = 50 * cost / (1 + 100 * cost * dt * (b @ b))
    assert result.status is pint.Status.CONVERGED
    assert result.objective == pytest.approx(expected, rel=1e-5)
    assert result.iterations <= 30
