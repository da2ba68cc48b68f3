"""Steppers of the user's that make runs of steps themselves."""

import numpy as np
import pytest
import registry

import pint


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
