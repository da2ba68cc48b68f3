"""What the solver runs: state and adjoint steps of each level, against plain calls one by one."""

import numpy as np
import pytest
from registry import STEPPERS, random_control, small_problem

import pint
from pint.equations import Calls, March
from pint.equations.sweeps import Sweep


@pytest.fixture(params=STEPPERS)
def solved(request):
    """Return a functional on three levels that do not divide, a control and its exact states."""
    times = np.cumsum([0.0, *np.random.default_rng(0).uniform(0.05, 0.2, 17)])
    grid = pint.TimeGrid(times, (3, 2), 3)
    rf = pint.ReducedFunctional(small_problem(request.param, "terminal", restrict="mean"), grid)
    control = random_control(rf.controls)
    state = rf.state.new()
    rf.state.solve(state, control, March())
    return rf, control, state


def sweep_of(rf, control, state=None):
    u = rf.controls.restrict(control, reverse=state is not None)
    return Sweep(rf.calls, control, u, at=state)


def one_step(rf, method, level, start, control, *states):
    """Call a user's method for one step that begins at the finest point `start`."""
    grid, stride = rf.grid, rf.grid.strides[level]
    dt = np.diff(grid.t)[start : start + stride]
    u = {"u": dt @ control["u"][start : start + stride] / dt.sum()}  # the mean over the step
    s = grid.single(level, start)
    if rf.problem.stepper.batched:
        s = grid.batch(level, range(start, start + 1), 1)
        u, states = {"u": u["u"][None]}, [state[None] for state in states]
    result = method(s, states[0], u, control.shared, *states[1:])
    result = result[0] if isinstance(result, tuple) else result  # of `vjp`
    return result[0] if rf.problem.stepper.batched else result


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2])
def test_state_steps(solved, level, every):
    """Step k of level l begins at point k stride, with the control of the interval it covers."""
    rf, control, _ = solved
    stride = rf.grid.strides[level]
    steps = range(every - 1, rf.grid.steps // stride, every)
    y = np.random.default_rng(1).standard_normal((len(steps), 2))
    new, before = np.empty_like(y), y.copy()
    sweep_of(rf, control).apply(level, steps, y, new)
    np.testing.assert_array_equal(y, before)
    for j, k in enumerate(steps):
        expected = one_step(rf, rf.problem.stepper.step, level, k * stride, control, y[j])
        np.testing.assert_allclose(new[j], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("every", [1, 2])
def test_adjoint_steps(solved, level, every):
    """Reversed step k is the transpose of the step that begins at point N - (k + 1) stride,

    linearised at the finest state there. Blocks ascend in time: the last step comes first.
    """
    rf, control, state = solved
    stride = rf.grid.strides[level]
    steps = range(every - 1, rf.grid.steps // stride, every)
    lam = np.random.default_rng(1).standard_normal((len(steps), 2))
    new, before, points = np.empty_like(lam), lam.copy(), state.points.copy()
    sweep_of(rf, control, state).apply(level, steps, lam, new)
    np.testing.assert_array_equal(lam, before)
    np.testing.assert_array_equal(state.points, points)
    for j, k in enumerate(reversed(steps)):
        start = rf.grid.steps - (k + 1) * stride
        arguments = (level, start, control, state.points[start], lam[j])
        expected = one_step(rf, rf.problem.adjoint.vjp, *arguments)
        np.testing.assert_allclose(new[j], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("level", [0, 1])
def test_a_march_is_its_steps_one_by_one(solved, level, reverse):
    """With a right-hand side; all results, or the last one alone."""
    rf, control, state = solved
    sweep = sweep_of(rf, control, state if reverse else None)
    random, steps = np.random.default_rng(1), range(1, 4)
    start, rhs = random.standard_normal((1, 2)), random.standard_normal((3, 2))
    expected, y = np.empty((3, 2)), start
    for k in steps:
        row = len(steps) - k if reverse else k - 1
        new = expected[row : row + 1]
        sweep.apply(level, range(k, k + 1), y, new)
        new += rhs[row]
        y = new
    for out in (np.empty((3, 2)), np.empty((1, 2))):
        sweep.march(level, steps, start, out, rhs)
        wanted = expected if len(out) == 3 else expected[:1] if reverse else expected[-1:]
        np.testing.assert_allclose(out, wanted, rtol=1e-14, atol=1e-14)


def test_coarser_levels_use_the_coarsened_parts(solved):
    """`coarsen(level)` may return another stepper; it is the one that takes the coarse steps."""
    rf, control, _ = solved
    problem = rf.problem

    class Marked(type(problem.stepper)):
        mark, in_place = 0.0, False

        def coarsen(self, level):
            other = Marked.__new__(Marked)
            other.__dict__.update(self.__dict__, mark=float(level))
            return other

        def step(self, s, y, u, theta):
            return 0.0 * y + self.mark

    stepper = Marked.__new__(Marked)
    stepper.__dict__.update(problem.stepper.__dict__)
    marked = pint.Problem(stepper, problem.adjoint, problem.objective, problem.controls)
    sweep = Sweep(Calls(marked, rf.grid), control, rf.controls.restrict(control))
    for level in range(3):
        new = np.empty((2, 2))
        sweep.apply(level, range(2), np.ones((2, 2)), new)
        assert (new == level).all()
