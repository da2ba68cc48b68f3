"""Gradients do not depend on what steps keep for their transposes, and nothing is done twice."""

from functools import partial

import numpy as np
import pytest
import registry
from ode_cases import Forced, ForcedCost
from solves import ONE, TO_TOLERANCE, assert_same_numbers, numbers

import pint
from pint.equations import Cycles, Lagged, March
from pint.equations.trajectory import TapeMemory
from pint.steppers import scheme
from problems.activations import ACTIVATIONS, Activation
from problems.peaks import generate
from problems.resnet import DenseNetwork

ALONE = pint.SerialComm()
PROBLEMS = {
    "network": registry.PROBLEMS["dense-tanh-vector-trained"],
    "convolution": registry.PROBLEMS["convolution-2-relu-vector-trained-2"],
    "rk4": registry.PROBLEMS["forced-rk4"],
    "midpoint": registry.PROBLEMS["forced-midpoint"],
    "crank-nicolson": registry.PROBLEMS["forced-crank-nicolson"],
}
GRIDS = {
    "1-level": (11, 2, 1),
    "2-levels": (12, 3, 2),
    "2-levels-open": (13, 4, 2),
    "3-levels-open": (17, [3, 2], 3),
}


def grid_of(name, comm=None):
    steps, coarsening, levels = GRIDS[name]
    return pint.TimeGrid(2.0 * np.linspace(0, 1, steps + 1) ** 1.1, coarsening, levels, comm)


def found(name, grid, solve, **options):
    rf = pint.ReducedFunctional(PROBLEMS[name](), grid, **options)
    control = registry.random_control(rf.controls, seed=2, deviation=0.3)
    return numbers(rf, solve, control)


# Each solve with each grid, each problem and each option, in pairs
CASES = [
    ("network", "1-level", "marched", {}),
    ("network", "2-levels", "cycles", {"relaxation": "F"}),
    ("network", "2-levels", "lagged", {"relaxation": "F", "chunk_bytes": 1}),
    ("network", "2-levels-open", "lagged", {"relaxation": "F"}),
    ("network", "3-levels-open", "to_tolerance", {"cycle": "F"}),
    ("network", "2-levels", "interrupted", {}),
    ("convolution", "1-level", "marched", {"chunk_bytes": 1}),
    ("convolution", "3-levels-open", "cycles", {"chunk_bytes": 1}),
    ("convolution", "2-levels", "relaxed", {}),
    ("rk4", "1-level", "marched", {}),
    ("rk4", "2-levels-open", "cycles", {}),
    ("rk4", "2-levels", "corrected", {"relaxation": "F"}),
    ("rk4", "3-levels-open", "lagged", {"c_weight": 0.7}),
    ("rk4", "2-levels-open", "interrupted", {"chunk_bytes": 1}),
    ("midpoint", "1-level", "cycles", {"chunk_bytes": 1}),
    ("midpoint", "2-levels", "to_tolerance", {}),
    ("midpoint", "2-levels-open", "relaxed", {"relaxation": "F"}),
    ("midpoint", "2-levels", "lagged", {"relaxation": "F"}),
    ("crank-nicolson", "3-levels-open", "corrected", {}),
    ("crank-nicolson", "2-levels", "cycles", {"relaxation": "FCFCF", "c_weight": 0.7}),
]


@pytest.mark.parametrize(("name", "grid", "solve", "options"), CASES)
def test_numbers_do_not_depend_on_what_is_kept(name, grid, solve, options):
    expected = found(name, grid_of(grid), solve, kept_bytes=0, **options)
    assert any(np.abs(value).max() > 0 for kind, value in expected if kind == "derivative")
    assert_same_numbers(found(name, grid_of(grid), solve, **options), expected, 1e-13)


def test_optimisation_takes_the_same_path():
    objectives = []
    for kept_bytes in (0, 2**31):
        problem = PROBLEMS["network"]()
        rf = pint.ReducedFunctional(problem, grid_of("2-levels"), kept_bytes=kept_bytes)
        start = registry.random_control(rf.controls, seed=2, deviation=0.3)
        result = pint.minimize(rf, start, pint.OneShot(iterations=5))
        objectives.append([row.objective for row in result.history])
    np.testing.assert_allclose(objectives[0], objectives[1], rtol=1e-12)


# Who finds what


class Noting(Forced):
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


class Counted:
    """A functional of an ODE by a scheme, and what its adjoint finds by level."""

    def __init__(self, name, grid, **options):
        ode = Noting()
        self.calls = ode.calls
        stepper, adjoint = scheme(ode, name)
        self.kept, self.missed = [0] * grid.levels, [0] * grid.levels

        def noted(method):
            def call(s, *arguments, **options):
                place = self.missed if s.kept is None else self.kept
                place[s.level] += len(s.index)
                return method(s, *arguments, **options)

            return call

        own = type(adjoint).step is not pint.Adjoint.step
        adjoint.vjp = noted(adjoint.vjp)
        if own:  # where there is none, it calls `vjp`
            adjoint.step = noted(adjoint.step)
        fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
        problem = pint.Problem(stepper, adjoint, pint.RunningCost(ForcedCost()), fields)
        self.rf = pint.ReducedFunctional(problem, grid, **options)
        self.control = registry.random_control(self.rf.controls, seed=2, deviation=0.3)
        self.state, self.adjoint = self.rf.state.new(), self.rf.adjoint.new()

    def solve(self, how):
        self.rf.state.solve(self.state, self.control, how)
        self.calls.update(f=0, f_vjp=0, jacobian=0)
        self.rf.adjoint.solve(self.adjoint, self.state, how)
        self.rf.derivative_of(self.state, self.adjoint)


