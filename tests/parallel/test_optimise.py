"""Training a dense network: twenty updates on many ranks are those on one."""

import pytest
from parallel.cases import assert_same_run

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

UPDATES = 20


def sequential(functional, control):
    return pint.minimize(functional, control, iterations=UPDATES)


def one_shot(functional, control):
    return pint.OneShot(functional, cycles=2).solve(control, iterations=UPDATES)


def lagged(functional, control):
    return pint.OneShot(functional, 1, lagged=True).solve(control, iterations=UPDATES)


def adaptive(functional, control):
    return pint.OneShot(functional, "adaptive").solve(control, iterations=UPDATES)


def training(comm, levels, method):
    grid = pint.TimeGrid.uniform(5.0, 18, coarsening=4, levels=levels, comm=comm)
    network = DenseNetwork(features=2, width=4, classes=5)
    controls = network.controls(grid)
    x, labels = generate(20, seed=0)
    problem = network.problem(controls, x, labels, Regularisation(1e-3, 1e-3, 1e-3, 1e-3))
    functional = pint.ReducedFunctional(problem, accuracy=pint.Accuracy(4))
    return method(functional, network.random_control(controls, seed=1))


@pytest.mark.parametrize(
    ("levels", "method"),
    [
        (1, sequential),
        (2, sequential),
        (2, one_shot),
        (2, lagged),
        (3, lagged),
        (2, adaptive),
        (3, adaptive),
    ],
)
def test_twenty_updates(world, levels, method):
    ours, serial = (training(comm, levels, method) for comm in (world, pint.SerialComm()))
    assert ours.iterations == UPDATES
    assert_same_run(ours, serial, "step", "line_search_trials")
    assert ours.objective < 0.9 * serial.history[0].objective


def test_the_callback_sees_the_same_on_every_rank(world):
    seen = []
    grid = pint.TimeGrid.uniform(5.0, 8, coarsening=2, levels=2, comm=world)
    network = DenseNetwork(features=2, width=3, classes=5)
    controls = network.controls(grid)
    problem = network.problem(controls, *generate(10, seed=0))
    pint.minimize(
        pint.ReducedFunctional(problem),
        network.random_control(controls, seed=1),
        iterations=3,
        callback=lambda iterate, control, state: seen.append(iterate.objective),
    )
    assert len(seen) == 4
    assert all(other == seen for other in world.allgather(seen))
