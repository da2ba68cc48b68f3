"""Steppers of the user's that make runs of steps themselves."""

import numpy as np
import pytest
import registry

import pint
from pint.verify import check_problem, stepper_test


class Marching(registry.Pendulum):
    """The pendulum's steps, many in one call."""

    fails = False

    def advance(self, s, start, u, theta, out, rhs=None):
        if self.fails:
            raise pint.NumericalError("beyond the model")
        t0, t1 = s.t0, s.t1
        for run in range(s.count):
            y = start[run : run + 1]
            for row in range(run * s.apart, run * s.apart + s.length):
                one = pint.Steps(
                    s.index[row : row + 1], t0[row : row + 1, None], t1[row, None, None]
                )
                here = slice(row, row + 1)
                y = self.step(one, y, {"u": u["u"][here]}, theta)
                y = y if rhs is None else y + rhs[here]
                out[here if len(out) > 1 else slice(0, 1)] = y


class MarchingAdjoint(registry.PendulumAdjoint):
    def advance(self, s, y, u, theta, start, out, rhs=None, into=None):
        t0, t1 = s.t0, s.t1
        for run in range(s.count):
            lam = start[run : run + 1]
            for row in reversed(range(run * s.apart, run * s.apart + s.length)):
                one = pint.Steps(
                    s.index[row : row + 1], t0[row : row + 1, None], t1[row, None, None]
                )
                here = slice(row, row + 1)
                lam, du, dtheta = self.vjp(one, y[here], {"u": u["u"][here]}, theta, lam)
                lam = lam if rhs is None else lam + rhs[here]
                out[here if len(out) > 1 else slice(0, 1)] = lam
                if into is not None:
                    into[0]["u"][here] += du["u"]
                    into[1]["theta"][...] += dtheta["theta"]


def functional(stepper, adjoint, grid, **options):
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    problem = pint.Problem(stepper, adjoint(stepper), registry.RunningCost(), fields)
    return pint.ReducedFunctional(problem, grid, **options)


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
@pytest.mark.parametrize(("steps", "levels"), [(12, 1), (12, 2), (17, 3), (26, 2)])
def test_runs_give_the_numbers_of_steps(steps, levels, relaxation):
    times = 2.0 * np.linspace(0, 1, steps + 1) ** 1.1
    grid = pint.TimeGrid(times, coarsening=3, levels=levels)
    options = {"relaxation": relaxation if levels > 1 else "F"}
    one = functional(Marching(), MarchingAdjoint, grid, **options)
    other = functional(registry.Pendulum(), registry.PendulumAdjoint, grid, **options)
    control = registry.random_control(one.controls)
    found, expected = (
        one.derivative(control),
        other.derivative(registry.random_control(other.controls)),
    )
    np.testing.assert_allclose(found.vector, expected.vector, rtol=1e-11, atol=1e-13)
    assert one.state.solver.steps_evaluated == other.state.solver.steps_evaluated
    assert one.adjoint.solver.steps_evaluated == other.adjoint.solver.steps_evaluated


def test_a_run_that_fails_is_nan():
    grid = pint.TimeGrid.uniform(2.0, 12, coarsening=3, levels=2)
    failing = functional(Marching(), MarchingAdjoint, grid)
    failing.problem.stepper.fails = True
    with pytest.raises(pint.NotFiniteError, match=r"`Marching\.advance` raised NumericalError"):
        failing.value(failing.controls.zeros())


class FailingBack(MarchingAdjoint):
    def advance(self, s, y, u, theta, start, out, rhs=None, into=None):
        if into is not None:
            raise pint.NumericalError("beyond the model")
        super().advance(s, y, u, theta, start, out, rhs, into)


def test_a_derivative_that_fails_is_no_number():
    failing = functional(Marching(), FailingBack, pint.TimeGrid.uniform(2.0, 12))
    with pytest.raises(pint.NotFiniteError, match=r"`FailingBack\.advance` raised NumericalError"):
        failing.gradient(failing.controls.zeros())


