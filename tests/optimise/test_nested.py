"""Nested iteration: each run starts from the control of the run on the grid before."""

import weakref

import numpy as np
import pytest

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

NETWORK = DenseNetwork(features=2, width=4, classes=5)
PROBLEM = NETWORK.problem(*generate(60, seed=0), Regularisation(1e-4, 1e-4, 1e-4))
GRIDS = [pint.TimeGrid.uniform(3.0, layers, 2, 2) for layers in (4, 8)]
FUNCTIONAL = pint.ReducedFunctional(PROBLEM, pint.TimeGrid.uniform(3.0, 16, 2, 2), relaxation="F")


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
def test_runs_are_those_on_each_grid_from_the_control_before(interpolate):
    method, seen = pint.OneShot(iterations=15), []
    coarse = FUNCTIONAL.on(GRIDS[0])
    start = NETWORK.random_control(coarse.controls, seed=1)
    result = pint.minimize(
        FUNCTIONAL,
        start,
        pint.Nested(GRIDS, method, interpolate),
        callback=lambda iterate, control, state: seen.append(control.space.grid.steps),
    )
    control = start
    for stage in (*result.stages, result):
        functional = FUNCTIONAL.on(stage.control.space.grid)
        control = pint.prolong(control, functional.controls, interpolate)
        expected = pint.minimize(functional, control, method)
        assert stage.objective == pytest.approx(expected.objective, rel=1e-12)
        np.testing.assert_allclose(stage.control.vector, expected.control.vector, rtol=1e-9)
        at_random = functional.value(NETWORK.random_control(functional.controls, seed=1))
        if stage is not result.stages[0]:
            assert stage.history[0].objective < 0.9 * at_random
        control = expected.control
    assert [stage.control.space.grid.steps for stage in result.stages] == [4, 8]
    assert set(seen) == {16}


def test_functionals_are_made_when_their_turn_comes(monkeypatch):
    made, runs = [], []
    on, run = pint.ReducedFunctional.on, pint.OneShot.run
    monkeypatch.setattr(
        pint.ReducedFunctional, "on", lambda self, grid: made.append(len(runs)) or on(self, grid)
    )
    monkeypatch.setattr(
        pint.OneShot, "run", lambda self, *arguments: runs.append(1) or run(self, *arguments)
    )
    pint.minimize(FUNCTIONAL, method=pint.Nested(GRIDS, pint.OneShot(iterations=1)))
    assert (made, len(runs)) == ([0, 1], 3)


@pytest.fixture
def made(monkeypatch):
    """Return references to the functionals on coarse grids, in the order of their making."""
    found, on = [], pint.ReducedFunctional.on

    def noted(self, grid):
        coarse = on(self, grid)
        assert coarse.problem is self.problem
        found.append(weakref.ref(coarse))
        return coarse

    monkeypatch.setattr(pint.ReducedFunctional, "on", noted)
    return found


def test_functionals_and_states_of_coarse_grids_end_with_their_runs(made):
    alive = []
    result = pint.minimize(
        FUNCTIONAL,
        method=pint.Nested(GRIDS, pint.OneShot(iterations=1)),
        callback=lambda *shown: alive.append([one() is not None for one in made]),
    )
    assert len(alive) > 0 and not np.any(alive) and len(made) == 2
    assert [stage.grid for stage in result.stages] == GRIDS
    assert all("iterations" in stage.message for stage in result.stages)


def test_coarse_functionals_are_of_the_same_problem_with_the_same_options(made):
    result = pint.minimize(FUNCTIONAL, method=pint.Nested(GRIDS, pint.OneShot(iterations=0)))
    assert len(made) == 2
    for stage in result.stages:
        expected = pint.ReducedFunctional(PROBLEM, stage.grid, relaxation="F")
        again = pint.minimize(expected, expected.controls.zeros(), pint.OneShot(iterations=0))
        assert again.history[0].state_steps == stage.history[0].state_steps
