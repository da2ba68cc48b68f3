"""Gradients do not depend on what steps keep for their transposes, and nothing is done twice."""

from functools import partial

import numpy as np
import pytest
import registry
from ode_cases import Forced, ForcedCost

import pint
from pint.equations.tape import Kept
from pint.steppers import scheme
from problems.activations import ACTIVATIONS, Activation
from problems.heat import Heat, manufactured
from problems.peaks import generate
from problems.resnet import DenseNetwork

HEAT = Heat("distributed", points=5, scheme="crank-nicolson")
PROBLEMS = {
    "network": registry.PROBLEMS["dense-tanh-vector-trained"],
    "network-relu": registry.PROBLEMS["dense-smoothrelu-scalar-pad"],
    "convolution": registry.PROBLEMS["convolution-2-relu-vector-trained-2"],
    "rk4": registry.PROBLEMS["forced-rk4"],
    "midpoint": registry.PROBLEMS["forced-midpoint"],
    "crank-nicolson": registry.PROBLEMS["forced-crank-nicolson"],
    "implicit-euler": registry.PROBLEMS["forced-implicit-euler"],
    "heat": lambda grid: HEAT.problem(grid, manufactured(HEAT, 2.0)),
}
GRIDS = {
    "1-level": (11, 2, 1),
    "2-levels": (12, 3, 2),
    "2-levels-open": (13, 4, 2),
    "3-levels": (16, 2, 3),
    "3-levels-open": (17, [3, 2], 3),
}
TO_TOLERANCE = pint.Accuracy(cycles=30, relative=1e-13)


def cycles(accuracy):
    def solve(rf, state, adjoint, control):
        rf.state_cycles(state, control, accuracy)
        rf.adjoint_cycles(adjoint, state, accuracy)

    return solve


def relaxed(rf, state, adjoint, control):
    """Cycles, then F-points at another control and state, by one solve that starts with them."""
    cycles(pint.Accuracy(1))(rf, state, adjoint, 0.5 * control)
    rf.relax_state(state, control)
    rf.relax_adjoint(adjoint, state)
    rf.derivative_of(state, adjoint)
    rf.state_cycles(state, control, pint.Accuracy(1), relaxed=True)
    rf.relax_adjoint(adjoint, state)


def lagged(rf, state, adjoint, control):
    for factor in (0.5, 1.0):
        rf.lagged_state_cycles(state, factor * control)
        rf.lagged_adjoint_cycles(adjoint, state)


def corrected(rf, state, adjoint, control):
    """The correction completes what is kept; the adjoint then reads all of it."""
    cycles(pint.Accuracy(1))(rf, state, adjoint, control)
    rf.state_correction(state, adjoint)
    rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))


def propagated(rf, state, adjoint, control):
    rf.propagate(state, control)
    rf.propagate_adjoint(adjoint, state)


def another_state_between(rf, state, adjoint, control):
    """What is kept belongs to another state when the adjoint is solved."""
    rf.state_cycles(state, control, pint.Accuracy(1))
    trial = rf.new_state()
    rf.copy_guess(state, trial)
    rf.state_cycles(trial, 0.5 * control, pint.Accuracy(1))
    rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))


SOLVES = {
    "1-cycle": cycles(pint.Accuracy(1)),
    "2-cycles": cycles(pint.Accuracy(2)),
    "to-tolerance": cycles(TO_TOLERANCE),
    "relaxed": relaxed,
    "lagged": lagged,
    "corrected": corrected,
    "propagated": propagated,
    "another-state-between": another_state_between,
}


def gradient(problem, solve, comm=None, **options):
    """Return dJ after a solve, and the functional."""
    rf = pint.ReducedFunctional(problem, **options)
    control = registry.random_control(problem.controls, seed=2, deviation=0.3)
    state, adjoint = rf.new_state(), rf.new_adjoint()
    solve(rf, state, adjoint, control)
    return rf.derivative_of(state, adjoint), rf


def assert_same(derivative, expected):
    size = np.abs(expected.vector).max(initial=0.0)
    np.testing.assert_allclose(derivative.vector, expected.vector, rtol=0, atol=1e-13 * size)


def grid_of(name, comm=None):
    steps, coarsening, levels = GRIDS[name]
    return pint.TimeGrid(2.0 * np.linspace(0, 1, steps + 1) ** 1.1, coarsening, levels, comm)


def limit_of(problem, rows):
    """Return the bytes that so many of the steps keep."""
    shape = problem.stepper.kept_shape
    return 0 if shape is None else 8 * rows * int(np.prod(shape))


CASES = [
    *(("network", grid) for grid in GRIDS),
    *(
        (name, grid)
        for name in ("convolution", "rk4", "midpoint")
        for grid in ("1-level", "3-levels-open")
    ),
    *((name, "2-levels") for name in ("network-relu", "crank-nicolson", "implicit-euler")),
    *(("heat", grid) for grid in ("1-level", "3-levels-open")),
]


