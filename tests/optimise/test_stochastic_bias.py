"""The error of gradients by cycles: its estimate against sequential steps, and what follows."""

import math
import warnings

import numpy as np
import pytest

import pint
from pint.controls import projected_gradient
from pint.equations import Cycles, March
from pint.optimise.stochastic.run import Order
from problems.ode import DoubleIntegrator, Fishing, VanDerPol
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

NETWORK = DenseNetwork(features=2, width=4, classes=5)
X, LABELS = generate(60, seed=0)


def network(levels, relaxation="F", layers=32, factor=4, batch=20, final_time=5.0):
    problem = NETWORK.problem(X, LABELS, Regularisation(1e-5, 1e-5, 1e-5), batch)
    grid = pint.TimeGrid.uniform(final_time, layers, factor, levels)
    return pint.ReducedFunctional(problem, grid, relaxation=relaxation)


def ode(problem, levels, relaxation="F", steps=64, factor=4):
    grid = pint.TimeGrid.uniform(problem.T, steps, factor, levels)
    return pint.ReducedFunctional(problem.problem(), grid, relaxation=relaxation)


def start(functional):
    if functional.problem.examples is None:
        return functional.controls.zeros()
    return NETWORK.random_control(functional.controls, 1)


class Gradients:
    """Gradients of a functional of its own, from the first guess."""

    def __init__(self, functional):
        self.functional = functional

    def of(self, control, batch, how):
        functional = self.functional
        if batch.indices is not None:
            functional.select(batch.indices)
        state, adjoint = functional.state.new(), functional.adjoint.new()
        functional.state.solve(state, control, how)
        functional.adjoint.solve(adjoint, state, how)
        return functional.controls.riesz(functional.derivative_of(state, adjoint))


def watched(functional, method, other):
    """Return the result, and for each row the relative error, and estimated over true error.

    The error is that of cycles from the first guess, by sequential steps with another functional.
    """
    controls, rows = [], []

    def callback(iterate, control, state):
        controls.append(pint.Control(functional.controls, control.vector.copy()))

    result = pint.minimize(functional, start(functional), method, callback=callback)
    gradients, space = Gradients(other), functional.controls
    order = Order(functional.problem.examples, method.shuffle, method.seed)
    cycles = np.diff([0, *(row.state_cycles for row in result.history)])
    for row, control, batch, done in zip(result.history, controls, order, cycles, strict=False):
        if row.state_residual == 0:
            assert row.gradient_error == 0
            rows.append((0.0, math.nan))
            continue
        estimated = not math.isnan(row.gradient_error)
        if not estimated and functional.problem.examples is None:  # slow, and much the same
            continue
        exact = gradients.of(control, batch, March())
        used = done - 1 if estimated else done
        own = gradients.of(control, batch, Cycles(pint.Accuracy(used)))
        norm = space.norm(projected_gradient(control, own))
        assert norm == pytest.approx(row.gradient_norm, rel=1e-9)
        error = space.norm(own - exact)
        rows.append((error / space.norm(exact), row.gradient_error / error))
    return result, np.array(rows)


CASES = {
    "network, 2 levels": (lambda: network(2), 0.05),
    "network, 3 levels": (lambda: network(3, "FCF"), 0.05),
    "all examples": (lambda: network(2, batch=len(X)), 0.05),
    "van der Pol": (lambda: ode(VanDerPol(), 2, "FCF"), 0.05),
    "fishing, 3 levels": (lambda: ode(Fishing(), 3, "FCF", 64, 2), 0.01),
}


@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_the_error_within_a_factor_of_two(name):
    make, rate = CASES[name]
    functional = make()
    epochs = 18 // Order(functional.problem.examples, True, 0).updates
    control = pint.BiasControl(every=4, most_cycles=5)
    method = pint.Stochastic(pint.adam(), epochs, rate, cycles=control)
    result, rows = watched(functional, method, make())
    errors, ratios = rows.T
    known = np.isfinite(ratios)
    assert known.sum() >= 5
    assert ratios[known].min() > 0.5
    assert ratios[known].max() < 2
    # What is trained on in between is hardly worse than what was measured.
    assert errors.max() < 2 * control.tolerance
    assert errors.max() > 1e-6
    assert result.objective < result.history[0].objective


def test_sound_cycles_are_those_of_a_fixed_number():
    """Estimates change nothing but counts, and one column."""
    runs = []
    for cycles in (1, "adaptive"):
        functional = network(2, "FCF")
        method = pint.Stochastic(pint.adam(), 8, 0.01, cycles=cycles)
        runs.append(pint.minimize(functional, start(functional), method))
    fixed, adaptive = runs
    np.testing.assert_array_equal(adaptive.control.vector, fixed.control.vector)
    for name in ("objective", "gradient_norm", "state_residual", "adjoint_residual"):
        values = [[getattr(row, name) for row in run.history] for run in runs]
        assert values[0] == values[1]
    errors = [row.gradient_error for row in adaptive.history]
    assert [i for i, error in enumerate(errors) if error == error] == [0, 1, 2, 4, 8, 16]
    assert all(math.isnan(row.gradient_error) for row in fixed.history)
    assert adaptive.note == "" == fixed.note
    assert adaptive.history[-1].state_cycles == 24 + 6


