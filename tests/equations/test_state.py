"""The state equation: the way to a user's step, what a solve starts from, and what it leaves."""

import sys
from itertools import groupby

import numpy as np
import pytest
import registry

import pint
from pint.equations import Cycles, Lagged, March, StateEquation

TWO = Cycles(pint.Accuracy(2))


class Deep(registry.Pendulum):
    """Notes the packages on the way from `StateEquation.solve` to the step, both included."""

    def __init__(self, batched):
        super().__init__(batched)
        self.ways = []

    def step(self, s, y, u, theta):
        frame, way = sys._getframe(), []
        while frame.f_code is not StateEquation.solve.__code__:
            way.append(frame.f_globals["__name__"])
            frame = frame.f_back
        self.ways.append([name.rpartition(".")[0] for name in (*way, "pint.equations.state")])
        return super().step(s, y, u, theta)


@pytest.mark.parametrize(("batched", "most"), [(True, 9), (False, 10)])
@pytest.mark.parametrize("how", [TWO, Lagged(), March()], ids=str)
def test_a_solve_walks_down_to_a_step_in_few_frames(how, batched, most):
    """Equation, engine, the door to the user's code, step: no way leads back up."""
    stepper = Deep(batched)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    parts = registry.PendulumAdjoint(stepper), registry.TerminalCost()
    problem = pint.Problem(stepper, *parts, fields)
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 12, 3, 2), guess="constant")
    for _ in range(2):  # the first calls of a method are looked at more closely
        stepper.ways.clear()
        rf.state.solve(rf.state.new(), rf.control(u=0.3, theta=0.5), how)
    assert stepper.ways
    for own, *way in stepper.ways:
        assert own == Deep.__module__.rpartition(".")[0]
        assert [name for name, _ in groupby(way)] == [
            "pint.equations.calls",
            "pint.equations",
            "pint.mgrit",
            "pint.equations",
        ]
        assert 1 + len(way) <= most


def made(levels=3, name="pendulum-running"):
    grid = pint.TimeGrid.uniform(2.0, 24, [3, 2][: levels - 1], levels)
    rf = pint.ReducedFunctional(registry.PROBLEMS[name](), grid)
    return rf, registry.random_control(rf.controls, seed=1)


def test_a_copied_guess_starts_where_its_source_is():
    rf, control = made()
    whole, source, target = (rf.state.new() for _ in range(3))
    rf.state.solve(whole, control, Cycles(pint.Accuracy(4)))
    rf.state.solve(source, control, TWO)
    rf.state.copy_guess(source, target)
    rf.state.solve(target, control, TWO)
    np.testing.assert_array_equal(target.points, whole.points)
    assert source.convergence.residuals + target.convergence.residuals == (
        whole.convergence.residuals
    )


def test_a_copied_guess_is_no_solution():
    rf, control = made()
    source, target = rf.state.new(), rf.state.new()
    rf.state.solve(source, control, TWO)
    rf.state.copy_guess(source, target)
    with pytest.raises(ValueError, match="state has not been solved"):
        rf.objective(target)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("name", ["pendulum-running", "forced-midpoint"])
def test_a_forgotten_state_begins_anew(name, levels):
    """The guesses of an iterative step, too: those of the older solution are not used."""
    rf, control = made(levels, name)
    state, other = rf.state.new(), rf.state.new()
    rf.state.solve(state, 0.5 * control, TWO)
    state.forget()
    for one in (state, other):
        rf.state.solve(one, control, TWO)
    np.testing.assert_array_equal(state.points, other.points)


def test_the_initial_state_is_that_of_each_control():
    rf, control = made()
    state = rf.state.new()
    for factor in (1.0, 0.5):
        rf.state.solve(state, factor * control, TWO)
        expected = rf.problem.stepper.initial((factor * control).shared)
        np.testing.assert_array_equal(state.points[0], expected)
