"""Stochastic runs on any layout of ranks: the same decisions, one validation, one checkpoint."""

import numpy as np
import pytest

import pint
from pint.comm import on_root
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation

NETWORK = DenseNetwork(features=2, width=4, classes=5)
X, LABELS = generate(23, seed=3)
SERIAL = (pint.SerialComm(), pint.SerialComm())
COLUMNS = ("objective", "gradient_norm", "gradient_error", "state_residual", "step", "state_cycles")


def train(comms, checkpoint=None, callback=None, **options):
    time, space = comms
    weights, examples = Regularisation(1e-3, 2e-3, 3e-3), space if space.size > 1 else None
    problem = NETWORK.problem(X, LABELS, weights, 6, comm=examples)
    grid = pint.TimeGrid.uniform(5.0, 16, 4, 2, time)
    functional = pint.ReducedFunctional(problem, grid, relaxation="F", unconverged="ignore")
    control = NETWORK.random_control(functional.controls, 1)
    settings = {"epochs": 5, "cycles": pint.BiasControl(0.03, every=3, most_cycles=3)} | options
    method = pint.Stochastic(pint.adam(weight_decay=0.1), learning_rate=0.15, clip=0.2, **settings)
    return pint.minimize(functional, control, method, callback=callback, checkpoint=checkpoint)


def assert_same(ours, other, **tolerances):
    for name, values in other.control.gather().items():
        np.testing.assert_allclose(ours.control.gather()[name], values, **tolerances)
    assert (ours.iterations, ours.status) == (other.iterations, other.status)
    assert len(ours.history) == len(other.history)
    for name in COLUMNS:
        both = [[getattr(row, name) for row in each.history] for each in (ours, other)]
        np.testing.assert_allclose(*both, err_msg=name, **tolerances)


def schedule(update, epoch):
    """Return another factor on each rank but the first."""
    return 1.0 / (1 + epoch) + 0.1 * pint.world().rank


@pytest.mark.parametrize("space_size", [1, 2])
def test_ranks_decide_alike(world, space_size):
    if world.size % space_size:
        pytest.skip("the ranks cannot be divided so")
    values = iter([3.0, 2.0, 1.0, 2.0, 2.5, 0.0])

    def validation(control):
        return next(values) if world.rank == 0 else -world.rank  # the first rank's word counts

    script = iter([3.0, 2.0, 1.0, 2.0, 2.5, 0.0])
    serial = train(SERIAL, validation=lambda control: next(script), patience=2, epochs=9)
    comms = pint.split(world, space_size=space_size)
    ours = train(comms, validation=validation, patience=2, epochs=9)
    assert ours.status is pint.Status.EARLY_STOPPED
    assert ours.iterations == 12 < len(ours.history)
    assert serial.note
    assert_same(ours, serial, rtol=1e-7, atol=1e-9)


def test_the_first_rank_s_schedule_counts(world):
    comms = (world, pint.SerialComm())
    ours = train(comms, schedule=schedule, cycles=1)
    rates = [row.step for row in ours.history]
    assert rates[:8] == pytest.approx([*5 * [0.15], *3 * [0.075]])
    assert all(rates == other for other in world.allgather(rates))


def test_a_run_is_resumed_on_as_many_ranks_to_the_last_bit(world, tmp_path_factory):
    path = on_root(world, lambda: tmp_path_factory.mktemp("checkpoint")) / "run.npz"
    comms = (world, pint.SerialComm())
    whole = train(comms)
    train(comms, pint.Checkpoint(path), epochs=2)
    resumed = train(comms, pint.Checkpoint(path, resume=True))
    assert_same(resumed, whole, rtol=0, atol=0)
    if world.size > 1:  # and on one rank up to the order of sums
        own = path.with_name(f"own{world.rank}.npz")
        own.write_bytes(path.read_bytes())
        world.Barrier()
        alone = train(SERIAL, pint.Checkpoint(own, resume=True))
        np.testing.assert_allclose(
            alone.control.gather()["weight"], whole.control.gather()["weight"], atol=1e-7
        )
