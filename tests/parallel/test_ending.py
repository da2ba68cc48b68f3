"""Runs on many ranks end together: by the callback of one, by the clock of one, by a count."""

import time
from functools import partial

import pytest
from parallel.test_optimise import functional

import pint

METHODS = {
    "reduced": pint.ReducedSpace,
    "one-shot": pint.OneShot,
    "lagged": pint.Lagged,
    "adaptive": pint.Adaptive,
    "scipy": partial(pint.External, "scipy:L-BFGS-B"),
    "tao": partial(pint.External, "tao:blmvm"),
}


def solve(world, method, callback=None, **limits):
    value = METHODS[method](gradient_tolerance=0.0, iterations=500, **limits)
    return pint.minimize(*functional(world, 8, 2, 4, 3, 10), value, callback=callback)


@pytest.mark.parametrize("method", METHODS)
def test_the_callback_of_one_rank_stops_all(world, method):
    def callback(iterate, control, state):
        if world.rank == world.size - 1 and iterate.iteration == 3:
            raise StopIteration
        return world.rank == 0 and iterate.iteration == 4

    result = solve(world, method, callback)
    assert (result.status, result.iterations) == (pint.Status.STOPPED, 3)


@pytest.mark.parametrize("method", METHODS)
def test_the_clock_of_one_rank_ends_all(world, method):
    def callback(iterate, control, state):
        time.sleep(0.1 * (world.rank == world.size - 1))

    result = solve(world, method, callback, time_limit=0.15)
    assert result.status is pint.Status.TIME_LIMIT
    assert world.allgather(result.iterations) == [result.iterations] * world.size


@pytest.mark.parametrize("method", METHODS)
def test_evaluations_end_all_ranks(world, method):
    result = solve(world, method, evaluations=5)
    assert result.status is pint.Status.EVALUATION_LIMIT
