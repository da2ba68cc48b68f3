"""What the solver runs: state and adjoint steps of each level, against plain calls one by one."""

import numpy as np
import pytest
from registry import STEPPERS, random_control, small_problem

import pint
from pint.equations.sweeps import AdjointSweep, StateSweep


@pytest.fixture(params=STEPPERS)
def solved(request):
    """Return a problem on three levels that do not divide, a control and its exact states."""
    times = np.cumsum([0.0, *np.random.default_rng(0).uniform(0.05, 0.2, 17)])
    grid = pint.TimeGrid(times, (3, 2), 3)
    problem = small_problem(grid, request.param, "terminal", restrict="mean")
    control = random_control(problem.controls)
    rf = pint.ReducedFunctional(problem)
    state = rf.new_state()
    rf.propagate(state, control)
    return problem, control, state.trajectory


def one_step(problem, method, level, start, control, *states):
    """Call a user's method for one step that begins at the finest point `start`."""
    grid, stride = problem.grid, problem.grid.strides[level]
    dt = np.diff(grid.t)[start : start + stride]
    u = {"u": dt @ control["u"][start : start + stride] / dt.sum()}  # the mean over the step
    s = grid.single(level, start)
    if problem.stepper.batched:
        s = grid.batch(level, range(start, start + 1), 1)
        u, states = {"u": u["u"][None]}, [state[None] for state in states]
        return method(s, states[0], u, control.shared, *states[1:])[0]
    return method(s, states[0], u, control.shared, *states[1:])


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2])
def test_state_steps(solved, level, every):
    """Step k of level l begins at point k stride, with the control of the interval it covers."""
    problem, control, _ = solved
    stride = problem.grid.strides[level]
    steps = range(every - 1, problem.grid.steps // stride, every)
    y = np.random.default_rng(1).standard_normal((len(steps), 2))
    new = np.empty_like(y)
    StateSweep(problem, control).apply(level, steps, y, new)
    for j, k in enumerate(steps):
        expected = one_step(problem, problem.stepper.step, level, k * stride, control, y[j])
        np.testing.assert_allclose(new[j], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2])
def test_adjoint_steps(solved, level, every):
    """Reversed step k is the transpose of the step that begins at point N - (k + 1) stride,

    linearised at the finest state there.
    """
    problem, control, trajectory = solved
    stride = problem.grid.strides[level]
    steps = range(every - 1, problem.grid.steps // stride, every)
    lam = np.random.default_rng(1).standard_normal((len(steps), 2))
    new = np.empty_like(lam)
    AdjointSweep(problem, control, trajectory).apply(level, steps, lam, new)
    for j, k in enumerate(steps):
        start = problem.grid.steps - (k + 1) * stride
        arguments = (level, start, control, trajectory[start], lam[j])
        expected = one_step(problem, problem.adjoint.step, *arguments)
        np.testing.assert_allclose(new[j], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("sweep", ["state", "adjoint"])
def test_states_are_not_changed(solved, sweep):
    problem, control, trajectory = solved
    propagator = (
        StateSweep(problem, control)
        if sweep == "state"
        else AdjointSweep(problem, control, trajectory)
    )
    states = np.random.default_rng(1).standard_normal((5, 2))
    before, kept = states.copy(), trajectory.copy()
    propagator.apply(1, range(5), states, np.empty_like(states))
    np.testing.assert_array_equal(states, before)
    np.testing.assert_array_equal(trajectory, kept)


def test_coarser_levels_use_the_coarsened_parts(solved):
    """`coarsen(level)` may return another stepper; it is the one that takes the coarse steps."""
    problem, control, _ = solved

    class Marked(type(problem.stepper)):
        mark = 0.0

        def coarsen(self, level):
            other = Marked.__new__(Marked)
            other.__dict__.update(self.__dict__, mark=float(level))
            return other

        def step(self, s, y, u, theta, *, guess=None):
            return 0.0 * y + self.mark

    stepper = Marked.__new__(Marked)
    stepper.__dict__.update(problem.stepper.__dict__)
    marked = pint.Problem(
        problem.grid, stepper, problem.adjoint, problem.objective, problem.controls
    )
    for level in range(3):
        new = np.empty((2, 2))
        StateSweep(marked, control).apply(level, range(2), np.ones((2, 2)), new)
        assert (new == level).all()
