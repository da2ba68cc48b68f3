"""Problems at other times and controls than those of the problem that they are made of."""

import gc
from weakref import ref

import numpy as np
import pytest

import pint


class Growth(pint.TimeStepper):
    """y' = u y by Heun's method; one step a call, so that all arguments are single ones."""

    initial_state = np.array([1.2])

    def step(self, s, y, u, theta):
        z = s.dt * u["u"]
        return y * (1 + z + z**2 / 2)


class GrowthAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        z = s.dt * u["u"]
        return (1 + z + z**2 / 2) * lam, {"u": s.dt * y * (1 + z) * lam}, {}


class StepAlone(GrowthAdjoint):
    def step(self, s, y, u, theta, lam):
        z = s.dt * u["u"]
        return (1 + z + z**2 / 2) * lam


class GrowthTangent(pint.Tangent):
    def jvp(self, s, y, u, theta, dy, du, dtheta):
        z = s.dt * u["u"]
        return (1 + z + z**2 / 2) * dy + s.dt * y * (1 + z) * du["u"]


class Cost(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return float(s.dt * (u["u"] ** 2).sum())

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 0.0, {"u": 2 * s.dt * u["u"]}, {}

    def terminal(self, y, theta):
        return float(((y - 2) ** 2).sum())

    def terminal_derivative(self, y, theta):
        return 2 * (y - 2), {}


CHANGES = {
    "hats": lambda problem: pint.hat_functions(problem, "u", [0.0, 0.3, 1.0]),
    "free time": lambda problem: pint.free_final_time(problem, pint.FinalTime(0.1)),
}


def functional_of(change, adjoint=GrowthAdjoint):
    fields = {"u": pint.TimeControl(1)}
    problem = pint.Problem(Growth(), adjoint(), Cost(), fields, tangent=GrowthTangent())
    return pint.ReducedFunctional(CHANGES[change](problem), pint.TimeGrid.uniform(1.0, 8, 2, 2))


def point(functional):
    values = {name: 0.6 for name in functional.controls.shared_fields}
    if "T" in values:
        values = {"T": 1.3, "u": np.linspace(0.2, 0.8, 8)[:, None]}
    return functional.control(**values)


@pytest.mark.parametrize("change", CHANGES)
def test_second_derivatives_are_those_of_the_changed_steps(change):
    """A tangent of the problem itself knows nothing of the change."""
    functional = functional_of(change)
    control = point(functional)
    direction, step = 0.3 * control, 1e-4
    ahead, behind = (functional.gradient(control + way * direction) for way in (step, -step))
    expected = (ahead - behind).vector / (2 * step)
    found = functional.hessian_product(control, direction).vector
    np.testing.assert_allclose(found, expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_of_its_own_remains_one(change):
    """Where the adjoint has one, sweeps take it, and the derivative is the same."""
    one, other = functional_of(change), functional_of(change, StepAlone)
    assert other.calls.own_step and not one.calls.own_step
    found, expected = (each.derivative(point(each)).vector for each in (other, one))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_waits_for_the_search_for_cycles(change):
    gc.collect()
    gc.disable()
    try:
        functional = functional_of(change, StepAlone)
        functional.gradient(point(functional))
        left = [ref(functional.problem.adjoint), ref(functional.problem.stepper)]
        del functional
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()
