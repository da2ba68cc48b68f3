"""Training a dense network: twenty updates on many ranks are those on one."""

import numpy as np
import pytest
from parallel.cases import assert_same_run, finished

import pint
from pint.comm import on_root
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

UPDATES = 20


def functional(comm, steps, levels, coarsening, width=4, count=20, regularisation=None):
    grid = pint.TimeGrid.uniform(5.0, steps, coarsening, levels, comm)
    network = DenseNetwork(features=2, width=width, classes=5)
    problem = network.problem(*generate(count, seed=0), regularisation)
    made = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(4))
    return made, network.random_control(made.controls, seed=1)


@pytest.mark.parametrize(
    ("levels", "method"),
    [
        (1, pint.ReducedSpace),
        (2, pint.ReducedSpace),
        (2, pint.OneShot),
        (2, pint.Lagged),
        (3, pint.Lagged),
        (2, pint.Adaptive),
        (3, pint.Adaptive),
    ],
)
def test_twenty_updates(world, levels, method):
    weights = Regularisation(1e-3, 1e-3, 1e-3, 1e-3)

    def run(comm):
        start = functional(comm, 18, levels, 4, regularisation=weights)
        return finished(pint.minimize(*start, method(iterations=UPDATES)))

    ours, serial = run(world), on_root(world, lambda: run(pint.SerialComm()))
    assert ours.iterations == UPDATES
    assert_same_run(ours, serial, "line_search_trials")
    assert ours.objective < 0.9 * serial.history[0].objective


def test_the_callback_sees_the_same_on_every_rank(world):
    seen = []
    pint.minimize(
        *functional(world, 8, 2, 2, width=3, count=10),
        pint.ReducedSpace(iterations=3),
        callback=lambda iterate, control, state: seen.append(iterate.objective),
    )
    assert len(seen) == 4
    assert all(other == seen for other in world.allgather(seen))


def test_nested_iteration_and_all_states_on_the_first_rank(world):
    ends = []
    for comm in (world, pint.SerialComm()):
        fine, _ = functional(comm, 16, 2, 4)
        coarse = pint.TimeGrid.uniform(5.0, 8, 4, 2, comm)
        method = pint.Nested([coarse], pint.OneShot(iterations=4))
        ends.append(pint.minimize(fine, fine.control(weight=0.1), method))
    ours, serial = ends
    assert_same_run(finished(ours), finished(serial), "line_search_trials")
    stages = (finished(one.stages[0]) for one in ends)
    assert_same_run(*stages, "line_search_trials")
    states = ours.states()
    assert (states is None) == (world.rank > 0)
    if states is not None:
        np.testing.assert_allclose(states, serial.states(), rtol=0, atol=1e-8)
