"""Guesses for iterative steps: they reach every level, save iterations, and change nothing else."""

import numpy as np
import pytest

import pint
from pint.equations import Cycles, March
from pint.steppers import ODE, scheme


class Burgers(ODE):
    """Viscous Burgers equation on (0, 1) by central differences, forced by the control."""

    points, viscosity = 15, 0.02

    def __init__(self):
        self.h = 1 / (self.points + 1)
        self.initial_state = np.sin(2 * np.pi * self.h * np.arange(1, self.points + 1))
        one = np.ones(self.points - 1)
        self.D = (np.diag(one, 1) - np.diag(one, -1)) / (2 * self.h)
        self.L = (np.diag(one, 1) + np.diag(one, -1) - 2 * np.eye(self.points)) / self.h**2
        self.jacobians = 0

    def f(self, t, y, u, theta):
        return self.viscosity * y @ self.L.T - y * (y @ self.D.T) + u["u"]

    def jacobian(self, t, y, u, theta):
        self.jacobians += len(y)
        transport = y[:, :, None] * self.D + (y @ self.D.T)[:, :, None] * np.eye(self.points)
        return self.viscosity * self.L - transport

    def f_vjp(self, t, y, u, theta, lam):
        jacobian = self.viscosity * self.L - (
            y[:, :, None] * self.D + (y @ self.D.T)[:, :, None] * np.eye(self.points)
        )
        return np.einsum("bij,bi->bj", jacobian, lam), {"u": lam}, {}


class Target(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * (y**2).sum()

    def terminal_derivative(self, y, theta):
        return y, {}


def functional(levels, uses_guess=True, kept_bytes=2**31, name="crank-nicolson"):
    ode = Burgers()
    stepper, adjoint = scheme(ode, name)
    stepper.uses_guess = uses_guess
    problem = pint.Problem(stepper, adjoint, Target(), {"u": pint.TimeControl(ode.points)})
    grid = pint.TimeGrid.uniform(1.0, 32, 2, levels)
    options = {"accuracy": pint.Accuracy(40, relative=1e-12), "kept_bytes": kept_bytes}
    return pint.ReducedFunctional(problem, grid, **options), ode


def test_guesses_and_what_is_kept_save_newton_iterations():
    """Value and gradient by MGRIT, at a control and at one near it."""
    counts, found = {}, {}
    for options in ((True, 2**31), (True, 0), (False, 2**31), (False, 0)):
        rf, ode = functional(4, *options)
        for factor in (1.0, 0.95):
            control = rf.control(u=0.3 * factor)
            found[options, factor] = rf.value(control), rf.gradient(control).vector
        counts[options] = ode.jacobians
    # Of the Jacobians, one for each transposed step of a cycle is never saved.
    assert counts[True, 2**31] < 0.7 * counts[False, 2**31]
    assert counts[True, 2**31] < 0.6 * counts[False, 0]
    assert counts[True, 2**31] < counts[True, 0] < 0.7 * counts[False, 0]
    for (_, factor), (value, gradient) in found.items():
        expected, slope = found[(False, 0), factor]
        assert value == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-9 * abs(slope).max())


@pytest.mark.parametrize("levels", [1, 3])
def test_only_steppers_that_read_guesses_are_given_any(levels):
    for uses_guess in (True, False):
        rf, _ = functional(levels, uses_guess)
        stepper, given = rf.calls.steppers[0], {level: [] for level in range(levels)}

        def noted(s, y, u, theta, given=given, step=stepper.step):
            given[s.level].append(s.guess is not None)
            assert s.guess is None or (s.guess.shape == y.shape and np.isfinite(s.guess).all())
            return step(s, y, u, theta)

        rf.calls.levels.step[:] = [noted] * levels
        state = rf.state.new()
        for factor in (1.0, 0.9):
            rf.state.solve(state, rf.control(u=factor), Cycles(pint.Accuracy(2)))
        for level in range(levels):
            assert any(given[level]) is uses_guess
            assert not given[level][0]  # there is none before the first solve


def test_states_that_are_not_finite_are_no_guess():
    """After a trial that has failed the next one begins anew."""
    rf, _ = functional(1)
    state = rf.state.new()
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        rf.state.solve(state, rf.control(u=1e200), March())
    assert not np.isfinite(state.points).all()
    rf.state.solve(state, rf.control(u=0.3), March())
    expected = rf.state.new()
    rf.state.solve(expected, rf.control(u=0.3), March())
    np.testing.assert_allclose(state.points, expected.points, rtol=1e-12, atol=1e-14)