CASES = [
    (name, grid, solve)
    for name, grid in CASES
    for solve in SOLVES
    if grid != "1-level" or solve not in ("lagged", "relaxed", "corrected")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "grid", "solve"), CASES)
def test_gradient_does_not_depend_on_the_limit(name, grid, solve):
    for relaxation in ("F", "FCF"):
        make = partial(PROBLEMS[name], grid_of(grid))
        expected, _ = gradient(make(), SOLVES[solve], relaxation=relaxation, kept_bytes=0)
        assert np.abs(expected.vector).max() > 0
        problem = make()
        for rows in (2, 5, problem.grid.steps):
            options = {"relaxation": relaxation, "kept_bytes": limit_of(problem, rows)}
            derivative, rf = gradient(problem, SOLVES[solve], **options)
            assert_same(derivative, expected)
            assert len(rf.kept) == (0 if problem.stepper.kept_shape is None else rows)
        derivative, rf = gradient(problem, SOLVES[solve], relaxation=relaxation)
        assert_same(derivative, expected)


@pytest.mark.parametrize("name", ["network", "rk4", "midpoint"])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_gradient_of_other_cycles_weights_and_chunks(name, cycle):
    for weight, chunk_bytes in ((1.0, 1), (0.7, None)):
        options = {"cycle": cycle, "c_weight": weight, "chunk_bytes": chunk_bytes}
        make = partial(PROBLEMS[name], grid_of("3-levels-open"))
        expected, _ = gradient(make(), SOLVES["2-cycles"], kept_bytes=0, **options)
        assert_same(gradient(make(), SOLVES["2-cycles"], **options)[0], expected)


def test_optimisation_takes_the_same_path():
    objectives = []
    for kept_bytes in (0, 2**31):
        problem = PROBLEMS["network"](grid_of("2-levels"))
        rf = pint.ReducedFunctional(problem, kept_bytes=kept_bytes)
        start = registry.random_control(problem.controls, seed=2, deviation=0.3)
        result = pint.OneShot(rf, cycles=2).solve(start, iterations=5)
        objectives.append([row.objective for row in result.history])
    np.testing.assert_allclose(objectives[0], objectives[1], rtol=1e-12)


# Nothing is evaluated again


class Counting(Forced):
    """Counts the steps for which f, its transposes and its Jacobian are evaluated."""

    def __init__(self):
        self.calls = dict.fromkeys(("f", "f_vjp", "jacobian"), 0)

    def f(self, t, y, u, theta):
        self.calls["f"] += len(y)
        return super().f(t, y, u, theta)

    def f_vjp(self, t, y, u, theta, lam):
        self.calls["f_vjp"] += len(y)
        return super().f_vjp(t, y, u, theta, lam)

    def jacobian(self, t, y, u, theta):
        self.calls["jacobian"] += len(y)
        return super().jacobian(t, y, u, theta)


def counting_problem(grid, name):
    ode = Counting()
    controls = pint.ControlSpace(grid, u=pint.TimeControl(2), theta=pint.SharedControl(2))
    objective = pint.RunningCost(ForcedCost())
    return pint.Problem(grid, *scheme(ode, name), objective, controls), ode.calls


@pytest.mark.parametrize("grid", ["1-level", "2-levels-open"])
@pytest.mark.parametrize(
    ("name", "vjps", "jacobians"), [("rk4", 4, 0), ("midpoint", 1, 1), ("crank-nicolson", 2, 1)]
)
def test_the_adjoint_evaluates_f_no_more(name, vjps, jacobians, grid):
    """Exact sweeps: the adjoint's steps need transposes of f alone, and form the derivative."""
    problem, calls = counting_problem(grid_of(grid), name)
    rf = pint.ReducedFunctional(problem)
    control = registry.random_control(problem.controls, seed=2, deviation=0.3)
    state, adjoint = rf.new_state(), rf.new_adjoint()
    rf.propagate(state, control)
    calls.update(f=0, f_vjp=0, jacobian=0)
    rf.propagate_adjoint(adjoint, state)
    rf.derivative_of(state, adjoint)
    steps = problem.grid.steps
    assert calls == {"f": 0, "f_vjp": vjps * steps, "jacobian": jacobians * steps}


