"""The projected gradient."""

import numpy as np

import pint
from pint.controls import clipped_gradient, projected_gradient


def space(**options):
    return pint.ControlSpace(pint.TimeGrid.uniform(1.0, 4), u=pint.TimeControl(1, **options))


def test_it_leaves_out_what_a_bound_holds():
    controls = space(lower=-1.0, upper=2.0)
    control = controls.control(u=[[-1.0], [-1.0], [2.0], [1.9]])
    for factor in (1e-12, 1.0, 1e12):
        gradient = controls.control(u=factor * np.array([[3.0], [-3.0], [-3.0], [-3.0]]))
        found = projected_gradient(control, gradient)["u"][:, 0]
        np.testing.assert_array_equal(found, factor * np.array([0.0, -3.0, 0.0, -3.0]))
    assert projected_gradient(control, 0.0 * gradient).vector.any() == 0


def test_clipped_it_is_the_difference_of_the_control_and_its_projected_step():
    controls = space(lower=-1.0, upper=2.0)
    random = np.random.default_rng(0)
    for _ in range(20):
        control = controls.project(controls.control(u=random.standard_normal((4, 1)) * 2))
        gradient = controls.control(u=random.standard_normal((4, 1)) * 2)
        expected = control - controls.project(control - gradient)
        found = clipped_gradient(control, gradient)
        np.testing.assert_allclose(found.vector, expected.vector, rtol=0, atol=1e-15)
    assert clipped_gradient(control, 0.0 * gradient).vector.any() == 0


def test_a_small_gradient_at_a_large_control_is_not_lost():
    for options in ({}, {"lower": 0.0}, {"lower": 0.0, "upper": 2e12}):
        controls = space(**options)
        control, gradient = controls.control(u=1e12), controls.control(u=5e-11)
        np.testing.assert_array_equal(projected_gradient(control, gradient).vector, 5e-11)
        if options:
            np.testing.assert_array_equal(clipped_gradient(control, gradient).vector, 5e-11)


def test_a_run_from_a_large_control_ends_with_the_true_norm():
    controls = {"u": pint.TimeControl(1, lower=0.0)}
    grid = pint.TimeGrid.uniform(1.0, 4)

    class Still(pint.TimeStepper):
        batched = True
        initial_state = np.zeros(1)

        def step(self, s, y, u, theta):
            return y + 0 * u["u"]

    class Transpose(pint.Adjoint):
        def vjp(self, s, y, u, theta, lam):
            return lam, {"u": 0 * lam}, {}

    class Slope(pint.Objective):
        def step_cost(self, s, y0, y1, u, theta):
            return (5e-11 * s.dt * u["u"])[:, 0]

        def step_cost_derivative(self, s, y0, y1, u, theta):
            return 0 * y0, 0 * y1, {"u": 5e-11 * s.dt + 0 * u["u"]}, {}

        def terminal(self, y, theta):
            return 0.0

        def terminal_derivative(self, y, theta):
            return 0 * y, {}

    functional = pint.ReducedFunctional(pint.Problem(Still(), Transpose(), Slope(), controls), grid)
    result = pint.minimize(
        functional,
        functional.control(u=1e12),
        pint.ReducedSpace(iterations=0, gradient_tolerance=1e-12),
    )
    assert result.status is pint.Status.ITERATION_LIMIT
    np.testing.assert_allclose(result.gradient_norm, 5e-11, rtol=1e-12)
