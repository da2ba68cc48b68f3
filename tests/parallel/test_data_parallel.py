"""Examples divided among the ranks in space, layers among those in time: one rank's numbers."""

from functools import cache

import numpy as np
import pytest
from parallel.cases import assert_same_control, assert_same_run, each_split, finished

import pint
from pint.comm import on_root
from pint.equations import Cycles
from problems.classification import accuracy
from problems.convolution import ConvolutionalNetwork
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

UPDATES = 10
SERIAL = (pint.SerialComm(), pint.SerialComm())
ONE = Regularisation(1e-3, 1e-3, 1e-3, 1e-3)


def bars(examples):
    """Return images of 1 x 4 x 6 pixels of three classes."""
    random = np.random.default_rng(0)
    kinds = np.arange(examples) % 3
    x = random.uniform(0.0, 0.3, (examples, 1, 4, 6))
    for image, kind, place in zip(x[:, 0], kinds, random.integers(0, 4, examples), strict=True):
        view = image.T if kind == 1 else image
        view[place] += 0.0 if kind == 2 else 1.0
    return x, np.eye(3)[kinds]


NETWORKS = {
    "trained": (DenseNetwork(2, 4, 5), lambda examples: generate(examples, seed=0)),
    "pad": (DenseNetwork(2, 4, 5, opening="pad"), lambda examples: generate(examples, seed=0)),
    "convolutional": (ConvolutionalNetwork((1, 4, 6), 2, 3, pool=2), bars),
    "replicate": (ConvolutionalNetwork((1, 4, 6), 3, 3, opening="replicate"), bars),
}


def network_functional(comms, levels, examples=21, name="trained", batch_size=None, **options):
    """Return a functional and a control to start from, on ranks in (time, space)."""
    grid = pint.TimeGrid.uniform(3.0, 18, coarsening=4, levels=levels, comm=comms[0])
    network, data = NETWORKS[name]
    problem = network.problem(*data(examples), ONE, batch_size, comm=comms[1])
    functional = pint.ReducedFunctional(problem, grid, **options)
    return functional, network.random_control(functional.controls, seed=1)


# Fewer examples than ranks: some have none
@pytest.mark.parametrize(
    ("levels", "name", "examples"),
    [
        (1, "trained", 21),
        (2, "trained", 3),
        (3, "pad", 21),
        (1, "convolutional", 3),
        (2, "convolutional", 21),
        (3, "replicate", 21),
    ],
)
@each_split
def test_value_gradient_and_accuracy(space_size, levels, name, examples, world):
    results = []
    for comms in (SERIAL, pint.split(world, space_size)):
        functional, control = network_functional(
            comms, levels, examples, name, accuracy=pint.Accuracy(3)
        )
        state, grid = functional.state.new(), functional.grid
        functional.state.solve(state, control, Cycles(pint.Accuracy(3)))
        percentage = None
        if comms[0].rank == grid.last_rank:
            labels = functional.problem.objective.labels
            features = NETWORKS[name][0].readout.features(state.points[-1])
            percentage = accuracy(features, control.shared, labels, comms[1])
        percentage = comms[0].bcast(percentage, root=grid.last_rank)
        residuals = state.convergence.residuals
        value, derivative = functional.value(control), functional.derivative(control)
        results.append((value, derivative, residuals, percentage))
    (value, derivative, residuals, percentage), ours = results
    assert ours[0] == pytest.approx(value, rel=1e-13)
    assert_same_control(ours[1], derivative)
    np.testing.assert_allclose(ours[2], residuals, rtol=1e-10)
    assert ours[3] == percentage
    assert 0 <= percentage <= 100
    # To the last bit the same on every rank in space: decisions are taken by them.
    gathered = world.allgather((ours[0], {n: v.tobytes() for n, v in ours[1].gather().items()}))
    assert all(other == gathered[0] for other in gathered)


METHODS = {
    "sequential": (1, pint.ReducedSpace(iterations=UPDATES)),
    "mgrit": (2, pint.ReducedSpace(iterations=UPDATES)),
    "one-shot": (2, pint.OneShot(cycles=2, iterations=UPDATES)),
    "lagged": (3, pint.Lagged(cycles=1, iterations=UPDATES)),
    "adaptive": (2, pint.Adaptive(iterations=UPDATES)),
}


def run(comms, method, name):
    levels, method = METHODS[method]
    functional = network_functional(comms, levels, name=name, accuracy=pint.Accuracy(4))
    return finished(pint.minimize(*functional, method))


@cache
def run_alone(*arguments):
    return on_root(pint.world(), lambda: run(SERIAL, *arguments))


