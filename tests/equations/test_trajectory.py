"""Trajectories know what they were solved for: each misuse ends in one clear line."""

from dataclasses import replace

import pytest
import registry
from solves import NEXT, ONE

import pint
from pint.equations import Lagged, March, Relax
from problems.peaks import generate
from problems.resnet import DenseNetwork


def made(levels=2, steps=12):
    grid = pint.TimeGrid.uniform(1.0, steps, 3, levels)
    rf = pint.ReducedFunctional(registry.PROBLEMS["pendulum-running"](), grid)
    return rf, rf.control(u=0.3, theta=0.2), rf.state.new(), rf.adjoint.new()


def solved(**options):
    rf, control, state, adjoint = made(**options)
    rf.state.solve(state, control, ONE)
    rf.adjoint.solve(adjoint, state, ONE)
    return rf, control, state, adjoint


def test_the_state_moved_after_the_adjoint_solve():
    rf, control, state, adjoint = solved()
    rf.derivative_of(state, adjoint)
    for how in (ONE, NEXT, Relax(), Lagged(), March()):
        rf.state.solve(state, 0.5 * control, how)
        with pytest.raises(ValueError, match="the state has been solved again since"):
            rf.derivative_of(state, adjoint)
        with pytest.raises(ValueError, match="the state has been solved again since"):
            rf.adjoint.solve(adjoint, state, NEXT)  # F-points of another state
        rf.adjoint.solve(adjoint, state, ONE)
        rf.derivative_of(state, adjoint)


def test_an_adjoint_of_another_state_or_of_none():
    rf, control, state, adjoint = solved()
    other = rf.state.new()
    rf.state.solve(other, control, ONE)
    with pytest.raises(ValueError, match="solved for another state"):
        rf.derivative_of(other, adjoint)
    with pytest.raises(ValueError, match="adjoint has not been solved"):
        rf.derivative_of(state, rf.adjoint.new())
    adjoint.forget()
    with pytest.raises(ValueError, match="adjoint has not been solved"):
        rf.derivative_of(state, adjoint)


def test_a_state_that_has_not_been_solved():
    rf, control, state, adjoint = made()
    for use in (
        rf.objective,
        lambda state: rf.adjoint.solve(adjoint, state, ONE),
        lambda state: rf.state.correction(state, adjoint),
    ):
        with pytest.raises(ValueError, match="state has not been solved"):
            use(state)
    for how in (NEXT, Relax()):
        with pytest.raises(ValueError, match="no C-points to relax from"):
            rf.state.solve(state, control, how)


def test_trajectories_of_another_functional():
    rf, control, state, adjoint = solved()
    _, _, others_state, others_adjoint = solved()
    for use in (
        lambda: rf.objective(others_state),
        lambda: rf.states(others_state),
        lambda: rf.state.solve(others_state, control, ONE),
        lambda: rf.adjoint.solve(adjoint, others_state, ONE),
        lambda: rf.derivative_of(others_state, adjoint),
    ):
        with pytest.raises(ValueError, match="the state belongs to another functional"):
            use()
    for use in (
        lambda: rf.adjoint.solve(others_adjoint, state, ONE),
        lambda: rf.derivative_of(state, others_adjoint),
    ):
        with pytest.raises(ValueError, match="the adjoint belongs to another functional"):
            use()


def test_arguments_of_another_kind():
    rf, control, state, adjoint = solved()
    with pytest.raises(TypeError, match="state must come from"):
        rf.objective(control)
    with pytest.raises(TypeError, match="adjoint must come from"):
        rf.derivative_of(adjoint, state)
    with pytest.raises(TypeError, match=r"`solve\(how=...\)` is .* got Accuracy"):
        rf.state.solve(state, control, pint.Accuracy(3))
    with pytest.raises(ValueError, match=r"`pint.prolong\(control, functional.controls\)`"):
        rf.state.solve(state, made(steps=24)[1], ONE)
    rf, control, state, _ = made(levels=1)
    with pytest.raises(ValueError, match="at least 2 levels"):
        rf.state.solve(state, control, Lagged())


def test_trajectories_of_other_examples():
    network, data = DenseNetwork(2, 3, 5), generate(12, seed=0)
    problem = network.problem(*data, batch_size=4)
    rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 8, 2, 2))
    control = network.random_control(rf.controls, seed=0)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    rf.state.solve(state, control, ONE)
    rf.adjoint.solve(adjoint, state, ONE)
    rf.select([4, 5, 6, 7])
    for use in (
        lambda: rf.objective(state),
        lambda: rf.adjoint.solve(adjoint, state, ONE),
        lambda: rf.derivative_of(state, adjoint),
    ):
        with pytest.raises(ValueError, match="solved for other examples"):
            use()
    rf.state.solve(state, control, ONE)
    rf.objective(state)
    with pytest.raises(ValueError, match="solved again since"):
        rf.derivative_of(state, adjoint)


def test_a_failed_solve_leaves_no_solution():
    rf, control, state, adjoint = solved()

    class Failing(type(rf.problem.stepper)):
        fails = False

        def step(self, s, y, u, theta):
            if self.fails:
                raise RuntimeError("planted")
            return super().step(s, y, u, theta)

    stepper = Failing()
    rf = pint.ReducedFunctional(replace(rf.problem, stepper=stepper), rf.grid)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    rf.state.solve(state, control, ONE)
    rf.adjoint.solve(adjoint, state, ONE)
    stepper.fails = True
    with pytest.raises(RuntimeError, match="planted"):
        rf.state.solve(state, control, ONE)
    with pytest.raises(ValueError, match="state has not been solved"):
        rf.objective(state)
    with pytest.raises(ValueError, match=r"not been solved|solved again"):
        rf.derivative_of(state, adjoint)
