"""Every stepper, adjoint, objective and problem of the registry keeps its contracts."""

import numpy as np
import pytest
import registry

import pint
from pint.equations import March
from pint.verify import check_problem, taylor_test

SEED = 1
"""For which no pre-activation of the ReLU networks lies near a kink, see the last test."""

UNCHECKED = {*registry.STRICT, "predators", "predators-in-place-loop"}
"""States that are no arrays; and problems whose code that of other names runs, too."""


def grid_of(levels):
    # Unequal steps, and a number of them that the coarsening factors do not divide.
    return pint.TimeGrid(
        2.0 * np.linspace(0, 1, 12) ** 1.1, coarsening=[2, 3][: levels - 1], levels=levels
    )


def functional_of(name, levels, **options):
    return pint.ReducedFunctional(registry.PROBLEMS[name](), grid_of(levels), **options)


def control_of(functional):
    return registry.random_control(functional.controls, seed=SEED)


@pytest.mark.parametrize("name", [name for name in registry.PROBLEMS if name not in UNCHECKED])
def test_contracts_transposes_and_gradient(name):
    """On three levels: the methods of a level do not depend on the number of levels."""
    problem, grid = registry.PROBLEMS[name](), grid_of(levels=3)
    control = registry.random_control(problem.control_space(grid), seed=SEED)
    report = check_problem(problem, grid, control)
    report.require()
    assert not report.not_run
    # The exact comparison, not the one by differences, served for all but regularisers and second
    # derivatives.
    exact = [c for c in report.checks if "value" not in c.claim and "second" not in c.claim]
    assert not any(check.by_differences for check in exact)


# Pairwise: levels with relaxations, and batched steps, single ones and iterative ones.
@pytest.mark.parametrize(
    ("name", "levels", "relaxation"),
    [
        ("pendulum-running", 2, "F"),
        ("swift-loop-terminal", 3, "FCF"),
        ("dense-tanh-vector-trained", 3, "F"),
        ("convolution-4-tanh-scalar-trained-1", 2, "FCF"),
        ("forced-midpoint", 2, "F"),
    ],
)
def test_gradient_by_mgrit_has_taylor_rate_two(name, levels, relaxation):
    functional = functional_of(name, levels, relaxation=relaxation)
    taylor_test(functional, control_of(functional), exact=False).require()


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("name", registry.STRICT)
def test_strict_states_give_the_numbers_of_numpy_arrays(name, levels):
    results = []
    for one in (name, name.removeprefix("strict-")):
        functional = functional_of(one, levels)
        control = control_of(functional)
        results.append((functional.value(control), functional.derivative(control).vector))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-14)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("strict-predators", pint.ReducedSpace(iterations=3)),
        ("strict-predators-loop", pint.OneShot(2, iterations=3)),
        ("strict-predators-in-place", pint.Lagged(iterations=3)),
        ("strict-predators-in-place-loop", pint.Adaptive(iterations=3)),
    ],
)
def test_strict_states_are_optimised(name, method):
    functional = functional_of(name, levels=2)
    result = pint.minimize(functional, control_of(functional), method)
    assert result.iterations == 3
    assert result.objective < result.history[0].objective


@pytest.mark.parametrize("name", registry.STRICT)
def test_strict_states_with_c_points_alone(name):
    grid = pint.TimeGrid.uniform(1.0, 12, coarsening=3, levels=2)
    stored, whole = (
        pint.ReducedFunctional(registry.PROBLEMS[name](), grid, storage=storage)
        for storage in ("C", "all")
    )
    slopes = [one.derivative(control_of(one)).vector for one in (stored, whole)]
    np.testing.assert_allclose(*slopes, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in registry.NETWORKS if "relu" in name])
def test_no_pre_activation_is_so_near_a_kink_that_the_taylor_test_crosses_it(name):
    # The rate is that of the five smallest h; a pre-activation moves by h times its derivative,
    # which is below 10.
    # SmoothReLU has no kinks, but its curvature jumps at +-0.1.
    functional = functional_of(name, levels=1)
    control = control_of(functional)
    state = functional.state.new()
    functional.state.solve(state, control, March())
    z = functional.problem.stepper.affine.apply(state.points[:-1], control.time)
    kinks = (-0.1, 0.1) if "smooth" in name else (0.0,)
    report = taylor_test(functional, control)
    assert min(np.abs(z - kink).min() for kink in kinks) > 10 * report.h[-5]