@pytest.mark.parametrize(
    ("method", "name"),
    [*((method, "trained") for method in METHODS), ("one-shot", "convolutional")],
)
@each_split
def test_ten_updates(space_size, method, name, world):
    serial, ours = run_alone(method, name), run(pint.split(world, space_size), method, name)
    assert ours.iterations == UPDATES
    assert_same_run(ours, serial, "line_search_trials", "state_cycles", "adjoint_cycles")
    assert serial.objective < 0.9 * serial.history[0].objective


@each_split
def test_optimisers_of_other_packages_get_each_variable_once(space_size, world):
    serial, ours = (
        pint.minimize(*network_functional(comms, 1), pint.External("scipy:L-BFGS-B", iterations=10))
        for comms in (SERIAL, pint.split(world, space_size))
    )
    np.testing.assert_allclose(
        [row.objective for row in ours.history],
        [row.objective for row in serial.history],
        rtol=1e-9,
    )


@each_split
def test_a_resumed_run_is_the_uninterrupted_one(space_size, world, tmp_path_factory):
    path = world.bcast(tmp_path_factory.mktemp("run") if world.rank == 0 else None, root=0) / "run"

    def run(iterations, **options):
        functional, control = network_functional(pint.split(world, space_size), 2)
        method = pint.OneShot(cycles=2, iterations=iterations)
        return pint.minimize(functional, control, method, **options)

    whole = run(8)
    run(3, checkpoint=pint.Checkpoint(path))
    resumed = run(8, checkpoint=pint.Checkpoint(path, resume=True))
    for row, other in zip(resumed.history, whole.history, strict=True):
        assert row.objective == pytest.approx(other.objective, rel=1e-9)


def test_parts_and_whole_fields_in_one_control(world):
    """Parts of replicated fields are summed over the ranks in space, distributed fields are not."""
    grid, comm = pint.TimeGrid.uniform(1.0, 3), world
    space = pint.ControlSpace(
        grid,
        comm,
        far=pint.TimeControl(2, comm=comm),
        near=pint.TimeControl(1),
        theta=pint.SharedControl(3),
    )
    derivative = pint.Control(space, np.arange(float(space.size)) + 100 * comm.rank)
    before = derivative.vector.copy()
    space.sum_parts(derivative)
    np.testing.assert_array_equal(derivative["far"].ravel(), before[:6])
    expected = comm.size * np.arange(6, 12) + 100 * sum(range(comm.size))
    np.testing.assert_array_equal(derivative.vector[6:], expected)


def stochastic(comms, rule, levels, name):
    functional, control = network_functional(comms, levels, 33, name, batch_size=7)
    method = pint.Stochastic(rule, epochs=2, learning_rate=0.05, cycles=2)
    return finished(pint.minimize(functional, control, method))


@pytest.mark.parametrize(
    ("rule", "levels", "name"),
    [(pint.sgd(), 1, "trained"), (pint.adam(), 2, "trained"), (pint.adam(), 2, "convolutional")],
    ids=["sgd", "adam", "convolutional"],
)
@each_split
def test_ten_updates_from_batches(space_size, rule, levels, name, world):
    serial = on_root(world, lambda: stochastic(SERIAL, rule, levels, name))
    ours = stochastic(pint.split(world, space_size), rule, levels, name)
    assert ours.iterations == UPDATES
    assert_same_run(ours, serial)


@pytest.mark.parametrize(
    ("old", "new", "interpolate"),
    [(6, 12, "constant"), (12, 6, "linear"), (5, 13, "linear"), (1, 2, "constant")],
)
@each_split
def test_prolonged_controls(space_size, old, new, interpolate, world):
    """Time-dependent, shared and distributed fields; from one rank to many, too."""

    def space(steps, comms):
        grid = pint.TimeGrid.uniform(2.0, steps, comm=comms[0])
        return pint.ControlSpace(
            grid,
            u=pint.TimeControl(6 * world.size // comms[1].size, comm=comms[1]),
            theta=pint.SharedControl(3),
        )

    comms = pint.split(world, space_size)
    blocks = np.random.default_rng(0).standard_normal((old, 6 * world.size))
    one, many = (space(old, c).control(u=blocks, theta=[1.0, 2.0, 3.0]) for c in (SERIAL, comms))
    expected = pint.prolong(one, space(new, SERIAL), interpolate)
    for control in (one, many):
        assert_same_control(pint.prolong(control, space(new, comms), interpolate), expected)


def test_complex_numbers_are_summed_as_such(world):
    """Costs that are summed over ranks can be differentiated by a complex step."""
    assert pint.comm.reduce(world, 1 + 2j)[0] == world.size * (1 + 2j)
    assert pint.comm.reduce(world, [1, 2]).dtype == np.float64
