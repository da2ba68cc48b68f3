"""The one door to the user's code: what steps are given one by one and in batches, and where."""

import numpy as np
import pytest
import registry
from random_configurations import cubic

import pint
from pint.equations import Calls, Cycles, March

GRID = pint.TimeGrid(np.linspace(0.0, 1.5, 13) ** 1.2, coarsening=3, levels=2)


def calls_of(name):
    return Calls(registry.PROBLEMS[name](), GRID)


def blocks(count, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((count, 2)), {"u": random.standard_normal((count, 2))}


THETA = {"theta": np.array([0.7, -0.2])}
STARTS = range(1, 12, 3)


@pytest.mark.parametrize("name", ["pendulum-running", "swift-arrival", "dahlquist-trapezoid"])
def test_a_batch_is_its_steps_one_by_one(name):
    """Results, derivatives and what is kept, of steppers that differ in `batched` alone."""
    name, objective = name.removesuffix("-running"), "running"
    name = name.removesuffix("-arrival")
    problems = [registry.small_problem(one, objective) for one in (name, f"{name}-loop")]
    found = []
    for problem in problems:
        calls, (y, u), (lam, _) = Calls(problem, GRID), blocks(4), blocks(4, 1)
        kept = np.zeros((4, *(problem.stepper.kept_shape or (1,))))
        new, dy, du, dtheta = np.empty((4, 2)), np.empty((4, 2)), np.zeros((4, 2)), np.zeros(2)
        calls.step(0, STARTS, u, THETA, y, new, kept)
        into = {"u": du}, {"theta": dtheta}
        calls.vjp(0, STARTS, u, THETA, y, lam, dy, kept, into=into)
        alone = np.empty((4, 2))
        calls.vjp(0, STARTS, u, THETA, y, lam, alone)  # by `step`, where there is one
        np.testing.assert_allclose(alone, dy, rtol=0, atol=1e-14)
        found.append((new, dy, du, dtheta, kept))
    for ours, other in zip(*found, strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-14)


class Spy(registry.Swift):
    """Notes the arguments of each step."""

    def __init__(self, batched):
        super().__init__(batched)
        self.seen = []

    def step(self, s, y, u, theta, out=None):
        self.seen.append((s, y, u, out))
        return super().step(s, y, u, theta, out)


def spying(batched):
    stepper = Spy(batched)
    parts = registry.SwiftAdjoint(stepper), registry.TerminalCost()
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    return Calls(pint.Problem(stepper, *parts, fields), GRID), stepper.seen


@pytest.mark.parametrize("level", [0, 1])
def test_one_call_makes_a_batch_with_arguments_by_row(level):
    calls, seen = spying(batched=True)
    (y, u), out, kept = blocks(4), np.empty((4, 2)), np.empty((4, 2))
    starts = range(0, 12, 3)
    calls.step(level, starts, u, THETA, y, out, kept)
    ((s, seen_y, seen_u, seen_out),) = seen
    assert seen_y is y and seen_out is out and seen_u["u"] is u["u"] and s.kept is kept
    assert s.level == level
    np.testing.assert_array_equal(s.index, starts)
    ends = np.array(starts) + GRID.strides[level]
    np.testing.assert_array_equal(s.t1, GRID.t[ends][:, None])
    np.testing.assert_array_equal(s.t0, GRID.t[starts][:, None])


@pytest.mark.parametrize("batched", [True, False])
def test_steps_made_one_by_one_write_where_the_results_belong(batched):
    """A step of a march gets views of the rows; batched steppers get batches of one step."""
    calls, seen = spying(batched)
    (_, u), out, kept = blocks(5), np.empty((5, 2)), np.empty((5, 2))
    start = np.ones((1, 2))
    calls.march(0, range(2, 7), u, THETA, start, out, None, kept)
    assert len(seen) == 5
    shape = (1, 2) if batched else (2,)
    for row, (s, y, blocks_of, into) in enumerate(seen):
        assert y.shape == blocks_of["u"].shape == into.shape == s.kept.shape == shape
        before = start if row == 0 else out[row - 1]
        assert np.shares_memory(y, before) and np.shares_memory(into, out[row])
        assert np.shares_memory(s.kept, kept[row])
        np.testing.assert_array_equal(blocks_of["u"].ravel(), u["u"][row])
        assert (s.index, s.t0, s.t1) == (row + 2, GRID.t[row + 2], GRID.t[row + 3])
        assert isinstance(s.t0, np.ndarray if batched else float)


@pytest.mark.parametrize("name", ["swift-arrival", "swift-loop-effort", "pendulum-loop-running"])
def test_the_last_result_alone_needs_two_states(name):
    """The march writes to and fro; the derivative is that of a march which stores all results."""
    calls, (y, u) = calls_of(name), blocks(5)
    start, rhs = np.ones((1, 2)), np.random.default_rng(2).standard_normal((5, 2))
    whole, last = np.empty((5, 2)), np.empty((1, 2))
    calls.march(0, range(5), u, THETA, start, whole, rhs)
    calls.march(0, range(5), u, THETA, start, last, rhs)
    np.testing.assert_array_equal(last, whole[-1:])
    slopes = []
    for out in (whole, last):
        du, dtheta = np.zeros((5, 2)), np.zeros(2)
        into = {"u": du}, {"theta": dtheta}
        calls.march_back(0, range(5), u, THETA, y, start, out, rhs, into=into)
        slopes.append(np.concatenate([du.ravel(), dtheta]))
    np.testing.assert_array_equal(last, whole[:1])
    np.testing.assert_array_equal(*slopes)


@pytest.mark.parametrize("name", ["swift-arrival", "swift-loop-effort", "strict-predators-loop"])
def test_times_are_looked_up_piece_by_piece(name, monkeypatch):
    """A piece takes its part of the rows and of what is kept, and nothing of the next one."""

    def gradient():
        rf = pint.ReducedFunctional(registry.PROBLEMS[name](), GRID)
        control = registry.random_control(rf.controls, seed=1)
        state, adjoint, found = rf.state.new(), rf.adjoint.new(), []
        for how in (March(), Cycles(pint.Accuracy(1))):
            rf.state.solve(state, control, how)
            rf.adjoint.solve(adjoint, state, how)
            found.append(rf.derivative_of(state, adjoint).vector)
        return np.concatenate(found)

    expected = gradient()
    for piece in (1, 4, 5):
        monkeypatch.setattr("pint.equations.calls.arguments.STEPS_AT_ONCE", piece)
        np.testing.assert_allclose(gradient(), expected, rtol=1e-13, atol=1e-14)


def test_a_guess_is_handed_on_if_it_is_read_and_finite():
    calls, seen = spying(batched=True)
    (y, u), (near, _) = blocks(4), blocks(4, 1)
    calls.step(0, STARTS, u, THETA, y, np.empty((4, 2)), guess=near)
    type(calls.steppers[0]).uses_guess = True
    try:
        calls.step(0, STARTS, u, THETA, y, np.empty((4, 2)), guess=near)
        near[2, 1] = np.inf
        calls.step(0, STARTS, u, THETA, y, np.empty((4, 2)), guess=near)
    finally:
        del type(calls.steppers[0]).uses_guess
    assert [s.guess is None for s, *_ in seen] == [True, False, True]


def test_batches_need_a_space_that_allows_for_them():
    class Single(pint.ArraySpace):
        batches = False

    class Fast(registry.Pendulum):
        space = Single(2)

    stepper = Fast(batched=True)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(
        stepper, registry.PendulumAdjoint(stepper), registry.TerminalCost(), fields
    )
    with pytest.raises(ValueError, match=r"`Fast.batched` must be False .* Single, which lends"):
        Calls(problem, GRID)


def test_fields_of_one_number_have_derivatives_of_single_steps():
    gradients = []
    for batched in (True, False):
        functional = pint.ReducedFunctional(cubic(batched, {}), GRID)
        control = registry.random_control(functional.controls, seed=4)
        assert pint.verify.taylor_test(functional, control).passed
        gradients.append(functional.gradient(control).vector)
    assert abs(gradients[0]).min() > 0
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=1e-14)
