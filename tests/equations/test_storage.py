"""Trajectories of C-points alone: the numbers of those of all points, in less memory."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import registry
from solves import ONE, SOLVES, assert_same_numbers
from solves import numbers as numbers_of

import pint
from pint.equations import Lagged
from pint.mgrit import MGRIT
from problems.heat import Heat, manufactured
from problems.ode import PROBLEMS as ODES
from problems.peaks import generate
from problems.resnet import DenseNetwork


def heat(kind, scheme="implicit-euler"):
    definition = Heat(kind, points=5, scheme=scheme)
    return definition.problem(manufactured(definition, 2.0))


PROBLEMS = {
    **{
        name: registry.PROBLEMS[name]
        for name in (
            "pendulum-running",  # all kinds of terms, a shared control, an outer function
            "pendulum-loop-running",  # not batched
            "dense-tanh-vector-trained",
            "convolution-2-relu-vector-trained-2",
            "forced-rk4",
            "forced-midpoint",
            "strict-predators",
            "strict-predators-in-place-loop",
        )
    },
    "heat": partial(heat, "distributed"),
    "heat-initial": partial(heat, "initial"),
    "heat-neumann": partial(heat, "neumann", scheme="crank-nicolson"),
    "fishing": lambda: ODES["fishing"]().problem(),  # with bounds
}
GRIDS = {"2-levels": (12, 4, 2), "3-levels": (24, [3, 2], 3), "3-levels-open": (20, [4, 2], 3)}
OPTIONS = {
    "FCF": {},
    "F-coarse": {"relaxation": "F", "guess": "coarse", "c_weight": 0.8},
    "FCFCF-F-cycle": {"relaxation": "FCFCF", "cycle": "F", "chunk_bytes": 1},
    "weight-chunk": {"c_weight": 1.2, "chunk_bytes": 200, "guess": "constant"},
    "nothing-kept": {"kept_bytes": 100, "guess": "zero"},
}


def functional(name, grid, storage, comm=None, **options):
    steps, coarsening, levels = GRIDS[grid]
    # Long coarse steps of the predators, which are explicit, overflow.
    times = (0.5 if name.startswith("strict") else 2.0) * np.linspace(0, 1, steps + 1) ** 1.1
    grid = pint.TimeGrid(times, coarsening, levels, comm)
    return pint.ReducedFunctional(PROBLEMS[name](), grid, storage=storage, **options)


def control_of(rf, seed=2):
    return registry.random_control(rf.controls, seed, deviation=0.3)


def numbers(rf, solve):
    return numbers_of(rf, solve, control_of(rf))


# Problems, grids, solves and options, each with each other in some pair
CASES = [
    # The coarse steps of explicit predators are unstable on three levels.
    (
        name,
        "2-levels" if name.startswith("strict") else tuple(GRIDS)[place % 3],
        tuple(SOLVES)[(place + shift) % 7],
        option,
    )
    for place, name in enumerate(PROBLEMS)
    for shift, option in enumerate(OPTIONS)
]


@pytest.mark.parametrize(("name", "grid", "solve", "option"), CASES)
def test_numbers_are_those_of_all_points(name, grid, solve, option):
    expected, found = (
        numbers(functional(name, grid, storage, **OPTIONS[option]), solve)
        for storage in ("all", "C")
    )
    assert_same_numbers(found, expected)


# Optimisation


METHODS = {
    "mgrit": pint.ReducedSpace,
    "one-shot": pint.OneShot,
    "lagged": pint.Lagged,
    "adaptive": pint.Adaptive,
}


def minimised(name, method, storage, comm=None, iterations=5, **options):
    rf = functional(name, "3-levels", storage, comm)
    method = METHODS[method](iterations=iterations, gradient_tolerance=0.0)
    return pint.minimize(rf, control_of(rf), method, **options)


def assert_same_history(result, expected):
    assert result.status is expected.status
    for row, other in zip(result.history, expected.history, strict=True):
        assert row.line_search_trials == other.line_search_trials
        for name in ("objective", "gradient_norm", "step"):
            largest = max(abs(getattr(each, name)) for each in expected.history)
            assert abs(getattr(row, name) - getattr(other, name)) <= 1e-10 * largest, name


@pytest.mark.parametrize(
    ("name", "method"),
    list(
        zip(["heat", "pendulum-running", "fishing", "pendulum-loop-running"], METHODS, strict=True)
    ),
)
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
    control, state, adjoint = control_of(rf), rf.state.new(), rf.adjoint.new()
    N, N_c = rf.grid.steps, rf.grid.steps // rf.grid.coarsening[0]
    made = []

    def count():
        solvers = rf.state.solver, rf.adjoint.solver
        made.append(tuple(solver.steps_evaluated[0] for solver in solvers))
        return tuple(np.subtract(made[-1], made[-2])) if len(made) > 1 else None

    count()
    rf.state.solve(state, control, ONE)
    assert count() == ((nu + 1) * N, 0)
    terminal = not rf.problem.objective.has_step_cost
    assert not terminal
    rf.objective(state)
    assert count() == (N - N_c, 0)
    rf.adjoint.solve(adjoint, state, ONE)
    # The cost with its outer function is seen twice.
    assert count() == ((nu + 3) * (N - N_c), (nu + 1) * N)
    rf.derivative_of(state, adjoint)
    assert count() == (N - N_c, N)
    rf.derivative_of(state, adjoint)
    assert count() == (0, 0)
    rf.adjoint.solve(adjoint, state, Lagged())
    count()
    rf.derivative_of(state, adjoint)
    assert count() == (0, 0)


# Memory


def peak_of_update(storage, steps, factor, kept_bytes=2**31):
    """Return the most memory that two updates of a network hold at one time, in states."""
    network = DenseNetwork(features=2, width=4, classes=5)
    x, labels = generate(2000, seed=1)
    grid = pint.TimeGrid.uniform(5.0, steps, factor, 2)
    problem = network.problem(x, labels)
    size = problem.space.state_bytes
    tracemalloc.start()
    try:
        options = {"storage": storage, "chunk_bytes": size, "kept_bytes": kept_bytes}
        rf = pint.ReducedFunctional(problem, grid, **options)
        control = network.random_control(rf.controls, seed=0)
        state, adjoint = rf.state.new(), rf.adjoint.new()
        for _ in range(2):
            rf.state.solve(state, control, ONE)
            rf.objective(state)
            rf.adjoint.solve(adjoint, state, ONE)
            rf.derivative_of(state, adjoint)
        return tracemalloc.get_traced_memory()[1] / size
    finally:
        tracemalloc.stop()


def test_peak_memory():
    """Two trajectories, and two blocks of level 1 for each solver.

    With 'all' 2 N + 4 N/m states, N + N/m that steps of both levels keep, with 'C' 6 N/m, and of
    one interval m states and m - 1 that steps keep. Controls, what a step itself allocates, and
    single states (the terminal source, a spare interval) come to less than 24 states.
    """
    N = 128
    for m in (4, 16):
        all_points, c_points = (peak_of_update(storage, N, m) for storage in ("all", "C"))
        assert 3 * N + 5 * N / m <= all_points <= 3 * N + 5 * N / m + 24
        assert 6 * N / m + 2 * m <= c_points <= 6 * N / m + 2 * m + 24
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
    problem = registry.PROBLEMS["pendulum-running"]()
    if message is None:
        pint.ReducedFunctional(problem, grid, storage="C")
        return
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(storage='C'\)`.*" + message):
        pint.ReducedFunctional(problem, grid, storage="C")
    with pytest.raises(ValueError, match=r"`MGRIT\(storage='C'\)`.*" + message):
        MGRIT(grid, problem.space, storage="C")


def test_more_ranks_than_intervals():
    class Rank1Of3(pint.SerialComm):
        rank, size = 1, 3

    grid = pint.TimeGrid.uniform(1.0, 8, 4, 2, Rank1Of3())
    with pytest.raises(ValueError, match="3 ranks in time for N/m = 2 intervals; use fewer ranks"):
        grid.check_c_points("`storage`")


def test_unknown_storage():
    problem = registry.PROBLEMS["pendulum-running"]()
    grid = pint.TimeGrid.uniform(1.0, 8, 2, 2)
    with pytest.raises(ValueError, match=r"`ReducedFunctional\(storage=...\)` is 'all' or 'C'"):
        pint.ReducedFunctional(problem, grid, storage="F")
    with pytest.raises(ValueError, match=r"`MGRIT\(storage=...\)` is 'all' or 'C'"):
        MGRIT(grid, problem.space, storage="F")
