"""Bounds that vary in time: each rank has those of its own steps."""

import numpy as np
import pytest

import pint


class Rest(pint.TimeStepper):
    batched = True
    initial_state = np.zeros(1)

    def step(self, s, y, u, theta):
        return y + 0 * s.dt


class RestAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam, {}, {}


class Distance(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * (s.dt * (u["u"] - 1) ** 2)[:, 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 0.0, {"u": s.dt * (u["u"] - 1)}, {}


@pytest.mark.parametrize("method", [pint.ReducedSpace(), pint.External("scipy:L-BFGS-B")])
def test_an_optimum_with_bounds_of_all_steps(world, method):
    """min 1/2 sum dt |u - 1|^2 is u = 1, where the bounds allow it."""
    grid = pint.TimeGrid.uniform(1.0, 6, coarsening=2, levels=2, comm=world)
    upper = np.array([0.2, 2.0, 0.4, 2.0, 2.0, 0.6])[:, None]
    problem = pint.Problem(Rest(), RestAdjoint(), Distance(), {"u": pint.TimeControl(1, -1, upper)})
    result = pint.minimize(pint.ReducedFunctional(problem, grid), method=method)
    np.testing.assert_allclose(result.control.gather()["u"], np.minimum(upper, 1.0), atol=1e-6)


def test_bounds_of_coefficients(world):
    """Those of all steps of a coefficient hold for it, whichever ranks have them."""
    grid = pint.TimeGrid.uniform(1.0, 5, coarsening=2, levels=2, comm=world)
    upper = [[0.2], [2.0], [2.0], [0.4], [0.6]]
    field = pint.TimeControl(1, -1, upper, every=3)
    problem = pint.Problem(Rest(), RestAdjoint(), Distance(), {"u": field})
    result = pint.minimize(pint.ReducedFunctional(problem, grid))
    expected = [0.2, 0.2, 0.2, 0.4, 0.4]
    np.testing.assert_allclose(result.control.gather()["u"][:, 0], expected, atol=1e-9)
