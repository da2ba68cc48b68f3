"""Solves that do not meet their tolerance, on many ranks: one warning, or an error on all."""

import warnings

import pytest
from unconverged import advection

import pint


def test_one_rank_warns(world):
    functional = advection(world)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        functional.gradient(functional.control(u=0.1))
    assert world.allgather(len(told)) == [1] + [0] * (world.size - 1)
    counts = functional.solves.asked, functional.solves.converged
    assert world.allgather(counts) == [(2, 0)] * world.size


def test_all_ranks_raise(world):
    functional = advection(world, unconverged="error")
    for attempt in (functional.value, functional.gradient, lambda _: pint.minimize(functional)):
        with pytest.raises(pint.ConvergenceError, match="equation did not converge"):
            attempt(functional.control(u=0.1))
    world.Barrier()