class Scaled(pint.TimeStepper):
    """Another stepper's step times a factor."""

    batched = True

    def __init__(self, inner, factor, coarse=None):
        self.inner, self.factor, self.coarse = inner, factor, coarse

    @property
    def space(self):
        return self.inner.space

    def initial(self, theta):
        return self.inner.initial(theta)

    def step(self, s, y, u, theta):
        return self.factor * self.inner.step(s, y, u, theta)

    def coarsen(self, level):
        return self if self.coarse is None else self.coarse


class ScaledAdjoint(pint.Adjoint):
    def __init__(self, inner, factor, coarse=None):
        self.inner, self.factor, self.coarse = inner, factor, coarse

    def vjp(self, s, y, u, theta, lam):
        return self.inner.vjp(s, y, u, theta, self.factor * lam)

    def coarsen(self, level):
        return self if self.coarse is None else self.coarse


def planted(factor, levels=2, relaxation="F", steps=64):
    """Return a functional whose coarse steps are multiplied by a factor."""
    problem = VanDerPol().problem()
    stepper, adjoint = problem.stepper, problem.adjoint
    wrong = pint.Problem(
        Scaled(stepper, 1.0, Scaled(stepper, factor)),
        ScaledAdjoint(adjoint, 1.0, ScaledAdjoint(adjoint, factor)),
        problem.objective,
        problem.controls,
    )
    grid = pint.TimeGrid.uniform(10.0, steps, 4, levels)
    return pint.ReducedFunctional(wrong, grid, relaxation=relaxation)


@pytest.mark.parametrize(
    ("factor", "levels", "relaxation"),
    [(-1.0, 2, "F"), (0.5, 2, "FCF"), (2.0, 3, "F")],
)
def test_a_poor_coarse_step_is_found_before_the_first_update(factor, levels, relaxation):
    functional = planted(factor, levels, relaxation)
    method = pint.Stochastic(pint.adam(), 6, 0.05)
    with np.errstate(all="ignore"), pytest.warns(pint.ConvergenceWarning, match="coarse step"):
        found = pint.minimize(functional, start(functional), method)
    assert "At update 0 the gradient by 1 cycle was" in found.message
    assert "last one by sequential steps" in found.message
    # Not one update was made from a wrong gradient.
    alone = ode(VanDerPol(), 1)
    expected = pint.minimize(alone, start(alone), method)
    np.testing.assert_allclose(found.control.vector, expected.control.vector, atol=1e-12)
    assert all(row.gradient_error == 0 for row in found.history)


def test_cycles_rise_and_fall_with_the_error():
    functional = network(2, "F", factor=8, final_time=10.0)
    control = pint.BiasControl(0.05, every=3, most_cycles=4)
    method = pint.Stochastic(pint.adam(), 20, 0.03, cycles=control)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pint.ConvergenceWarning)
        result = pint.minimize(functional, start(functional), method)
    known = [math.isfinite(row.gradient_error) for row in result.history[1:]]
    cycles = np.diff([row.state_cycles for row in result.history])[~np.array(known)]
    changes = np.diff(cycles)
    assert {1, 2} <= set(cycles.tolist())
    assert changes.max() > 0 > changes.min()
    assert "more than the tolerance of 0.05" in result.message


def test_near_the_optimum_the_run_turns_sequential_where_that_is_cheaper():
    """Of a full batch the gradient vanishes, and the error allowed for with it."""
    runs = []
    for levels, cycles in ((2, "adaptive"), (2, 2), (1, 1)):
        functional = ode(DoubleIntegrator(), levels, steps=16)
        method = pint.Stochastic(pint.sgd(0.9), 120, 5.0, cycles=cycles)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pint.ConvergenceWarning)
            runs.append(pint.minimize(functional, start(functional), method))
    adaptive, fixed, alone = runs
    residuals = np.array([row.state_residual for row in adaptive.history])
    assert residuals[0] > 0 == residuals[-1]
    last = adaptive.history[-1]
    assert last.gradient_norm < 2e-2 * adaptive.history[0].gradient_norm
    assert adaptive.objective == pytest.approx(alone.objective, rel=1e-3)
    assert sum(last.steps_by_level) < 0.8 * sum(fixed.history[-1].steps_by_level)


def test_a_fixed_number_of_cycles_that_is_too_small_is_said():
    functional = ode(VanDerPol(), 2)
    method = pint.Stochastic(pint.adam(), 11, 0.3, cycles=1)
    with pytest.warns(pint.ConvergenceWarning, match='cycles="adaptive"'):
        pint.minimize(functional, start(functional), method)


def test_options_out_of_range():
    for options, name in (
        ({"tolerance": 0.0}, "tolerance"),
        ({"every": 0}, "every"),
        ({"most_cycles": 0}, "most_cycles"),
    ):
        with pytest.raises(ValueError, match=name):
            pint.BiasControl(**options)
    for cycles in ("many", 0, 1.5, pint.BiasControl):
        with pytest.raises(ValueError, match="cycles"):
            pint.Stochastic(pint.adam(), 1, 0.1, cycles=cycles)
