"""Every stepper, adjoint, objective and problem of the registry keeps its contracts."""

import numpy as np
import pytest
import registry

import pint
from pint.verify import adjoint_dot_test, stepper_test, taylor_test

SEED = 1
"""For which no pre-activation of the ReLU networks lies near a kink, see the last test."""


def grid_of(levels):
    # Unequal steps, and a number of them that the coarsening factors do not divide.
    return pint.TimeGrid(
        2.0 * np.linspace(0, 1, 12) ** 1.1, coarsening=[2, 3][: levels - 1], levels=levels
    )


@pytest.fixture(params=[1, 2, 3], ids=lambda levels: f"{levels}-levels")
def grid(request):
    return grid_of(request.param)


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_methods_are_pure_finite_and_batched_like_a_loop(name, grid):
    problem = registry.PROBLEMS[name](grid)
    stepper_test(problem, registry.random_control(problem.controls)).require()


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_every_derivative_is_the_transpose_on_every_level(name, grid):
    problem = registry.PROBLEMS[name](grid)
    report = adjoint_dot_test(problem, registry.random_control(problem.controls))
    report.require()
    # The exact comparison, not the one by differences, served for all but the regularisers.
    exact = [check for check in report.checks if "value" not in check.claim]
    assert not any(check.by_differences for check in exact)


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_gradient_has_taylor_rate_two(name):
    problem = registry.PROBLEMS[name](grid_of(levels=1))
    control = registry.random_control(problem.controls, seed=SEED)
    taylor_test(pint.ReducedFunctional(problem), control).require()


@pytest.mark.parametrize(
    "name", ["pendulum-running", "dense-tanh-vector-trained", "convolution-4-tanh-scalar-trained-1"]
)
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_gradient_by_mgrit_has_taylor_rate_two(name, levels, relaxation):
    problem = registry.PROBLEMS[name](grid_of(levels))
    functional = pint.ReducedFunctional(problem, relaxation=relaxation)
    taylor_test(functional, registry.random_control(problem.controls), exact=False).require()


@pytest.mark.parametrize("name", [name for name in registry.NETWORKS if "relu" in name])
def test_no_pre_activation_is_so_near_a_kink_that_the_taylor_test_crosses_it(name):
    # The rate is that of the five smallest h; a pre-activation moves by h times its derivative,
    # which is below 10.
    # SmoothReLU has no kinks, but its curvature jumps at +-0.1.
    problem = registry.PROBLEMS[name](grid_of(levels=1))
    control = registry.random_control(problem.controls, seed=SEED)
    functional = pint.ReducedFunctional(problem)
    state = functional.new_state()
    functional.propagate(state, control)
    z = problem.stepper.affine.apply(state.trajectory[:-1], control.time)
    kinks = (-0.1, 0.1) if "smooth" in name else (0.0,)
    report = taylor_test(functional, control)
    assert min(np.abs(z - kink).min() for kink in kinks) > 10 * report.h[-5]