@pytest.mark.parametrize("grid", ["1-level", "2-levels-open"])
@pytest.mark.parametrize(
    ("name", "vjps", "jacobians"), [("rk4", 4, 0), ("midpoint", 1, 1), ("crank-nicolson", 2, 1)]
)
def test_the_adjoint_evaluates_f_no_more(name, vjps, jacobians, grid):
    """Exact sweeps: the adjoint's steps need transposes of f alone, and form the derivative."""
    case = Counted(name, grid_of(grid))
    case.solve(March())
    steps = case.rf.grid.steps
    assert case.calls == {"f": 0, "f_vjp": vjps * steps, "jacobian": jacobians * steps}


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
@pytest.mark.parametrize("grid", ["2-levels", "2-levels-open", "3-levels-open"])
def test_after_a_converged_solve_the_adjoint_finds_every_iterative_step(grid, relaxation):
    """However suddenly it has converged: two levels are exact after a few cycles."""
    case = Counted("midpoint", grid_of(grid), relaxation=relaxation)
    case.solve(TO_TOLERANCE)
    assert case.state.convergence.converged and case.adjoint.convergence.converged
    assert case.kept[0] > 0
    assert case.missed[0] == 0


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_after_a_solve_that_has_converged_steadily_it_finds_every_step(relaxation):
    case = Counted("rk4", pint.TimeGrid.uniform(2.0, 96, 4, 3), relaxation=relaxation)
    for factor in (1.0, 1.001):  # the second solve starts from the first one
        case.control = factor * case.control
        case.kept[:], case.missed[:] = [0] * 3, [0] * 3
        case.solve(Cycles(pint.Accuracy(30, relative=1e-10)))
        assert case.state.convergence.converged
        assert case.kept[0] > 0
        assert case.missed[0] == 0


def test_after_cycles_it_finds_all_but_the_steps_to_c_points():
    """With F-relaxation: N - N/m steps of the relaxations find theirs, the others do not."""
    case = Counted("rk4", grid_of("2-levels"), relaxation="F")
    case.solve(ONE)
    # Relaxation, residual and last relaxation of the adjoint; then the derivative of 4 steps. The
    # steps to C-points of the state are no steps to C-points of the adjoint.
    state_c, adjoint_c = {2, 5, 8, 11}, {0, 3, 6, 9}
    others = set(range(12)) - state_c
    assert case.missed[0] == 2 * len(state_c - adjoint_c)
    assert case.kept[0] == 2 * len(others - adjoint_c) + 2 * len(adjoint_c)
    case.kept[0] = case.missed[0] = 0
    case.rf.state.correction(case.state, case.adjoint)  # makes the steps that were missing
    case.rf.adjoint.solve(case.adjoint, case.state, ONE)
    assert case.missed[0] == 0


@pytest.mark.parametrize("name", ["rk4", "midpoint"])
def test_lagged_solves_on_two_levels_keep_on_both(name):
    case = Counted(name, grid_of("2-levels"), relaxation="F")
    for _ in range(2):
        case.kept[:], case.missed[:] = [0, 0], [0, 0]
        case.solve(Lagged(1))
    assert case.kept == [12, 4]
    assert case.missed == [0, 0]
    assert case.calls["f"] == 0


@pytest.mark.parametrize(("relaxation", "found"), [("F", True), ("FCF", False)])
def test_c_relaxation_after_the_coarse_march_makes_its_tape_another_states(relaxation, found):
    case = Counted("rk4", grid_of("2-levels"), relaxation=relaxation)
    case.solve(Lagged(2))
    assert (case.missed[1] == 0) is found


def test_iterative_coarse_steps_are_made_once_in_an_adjoint_solve():
    """So are those to C-points: more cycles of the adjoint solve no equation again."""
    solved = []
    for cycles in (1, 4):
        case = Counted("midpoint", pint.TimeGrid.uniform(2.0, 16, 2, 3))
        case.rf.state.solve(case.state, case.control, ONE)
        before = case.calls["f"]
        case.rf.adjoint.solve(case.adjoint, case.state, Cycles(pint.Accuracy(cycles)))
        solved.append(case.calls["f"] - before)
        assert case.missed == [0, 0, 0] and min(case.kept) > 0
    assert 0 < solved[0] == solved[1]


