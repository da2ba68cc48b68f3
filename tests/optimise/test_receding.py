"""The same problem from another state, and shifted solutions."""

import pickle

import numpy as np
import pytest
import registry
from ode_cases import forced_symbolic

import pint
import pint.equations


def test_another_initial_state():
    problem = forced_symbolic().problem("rk4")
    state = np.array([0.3, -0.2])
    other = pint.starting_at(problem, state)
    grid = pint.TimeGrid.uniform(0.5, 10, coarsening=5, levels=2)
    functional = pint.ReducedFunctional(other, grid)
    control = registry.random_control(functional.controls)
    found = functional.state.new()
    functional.state.solve(found, control, pint.equations.March())
    np.testing.assert_array_equal(found.points[0], state)
    assert not np.array_equal(problem.stepper.initial(control.shared), state)
    again = pint.ReducedFunctional(pickle.loads(pickle.dumps(other)), grid)
    assert again.value(registry.random_control(again.controls)) == functional.value(control)
    pint.verify.check_problem(other, grid).require()


@pytest.mark.parametrize("state", [np.zeros(3), [np.nan, 0.0], "zero"])
def test_a_wrong_state_is_refused(state):
    with pytest.raises((TypeError, ValueError), match=r"starting_at\(state"):
        pint.starting_at(forced_symbolic().problem("rk4"), state)


def test_a_shift_repeats_the_last_block():
    problem = forced_symbolic().problem("rk4")
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 6))
    start = registry.random_control(functional.controls)
    result = pint.minimize(functional, start, pint.ReducedSpace(iterations=0))
    control, states = result.shift(2)
    for name, values in start.time.items():
        np.testing.assert_array_equal(control[name][:4], values[2:])
        np.testing.assert_array_equal(control[name][4:], values[[-1, -1]])
    for name, values in start.shared.items():
        np.testing.assert_array_equal(control[name], values)
    np.testing.assert_array_equal(states[:5], result.states()[2:])
    np.testing.assert_array_equal(states[5:], result.states()[[-1, -1]])
    with pytest.raises(ValueError, match="at most 6"):
        result.shift(7)
