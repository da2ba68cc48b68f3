"""The problems with constraints, free final time and measured data: closed forms."""

import numpy as np
import pytest
from scipy.optimize import least_squares

import pint
from problems.ode_constrained import BrysonDenham, ParameterEstimation, TimeOptimal


def solved(definition, method, steps=None, scheme=None):
    grid = pint.TimeGrid.uniform(definition.T, steps or definition.steps)
    functional = pint.ReducedFunctional(definition.problem(scheme, steps=steps), grid)
    constraints = definition.constraints()
    if constraints:
        method = pint.AugmentedLagrangian(method, constraints)
    return pint.minimize(functional, definition.start(functional.controls), method)


@pytest.mark.parametrize("scheme", ["midpoint", "rk4"])
def test_bryson_denham_converges_with_order_two(scheme):
    found = solved(BrysonDenham(), pint.GaussNewton(), 60, scheme)
    assert found.status is pint.Status.CONVERGED
    assert found.objective == pytest.approx(4.0025, abs=5e-5)
    assert found.states()[:, 0].max() <= 1 / 9 + 1e-8
    if scheme == "rk4":
        coarser = solved(BrysonDenham(), pint.GaussNewton(), 30, scheme)
        assert 3.5 < (coarser.objective - 4.0) / (found.objective - 4.0) < 4.5


def test_bryson_denham_by_lbfgs():
    definition = BrysonDenham(l=0.15)
    newton, lbfgs = (
        solved(definition, m, 40) for m in (pint.GaussNewton(), pint.ReducedSpace(iterations=1000))
    )
    assert newton.objective == pytest.approx(lbfgs.objective, rel=1e-7)
    assert newton.objective == pytest.approx(4 / (9 * 0.15), rel=3e-3)


@pytest.mark.parametrize(("d", "scheme"), [(1.0, "rk4"), (7.0, "crank-nicolson")])
def test_time_optimal(d, scheme):
    methods = [pint.ReducedSpace(iterations=1000)]
    if scheme == "rk4":
        methods.append(pint.GaussNewton())
    for method in methods:
        found = solved(TimeOptimal(d=d), method, 20, scheme)
        assert found.status is pint.Status.CONVERGED
        assert found.control["T"][0] == pytest.approx(2 * d**0.5, abs=1e-7)
        half = np.where(np.arange(20) < 10, 1.0, -1.0)
        np.testing.assert_allclose(found.control["u"][:, 0], half, atol=1e-5)


def test_estimates_lie_within_their_standard_errors():
    # Two standard errors hold 95 % of the estimates.
    within, scaled = 0, []
    for seed in range(30):
        definition = ParameterEstimation(seed=seed)
        found = solved(definition, pint.GaussNewton(), 20)
        errors = pint.standard_errors(found)
        for name, exact in (("k1", 1.5), ("k2", 0.6)):
            scaled.append((found.control[name][0] - exact) / errors[name][0])
            within += abs(scaled[-1]) < 2
    assert 52 <= within <= 60
    assert 0.7 < np.std(scaled) < 1.3


def test_estimates_are_those_of_least_squares():
    definition = ParameterEstimation(seed=3)
    found = solved(definition, pint.GaussNewton(), 200)
    t, values = definition.data()

    def residuals(k):
        a = np.exp(-k[0] * t)
        b = k[0] / (k[1] - k[0]) * (a - np.exp(-k[1] * t))
        return np.ravel(np.stack([a, b], axis=1) - values) / definition.sigma

    other = least_squares(residuals, [1.0, 0.9], xtol=1e-14, ftol=1e-14)
    covariance = np.linalg.inv(other.jac.T @ other.jac)
    estimates = [found.control[name][0] for name in ("k1", "k2")]
    np.testing.assert_allclose(estimates, other.x, rtol=1e-7)
    errors = pint.standard_errors(found)
    ours = [errors[name][0] for name in ("k1", "k2")]
    np.testing.assert_allclose(ours, np.sqrt(np.diag(covariance)), rtol=0.05)
