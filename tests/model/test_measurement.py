"""Measured costs: of every kind of problem, exact on a clock that the steps alone advance."""

import time

import numpy as np
import pytest

import pint
from pint.model import SEQUENTIAL, Configuration, measure, predict
from problems.heat import Heat, zero_target
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation


class Decay(pint.TimeStepper):
    """``y' = u - y`` by Euler's method, y_0 = theta."""

    def __init__(self, batched):
        self.batched, self.initial_state = batched, np.zeros(2)

    def initial(self, theta):
        return theta["start"]

    def step(self, s, y, u, theta):
        return y + s.dt * (u["force"] - y)


class DecayAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam - s.dt * lam, {"force": s.dt * lam}, {}

    def initial_vjp(self, theta, lam0):
        return {"start": lam0}


class Distance(pint.Objective):
    """``sum_n dt |y_{n+1}|^2 / 2``."""

    def step_cost(self, s, y0, y1, u, theta):
        return 0.5 * (s.dt * y1**2).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {}, {}


def decay(batched=True):
    fields = {"force": pint.TimeControl(2), "start": pint.SharedControl(2)}
    return pint.Problem(Decay(batched), DecayAdjoint(), Distance(), controls=fields)


def network():
    x, labels = generate(7, seed=1)
    return DenseNetwork(2, 4, 5).problem(x, labels, Regularisation(tikhonov=1e-2, smooth=4e-2))


def heat():
    return Heat(points=7).problem(zero_target(Heat(points=7)))


def halved():
    fine = Heat(points=7)
    data = zero_target(fine)
    return fine.problem(data, lambda coordinates: zero_target(fine, coordinates))


def control_on(problem, *grid):
    controls = problem.control_space(pint.TimeGrid.uniform(1.0, *grid))
    return controls.zeros()


@pytest.mark.parametrize("make", [decay, lambda: decay(batched=False), network, heat, halved])
@pytest.mark.parametrize("grid", [(12, 2, 3), (9, 4, 2), (12,), (1,)])
def test_costs_of_every_kind_of_problem(make, grid):
    problem = make()
    control = control_on(problem, *grid)
    before = control.vector.copy()
    costs = measure(problem, control, seconds=1e-4)
    levels = control.space.grid.levels
    assert len(costs.state) == len(costs.adjoint) == levels
    for level in range(levels):
        assert costs.step(level, False)(1) > 0 and costs.step(level, True)(1) > 0
    assert costs.derivative(12) >= 0 and costs.derivative_apart(12) > 0
    assert costs.bind(12) > 0 and costs.vector(12) > 0 and costs.copy > 0 and costs.norm > 0
    assert costs.state_bytes == problem.space.state_bytes
    assert (costs.latency, costs.bandwidth) == (2e-6, 1e10)
    assert predict(costs, 1024, 8, Configuration(3, 4)).seconds > 0
    assert predict(costs, 1, 1, SEQUENTIAL).seconds > 0
    np.testing.assert_array_equal(control.vector, before)


def test_seconds_must_be_positive():
    problem = decay()
    with pytest.raises(ValueError, match=r"`measure\(seconds"):
        measure(problem, control_on(problem, 1), seconds=0.0)


def test_a_call_costs_what_the_step_takes(monkeypatch):
    """On a clock that the steps alone advance, the costs are exact."""
    problem, now, unit = decay(), [0.0], 2.0**-10
    step, vjp = Decay.step, DecayAdjoint.vjp

    def slow(self, s, y, u, theta):
        now[0] += unit * (1 + 2 * len(y))
        if s.kept is not None:
            now[0] += unit * len(y)
            s.kept[...] = 1.0
        return step(self, s, y, u, theta)

    def slow_transpose(self, s, y, u, theta, lam):
        assert s.level > 0 or (s.kept == 1.0).all()
        now[0] += unit * 3 * len(y)
        return vjp(self, s, y, u, theta, lam)

    def slow_transpose_alone(self, s, y, u, theta, lam):
        now[0] += unit * len(y)
        return vjp(self, s, y, u, theta, lam)[0]

    monkeypatch.setattr(Decay, "kept_shape", (1,))
    monkeypatch.setattr(Decay, "step", slow)
    monkeypatch.setattr(DecayAdjoint, "vjp", slow_transpose)
    monkeypatch.setattr(DecayAdjoint, "step", slow_transpose_alone)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    costs = measure(problem, control_on(problem, 64, 4, 2), seconds=0.02)
    assert [cost.sizes for cost in costs.state] == [(1, 4, 16), (1, 4, 16)]
    np.testing.assert_array_equal(costs.state[0].seconds, [unit * n for n in (4, 13, 49)])
    np.testing.assert_array_equal(costs.state[1].seconds, [unit * n for n in (3, 9, 33)])
    for cost in costs.adjoint:
        np.testing.assert_array_equal(cost.seconds, [unit * n for n in (1, 4, 16)])
    np.testing.assert_array_equal(costs.derivative([1, 64]), [2 * unit, 128 * unit])
    np.testing.assert_array_equal(costs.derivative_apart([1, 64]), [3 * unit, 192 * unit])
    assert costs.copy == costs.terminal == costs.objective(64) == costs.linearise(64) == 0.0
