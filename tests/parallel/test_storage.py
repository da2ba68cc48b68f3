"""C-points alone on many ranks: the numbers of one rank that stores all points."""

from functools import partial

import numpy as np
import pytest
from parallel.cases import finished
from solves import ONE, assert_same_numbers
from test_storage import (
    PROBLEMS,
    SOLVES,
    assert_same_history,
    functional,
    minimised,
    numbers,
)

import pint
from pint.comm import on_root, split
from pint.equations import Lagged
from problems.heat import Heat, manufactured

PLACES = [
    ("pendulum-running", "3-levels", {}),
    ("pendulum-loop-running", "3-levels-open", {"relaxation": "F", "guess": "coarse"}),
    ("heat", "3-levels", {"chunk_bytes": 1}),
    ("forced-rk4", "3-levels-open", {"relaxation": "F", "chunk_bytes": 1}),
]


# Each solve in two places, batched and one by one
@pytest.mark.layout
@pytest.mark.parametrize(
    ("name", "grid", "options", "solve"),
    [
        (*place, solve)
        for i, place in enumerate(PLACES)
        for j, solve in enumerate(SOLVES)
        if (i // 2 + i + j) % 2 == 0
    ],
)
def test_numbers(world, name, grid, options, solve):
    serial = on_root(world, lambda: numbers(functional(name, grid, "all", **options), solve))
    rf = functional(name, grid, "C", world, **options)
    found, first = numbers(rf, solve), rf.grid.first
    for place, (kind, value) in enumerate(serial):
        if kind == "states":  # this rank's part, row 0 the point before it
            serial[place] = kind, value[first : first + rf.grid.local_steps + 1]
    assert_same_numbers(found, serial)


@pytest.mark.parametrize("method", ["lagged", "adaptive"])
def test_updates(world, method):
    expected = on_root(world, lambda: finished(minimised("heat", method, "all")))
    assert_same_history(minimised("heat", method, "C", world), expected)


def test_resumed_on_all_ranks(world, tmp_path_factory):
    path = on_root(world, lambda: tmp_path_factory.mktemp("checkpoint")) / "run.npz"
    whole = on_root(world, lambda: finished(minimised("heat", "lagged", "C", iterations=6)))
    minimised("heat", "lagged", "C", world, iterations=3, checkpoint=pint.Checkpoint(path))
    checkpoint = pint.Checkpoint(path, resume=True)
    again = minimised("heat", "lagged", "C", world, iterations=6, checkpoint=checkpoint)
    assert_same_history(again, whole)


@pytest.mark.layout
def test_every_rank_needs_an_interval_and_refuses_alike(world):
    def stored(intervals):
        grid = pint.TimeGrid.uniform(1.0, 4 * intervals, 4, 2, world)
        pint.ReducedFunctional(PROBLEMS["heat"](), grid, storage="C")

    stored(world.size)
    for fewer in range(1, world.size):
        with pytest.raises(ValueError, match=f"{world.size} ranks in time for N/m = {fewer} "):
            stored(fewer)


@pytest.mark.petsc
@pytest.mark.space
@pytest.mark.parametrize("name", ["distributed", "neumann"])
def test_petsc_states(world, name):
    from problems.heat_petsc import petsc_problem

    heat = Heat(name, 7)

    def numbers_of(storage):
        time, space = split(world, 2 if world.size % 2 == 0 else 1)
        grid = pint.TimeGrid.uniform(1.0, 24, [3, 2], 3, time)
        problem, _ = petsc_problem(heat, space, partial(manufactured, heat, 1.0))
        rf = pint.ReducedFunctional(problem, grid, storage=storage)
        state, adjoint = rf.state.new(), rf.adjoint.new()
        found = []
        for factor in (1.0, 0.9):
            control = rf.control(u=0.3 * factor)
            rf.state.solve(state, control, Lagged())
            rf.adjoint.solve(adjoint, state, Lagged())
            found.append(rf.derivative_of(state, adjoint).vector)
            rf.state.solve(state, control, ONE)
            rf.adjoint.solve(adjoint, state, ONE)
            found.append(rf.derivative_of(state, adjoint).vector)
            found.append(np.array([rf.objective(state).objective]))
        return found

    for value, other in zip(numbers_of("C"), numbers_of("all"), strict=True):
        size = np.abs(other).max(initial=0.0)
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-12 * size)