@pytest.mark.parametrize("name", ["rk4", "midpoint"])
def test_cycles_evaluate_f_on_coarse_levels_alone(name):
    """By one cycle more of the adjoint: as many evaluations as its coarse steps need."""
    counts = {}
    for kept_bytes in (0, 2**31):
        problem, calls = counting_problem(grid_of("2-levels"), name)
        rf = pint.ReducedFunctional(problem, relaxation="F", kept_bytes=kept_bytes)
        control = registry.random_control(problem.controls, seed=2, deviation=0.3)
        state, adjoint = rf.new_state(), rf.new_adjoint()
        solve = cycles(pint.Accuracy(1))
        solve(rf, state, adjoint, control)
        rf.state_correction(state, adjoint)  # by which the steps to C-points are kept, too
        levels, calls["f"] = rf.adjoint_solver.levels, 0
        before = [level.steps_evaluated for level in levels]
        rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))
        rf.derivative_of(state, adjoint)
        coarse = levels[1].steps_evaluated - before[1]
        counts[kept_bytes] = calls["f"], coarse
    kept, coarse = counts[2**31]
    assert coarse > 0
    assert counts[0][0] > kept
    if name == "rk4":
        assert kept == 3 * coarse


@pytest.mark.parametrize("grid", ["1-level", "2-levels"])
def test_no_pre_activation_is_formed_again(grid, monkeypatch):
    counts = {"value": 0, "derivative": 0}
    tanh = ACTIVATIONS["tanh"]

    def value(x):
        counts["value"] += 1 if x.ndim < 3 else len(x)
        return tanh.value(x)

    def both(x, dt, out):
        counts["value"] += 1 if x.ndim < 3 else len(x)
        tanh.both(x, dt, out)

    def derivative(x):
        counts["derivative"] += 1 if x.ndim < 3 else len(x)
        return tanh.derivative(x)

    monkeypatch.setitem(ACTIVATIONS, "tanh", Activation(value, derivative, both))
    network, (x, labels) = DenseNetwork(2, 3, 5, opening="pad"), generate(4, seed=1)
    problem = network.problem(network.controls(grid_of(grid)), x, labels)
    rf = pint.ReducedFunctional(problem)
    control = network.random_control(problem.controls, seed=0)
    state, adjoint = rf.new_state(), rf.new_adjoint()
    rf.propagate(state, control)
    assert counts == {"value": problem.grid.steps, "derivative": 0}
    rf.propagate_adjoint(adjoint, state)
    rf.derivative_of(state, adjoint)
    assert counts == {"value": problem.grid.steps, "derivative": 0}


# The rows


def test_rows_that_are_known():
    grid = pint.TimeGrid.uniform(1.0, 8, coarsening=4, levels=2)
    kept = Kept(grid, (3,), memory=8 * 3 * 7)
    assert len(kept) == 7
    assert kept.rows(slice(0, 7)).shape == (7, 3)
    assert kept.rows(slice(0, 8)) is None
    assert kept.rows(slice(7, None, -4)) is None
    assert np.shares_memory(kept.rows(slice(2, 7, 4)), kept.block)
    assert [kept.held(slice(*ends)) for ends in ((0, 8), (7, 8), (6, 8), (7, 2, -1))] == [
        7,
        0,
        1,
        4,
    ]
    assert kept.known_rows(slice(0, 8, 4)).shape == (2, 3)
    assert kept.known_rows(slice(3, 4)) is None  # the step to a C-point
    assert kept.known_rows(slice(0, 3)).shape == (3, 3)
    kept.complete = True
    assert kept.known_rows(slice(0, 7)).shape == (7, 3)
    assert kept.known_rows(slice(6, None, -1)).shape == (7, 3)


def test_nothing_is_allocated_for_steps_that_keep_nothing():
    grid = pint.TimeGrid.uniform(1.0, 8)
    assert len(Kept(grid, None, memory=2**31)) == 0
    euler, rk4 = (scheme(Forced(), name)[0] for name in ("forward-euler", "rk4"))
    assert euler.kept_shape is None
    assert rk4.kept_shape == (3, 2)


@pytest.mark.parametrize("name", ["network", "network-relu", "convolution", "rk4", "heat"])
@pytest.mark.parametrize("chunk_bytes", [1, None])
def test_derivative_with_the_sweep_or_in_batches(name, chunk_bytes):
    """Sequential sweeps, with a trajectory of one point where no other is looked at again."""
    problem = PROBLEMS[name](grid_of("1-level"))
    control = registry.random_control(problem.controls, seed=2, deviation=0.3)
    expected = None
    for kept_bytes in (0, limit_of(problem, 5), 2**31):
        rf = pint.ReducedFunctional(problem, chunk_bytes=chunk_bytes, kept_bytes=kept_bytes)
        state = rf.new_state()
        rf.propagate(state, control)
        for all_points in (True, False):
            adjoint = rf.new_adjoint(all_points)
            assert len(adjoint.trajectory) == problem.grid.steps + 1
            rf.propagate_adjoint(adjoint, state)
            derivative = rf.derivative_of(state, adjoint)
            expected = derivative if expected is None else expected
            assert_same(derivative, expected)
        assert_same(rf.derivative(control), expected)