class FailingSlopes(registry.RunningCost):
    def add_step_cost_derivative(self, s, y0, y1, u, theta, scale, dy0, dy1, into):
        raise pint.NumericalError("no slope here")


def test_a_slope_that_fails_is_no_number():
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    stepper = registry.Pendulum()
    problem = pint.Problem(stepper, registry.PendulumAdjoint(stepper), FailingSlopes(), fields)
    failing = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(2.0, 12))
    words = r"`FailingSlopes\.add_step_cost_derivative` raised NumericalError"
    with pytest.raises(pint.NotFiniteError, match=words):
        failing.gradient(failing.controls.zeros())


# What `check_problem` says about them


def problem_of(stepper=Marching, adjoint=MarchingAdjoint):
    return functional(stepper(), adjoint, GRID).problem


GRID = pint.TimeGrid(2.0 * np.linspace(0, 1, 13) ** 1.1, coarsening=3, levels=2)


def test_right_runs_are_checked_on_every_level():
    report = check_problem(problem_of(), GRID)
    report.require()
    found = {(check.method, check.level) for check in report.checks}
    expected = {(f"{name}.advance", level) for name in PARTS for level in (0, 1)}
    assert expected <= found


PARTS = ("Marching", "MarchingAdjoint")


class WithoutRightHandSide(Marching):
    def advance(self, s, start, u, theta, out, rhs=None):
        super().advance(s, start, u, theta, out)


class OverTheGap(Marching):
    def advance(self, s, start, u, theta, out, rhs=None):
        if len(out) > 1:
            out[...] = 0.0
        super().advance(s, start, u, theta, out, rhs)


class OneStepTooFar(Marching):
    def advance(self, s, start, u, theta, out, rhs=None):
        super().advance(s, start, u, theta, out, rhs)
        out[0] = out[-1]


class ForgetsTheta(MarchingAdjoint):
    def advance(self, s, y, u, theta, start, out, rhs=None, into=None):
        places = None if into is None else (into[0], {"theta": np.zeros(2)})
        super().advance(s, y, u, theta, start, out, rhs, places)


class Overwrites(MarchingAdjoint):
    def advance(self, s, y, u, theta, start, out, rhs=None, into=None):
        if into is not None:
            into[0]["u"][...] = 0.0
        super().advance(s, y, u, theta, start, out, rhs, into)


class Fails(MarchingAdjoint):
    def advance(self, s, y, u, theta, start, out, rhs=None, into=None):
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("stepper", "adjoint", "claim"),
    [
        (WithoutRightHandSide, MarchingAdjoint, "makes the steps of `step`"),
        (OverTheGap, MarchingAdjoint, "leaves rows outside of its runs as they are"),
        (OneStepTooFar, MarchingAdjoint, "makes the steps of `step`"),
        (Marching, ForgetsTheta, "makes the transposes of `vjp`"),
        (Marching, Overwrites, "makes the transposes of `vjp`"),
        (Marching, Fails, "returns without an error"),
    ],
)
def test_wrong_runs_are_reported(stepper, adjoint, claim):
    problem = problem_of(stepper, adjoint)
    report = stepper_test(problem, registry.random_control(problem.control_space(GRID)))
    wrong = stepper if stepper is not Marching else adjoint
    failed = {(check.method, check.claim) for check in report.checks if not check.passed}
    assert (f"{wrong.__name__}.advance", claim) in failed


class WrongSlope(registry.RunningCost):
    def add_step_cost_derivative(self, s, y0, y1, u, theta, scale, dy0, dy1, into):
        of_y0, of_y1, du, _ = self.step_cost_derivative(s, y0, y1, u, theta)
        dy0 += scale * of_y0
        dy1 += of_y1
        into[0]["u"][...] += scale * du["u"]


def test_a_wrong_sum_of_slopes_is_reported():
    problem = problem_of()
    wrong = pint.Problem(problem.stepper, problem.adjoint, WrongSlope(), problem.controls)
    report = stepper_test(wrong, registry.random_control(wrong.control_space(GRID)))
    failed = {check.claim for check in report.checks if not check.passed}
    assert "adds what `step_cost_derivative` returns" in failed
