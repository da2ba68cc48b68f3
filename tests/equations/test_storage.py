"""Trajectories of C-points alone: the numbers of those of all points, in less memory."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import registry

import pint
from pint.mgrit import MGRIT
from problems.heat import Heat, manufactured
from problems.ode import PROBLEMS as ODES
from problems.peaks import generate
from problems.resnet import DenseNetwork


def heat(kind, grid, scheme="implicit-euler"):
    definition = Heat(kind, points=5, scheme=scheme)
    return definition.problem(grid, manufactured(definition, 2.0))


PROBLEMS = {
    **{
        name: registry.PROBLEMS[name]
        for name in (
            "pendulum-running",  # all kinds of terms, a shared control, an outer function
            "pendulum-terminal",
            "pendulum-loop-running",  # not batched
            "dahlquist-trapezoid-loop-terminal",
            "dense-tanh-vector-trained",
            "convolution-2-relu-vector-trained-2",
            "forced-rk4",
            "forced-midpoint",
            "symbolic-rk4",
        )
    },
    "heat": partial(heat, "distributed"),
    "heat-initial": partial(heat, "initial"),
    "heat-neumann": partial(heat, "neumann", scheme="crank-nicolson"),
    "van-der-pol": lambda grid: ODES["van-der-pol"]().problem(grid),
    "fishing": lambda grid: ODES["fishing"]().problem(grid),  # with bounds
}
GRIDS = {"2-levels": (12, 4, 2), "3-levels": (24, [3, 2], 3), "3-levels-open": (20, [4, 2], 3)}
OPTIONS = {
    "FCF": {},
    "F-coarse": {"relaxation": "F", "guess": "coarse", "c_weight": 0.8},
    "FCFCF-F-cycle": {"relaxation": "FCFCF", "cycle": "F", "chunk_bytes": 1},
    "weight-chunk": {"c_weight": 1.2, "chunk_bytes": 200, "guess": "constant"},
    "kept-limit": {"kept_bytes": 100, "guess": "zero"},
}


def functional(name, grid, storage, comm=None, **options):
    steps, coarsening, levels = GRIDS[grid]
    times = 2.0 * np.linspace(0, 1, steps + 1) ** 1.1
    problem = PROBLEMS[name](pint.TimeGrid(times, coarsening, levels, comm))
    return pint.ReducedFunctional(problem, storage=storage, **options)


def control_of(rf, seed=2):
    return registry.random_control(rf.problem.controls, seed, deviation=0.3)


def cycles(rf, state, adjoint, control):
    """From the first guess and from a warm start; what each solve reports."""
    for factor in (1.0, 0.9):
        rf.state_cycles(state, factor * control, pint.Accuracy(2))
        yield "objective", rf.objective(state).objective
        yield "residuals", state.convergence.residuals
        rf.adjoint_cycles(adjoint, state, pint.Accuracy(2))
        yield "residuals", adjoint.convergence.residuals
        yield "correction", rf.state_correction(state, adjoint)
        yield "derivative", rf.derivative_of(state, adjoint)


def relaxed(rf, state, adjoint, control):
    rf.state_cycles(state, 0.5 * control, pint.Accuracy(1))
    rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))
    rf.relax_state(state, control)
    rf.relax_adjoint(adjoint, state)
    yield "derivative", rf.derivative_of(state, adjoint)
    rf.state_cycles(state, control, pint.Accuracy(1), relaxed=True)
    rf.relax_adjoint(adjoint, state)
    rf.adjoint_cycles(adjoint, state, pint.Accuracy(1), relaxed=True)
    yield "objective", rf.objective(state).objective
    yield "derivative", rf.derivative_of(state, adjoint)


def lagged(rf, state, adjoint, control):
    for factor in (1.0, 0.9, 0.8):
        correction = rf.lagged_state_cycles(
            state, factor * control, 1, adjoint if factor < 1 else None
        )
        rf.lagged_adjoint_cycles(adjoint, state, 1)
        yield "objective", rf.objective(state).corrected(correction).objective
        yield "residuals", (*state.convergence.residuals, *adjoint.convergence.residuals)
        yield "derivative", rf.derivative_of(state, adjoint)


def to_tolerance(rf, state, adjoint, control):
    yield "objective", rf.value(control)
    yield "derivative", rf.derivative(control)


def propagated(rf, state, adjoint, control):
    rf.propagate(state, control)
    rf.propagate_adjoint(adjoint, state)
    yield "objective", rf.objective(state).objective
    yield "derivative", rf.derivative_of(state, adjoint)


SOLVES = {solve.__name__: solve for solve in (cycles, relaxed, lagged, to_tolerance, propagated)}


def numbers(rf, solve):
    """Return what a solve yields, gathered, and all states."""
    state, adjoint = rf.new_state(), rf.new_adjoint()
    found = []
    for name, value in SOLVES[solve](rf, state, adjoint, control_of(rf)):
        if name == "derivative":
            value = np.concatenate([values.ravel() for values in value.gather().values()])
        found.append((name, np.atleast_1d(value)))
    if state.control is not None:
        found.append(("states", rf.states(state)))
    return found


def assert_same(found, expected):
    """Compare to 1e-12 of the largest number of the same kind."""
    assert [name for name, _ in found] == [name for name, _ in expected]
    size = {}
    for name, value in expected:
        size[name] = max(size.get(name, 0.0), np.abs(value).max(initial=0.0))
    # Differences of states, and products with them.
    size["residuals"] = size["correction"] = max(1.0, *size.values())
    for (name, value), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-12 * size[name], err_msg=name)


CASES = [
    *((name, "3-levels-open") for name in PROBLEMS),
    *((name, grid) for name in ("pendulum-running", "heat") for grid in ("2-levels", "3-levels")),
]


@pytest.mark.slow
@pytest.mark.parametrize("solve", SOLVES)
@pytest.mark.parametrize(("name", "grid"), CASES)
def test_numbers_are_those_of_all_points(name, grid, solve):
    some = OPTIONS if name.startswith(("pendulum", "forced-rk4")) else ("FCF", "F-coarse")
    for option in some:
        expected, found = (
            numbers(functional(name, grid, storage, **OPTIONS[option]), solve)
            for storage in ("all", "C")
        )
        assert_same(found, expected)


# Optimisation


METHODS = {
    "mgrit": pint.minimize,
    "one-shot": lambda rf, *a, **o: pint.OneShot(rf, 2).solve(*a, **o),
    "lagged": lambda rf, *a, **o: pint.OneShot(rf, 1, lagged=True).solve(*a, **o),
    "adaptive": lambda rf, *a, **o: pint.OneShot(rf, "adaptive").solve(*a, **o),
}


def minimised(name, method, storage, comm=None, **options):
    rf = functional(name, "3-levels", storage, comm)
    options = {"iterations": 5, "gradient_tolerance": 0.0, **options}
    return METHODS[method](rf, control_of(rf), **options)


def assert_same_history(result, expected):
    assert result.status is expected.status
    for row, other in zip(result.history, expected.history, strict=True):
        assert row.line_search_trials == other.line_search_trials
        for name in ("objective", "gradient_norm", "step"):
            largest = max(abs(getattr(each, name)) for each in expected.history)
            assert abs(getattr(row, name) - getattr(other, name)) <= 1e-10 * largest, name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["heat", "pendulum-running", "fishing", "pendulum-loop-running"])
def test_updates_are_those_of_all_points(name, method):
    expected, result = (minimised(name, method, storage) for storage in ("all", "C"))
    assert_same_history(result, expected)


@pytest.mark.parametrize("method", METHODS)
def test_resumed_run_is_the_uninterrupted_one(method, tmp_path):
    """Checkpoints hold C-points: a run may even change its storage."""
    whole = minimised("heat", method, "C", iterations=6)
    path = tmp_path / "run.npz"
    minimised("heat", method, "C", iterations=3, checkpoint=pint.Checkpoint(path))
    saved = path.read_bytes()
    for storage in ("C", "all"):
        path.write_bytes(saved)
        checkpoint = pint.Checkpoint(path, resume=True)
        resumed = minimised("heat", method, storage, iterations=6, checkpoint=checkpoint)
        assert_same_history(resumed, whole)


# Steps


@pytest.mark.parametrize("nu", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_steps_of_a_cycle_and_of_what_is_computed_again(grid, nu):
    """(nu + 1) N for a cycle; N - N/m to see all states again; N for the derivative."""
    rf = functional("pendulum-running", grid, "C", relaxation="F" + "CF" * nu)
    control, state, adjoint = control_of(rf), rf.new_state(), rf.new_adjoint()
    N, N_c = rf.problem.grid.steps, rf.problem.grid.steps // rf.problem.grid.coarsening[0]
    made = []

    def count():
        made.append((rf.state_solver.steps_evaluated[0], rf.adjoint_solver.steps_evaluated[0]))
        return tuple(np.subtract(made[-1], made[-2])) if len(made) > 1 else None

    count()
    rf.state_cycles(state, control, pint.Accuracy(1))
    assert count() == ((nu + 1) * N, 0)
    terminal = not rf.problem.objective.has_step_cost
    assert not terminal
    rf.objective(state)
    assert count() == (N - N_c, 0)
    rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))
    # The cost with its outer function is seen twice.
    assert count() == ((nu + 3) * (N - N_c), (nu + 1) * N)
    rf.derivative_of(state, adjoint)
    assert count() == (N - N_c, N)
    rf.derivative_of(state, adjoint)
    assert count() == (0, 0)
    rf.lagged_adjoint_cycles(adjoint, state)
    count()
    rf.derivative_of(state, adjoint)
    assert count() == (0, 0)


# Memory


def peak_of_update(storage, steps, factor, kept_bytes=2**31):
    """Return the most memory that two updates of a network hold at one time, in states."""
    network = DenseNetwork(features=2, width=4, classes=5)
    x, labels = generate(2000, seed=1)
    grid = pint.TimeGrid.uniform(5.0, steps, factor, 2)
    problem = network.problem(network.controls(grid), x, labels)
    control = network.random_control(problem.controls, seed=0)
    size = problem.space.state_bytes
    tracemalloc.start()
    try:
        rf = pint.ReducedFunctional(
            problem, storage=storage, chunk_bytes=size, kept_bytes=kept_bytes
        )
        state, adjoint = rf.new_state(), rf.new_adjoint()
        for _ in range(2):
            rf.state_cycles(state, control, pint.Accuracy(1))
            rf.objective(state)
            rf.adjoint_cycles(adjoint, state, pint.Accuracy(1))
            rf.derivative_of(state, adjoint)
        return tracemalloc.get_traced_memory()[1] / size
    finally:
        tracemalloc.stop()


def test_peak_memory():
    """Two trajectories, and two blocks of level 1 for each solver.

    With 'all' 2 N + 4 N/m states and N that steps keep, with 'C' 6 N/m, and of one interval m
    states and m - 1 that steps keep. Controls and what a step itself allocates come to less than
    20 states.
    """
    N = 256
    for m in (4, 8, 16):
        all_points, c_points = (peak_of_update(storage, N, m) for storage in ("all", "C"))
        assert 3 * N + 4 * N / m <= all_points <= 3 * N + 4 * N / m + 20
        assert 6 * N / m + 2 * m <= c_points <= 6 * N / m + 2 * m + 20
        assert c_points < (2 / m + 0.2) * all_points


# Errors


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (pint.TimeGrid.uniform(1.0, 8), "one level has none: use 2 levels"),
        (pint.TimeGrid.uniform(1.0, 9, 2, 2), "N = 9, must be divisible by .* m = 2; change"),
        (pint.TimeGrid.uniform(1.0, 12, [3, 3], 3), None),
    ],
)
def test_grids_that_do_not_fit(grid, message):
    problem = registry.PROBLEMS["pendulum-running"](grid)
    if message is None:
        pint.ReducedFunctional(problem, storage="C")
        return
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(storage='C'\)`.*" + message):
        pint.ReducedFunctional(problem, storage="C")
    with pytest.raises(ValueError, match=r"`MGRIT\(storage='C'\)`.*" + message):
        MGRIT(grid, problem.space, storage="C")


def test_more_ranks_than_intervals():
    class Rank1Of3(pint.SerialComm):
        rank, size = 1, 3

    grid = pint.TimeGrid.uniform(1.0, 8, 4, 2, Rank1Of3())
    with pytest.raises(ValueError, match="3 ranks in time for N/m = 2 intervals; use fewer ranks"):
        grid.check_c_points("`storage`")


def test_unknown_storage():
    problem = registry.PROBLEMS["pendulum-running"](pint.TimeGrid.uniform(1.0, 8, 2, 2))
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(storage=...\)` is 'all' or 'C'"):
        pint.ReducedFunctional(problem, storage="F")
    with pytest.raises(ValueError, match=r"`MGRIT\(storage=...\)` is 'all' or 'C'"):
        MGRIT(problem.grid, problem.space, storage="F")