def test_a_tape_in_the_same_memory_is_another_states():
    case = Counted("rk4", grid_of("2-levels"))
    case.rf.state.solve(case.state, case.control, March())
    assert case.state.tape is not None
    other = case.rf.state.new()
    case.rf.state.solve(other, case.control, March())
    assert case.state.tape is None
    assert other.tape is not None
    case.rf.adjoint.solve(case.adjoint, case.state, March())
    assert case.kept[0] == 0


def test_all_steps_are_kept_or_none():
    grid, size = grid_of("1-level"), 8 * 11 * 3 * 2
    for kept_bytes, kept in ((size, 11), (size - 1, 0)):
        case = Counted("rk4", grid, kept_bytes=kept_bytes)
        case.solve(March())
        assert (case.kept[0], case.missed[0]) == (kept, 11 - kept)


def test_rows_that_are_missing():
    memory = TapeMemory(8, (3,), 2**10, ALONE)
    assert memory.bytes == 8 * 3 * 8
    tape = memory.new()
    tape.missing = range(3, 8, 4)  # steps to C-points of a grid with m = 4
    assert tape.rows(range(0, 3)).shape == (3, 3)
    assert tape.rows(range(0, 8, 4)).shape == (2, 3)
    assert np.shares_memory(tape.rows(range(2, 7, 4)), memory.block)
    for missed in (range(3, 8, 4), range(7, 8), range(0, 8), range(2, 6)):
        assert tape.rows(missed) is None
    assert [place is None for place in tape.each(range(2, 5))] == [False, True, False]
    tape.missing = range(0)
    assert tape.rows(range(0, 8)).shape == (8, 3)
    assert memory.new() is not tape
    assert not tape.valid
    assert tape.rows(range(0, 8)) is None
    assert tape.each(range(0, 8)) is None
    for memory in (TapeMemory(8, None, 2**31, ALONE), TapeMemory(8, (3,), 191, ALONE)):
        assert memory.bytes == 0
        assert memory.new() is None


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
    rf = pint.ReducedFunctional(network.problem(x, labels), grid_of(grid))
    control = network.random_control(rf.controls, seed=0)
    state, adjoint = rf.state.new(), rf.adjoint.new()
    rf.state.solve(state, control, March())
    assert counts == {"value": rf.grid.steps, "derivative": 0}
    rf.adjoint.solve(adjoint, state, March())
    rf.derivative_of(state, adjoint)
    assert counts == {"value": rf.grid.steps, "derivative": 0}


# The derivative, wherever it is formed


@pytest.mark.parametrize("name", ["network", "convolution", "rk4"])
@pytest.mark.parametrize("chunk_bytes", [1, None])
def test_derivative_with_the_sweep_or_in_batches(name, chunk_bytes):
    """Sequential sweeps, with one state of the adjoint where no other is looked at again."""
    expected = None
    for kept_bytes in (0, 2**31):
        options = {"chunk_bytes": chunk_bytes, "kept_bytes": kept_bytes}
        rf = pint.ReducedFunctional(PROBLEMS[name](), grid_of("1-level"), **options)
        control = registry.random_control(rf.controls, seed=2, deviation=0.3)
        state = rf.state.new()
        rf.state.solve(state, control, March())
        for all_points in (True, False):
            adjoint = rf.adjoint.new(all_points)
            assert len(adjoint.points) in ((12,) if all_points else (1, 12))
            rf.adjoint.solve(adjoint, state, March())
            derivative = rf.derivative_of(state, adjoint).vector
            expected = derivative if expected is None else expected
            size = np.abs(expected).max()
            np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-13 * size)
        np.testing.assert_allclose(
            rf.derivative(control).vector, expected, rtol=0, atol=1e-13 * size
        )


def test_large_states_keep_one_point_of_a_sequential_adjoint():
    rf = pint.ReducedFunctional(PROBLEMS["network"](), grid_of("1-level"), chunk_bytes=1)
    assert len(rf.adjoint.new(all_points=False).points) == 1
    rf = pint.ReducedFunctional(PROBLEMS["network"](), grid_of("2-levels"), chunk_bytes=1)
    assert len(rf.adjoint.new(all_points=False).points) == 13


def test_lagged_solves_of_large_states_leave_the_derivative_complete():
    """Their F-points stay in the cache, except the last one of each interval."""
    make = partial(Counted, "rk4", grid_of("2-levels"), relaxation="F")
    whole, ends = make(), make(chunk_bytes=1)
    for case in (whole, ends):
        for _ in range(3):
            case.solve(Lagged(1))
    for row in (0, 1, 3, 4, 6, 7, 9, 10, 12):  # C-points, and the points after them in time
        np.testing.assert_allclose(ends.adjoint.points[row], whole.adjoint.points[row], rtol=1e-12)
    for case in (whole, ends):
        assert case.adjoint.missing == range(0)
    np.testing.assert_allclose(
        ends.rf.derivative_of(ends.state, ends.adjoint).vector,
        whole.rf.derivative_of(whole.state, whole.adjoint).vector,
        rtol=1e-12,
        atol=1e-15,
    )
