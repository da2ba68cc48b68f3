"""Diagnoses on many ranks are those of one rank."""

import numpy as np
import pytest
from diagnosis_cases import functional, network, oscillator
from unconverged import advection

import pint


def numbers(found):
    """Return all numbers that cycles measure, and those that they are predicted to have."""
    residuals = [one.norms for one in (found.state, found.adjoint)]
    ratios = [one.ratios for one in found.factors]
    theory = [one.theory or 0.0 for one in found.factors]
    slow = found.slow
    more = (slow.share, slow.frequency, slow.late, slow.fine_growth, slow.coarse_growth)
    return np.concatenate([*ratios, *residuals, theory, more])


def assert_same(world, ours, serial):
    # Residuals at rounding are those of other sums.
    np.testing.assert_allclose(numbers(ours), numbers(serial), rtol=1e-5, atol=1e-8)
    for trial in ours.trials:  # more ranks than intervals have fewer set-ups
        assert trial.steps == pytest.approx(serial.trial(trial.setup).steps, rel=1e-6)
    assert ours.recommendation.setup == serial.recommendation.setup
    assert ours.slow.cause == serial.slow.cause and ours.slow.name == serial.slow.name
    texts = world.allgather(str(ours))
    assert texts == [texts[0]] * world.size


@pytest.mark.parametrize(("relaxation", "storage"), [("F", "all"), ("FCF", "C")])
def test_linear_steps(world, relaxation, storage):
    options = {"T": 4.0, "N": 24, "m": 4, "relaxation": relaxation, "storage": storage}
    options["accuracy"] = pint.Accuracy(relative=1e-4)
    budget = 90.0 if storage == "all" else 1e-3  # a few trials
    ours, serial = (
        pint.diagnose(functional(oscillator(), comm=comm, **options), budget=budget)
        for comm in (world, None)
    )
    assert_same(world, ours, serial)


def test_intervals_that_ranks_share(world):
    times, accuracy = np.linspace(0, 1, 24) ** 1.2, pint.Accuracy(relative=1e-6)
    options = {"times": times, "m": [3, 2], "levels": 3, "accuracy": accuracy}
    ours, serial = (
        pint.diagnose(functional(oscillator(), comm=comm, **options), budget=1e-3)
        for comm in (world, None)
    )
    assert_same(world, ours, serial)


def test_a_network(world):
    pairs = [network(N=16, comm=comm) for comm in (world, None)]
    ours, serial = (pint.diagnose(*pair, budget=1e-3, tolerance=1e-6) for pair in pairs)
    assert_same(world, ours, serial)


def test_errors_on_all_ranks(world):
    with pytest.raises(ValueError, match="one level"):
        pint.diagnose(functional(oscillator(), levels=1, comm=world))
    if world.size > 1:
        with pytest.raises(ValueError, match="budget"):
            pint.diagnose(advection(world), budget=1.0 + world.rank)
    world.Barrier()
