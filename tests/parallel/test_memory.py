"""Peak memory of the ranks, in their order, on every rank."""

import pytest
from linear_quadratic import DOUBLE_INTEGRATOR

import pint
from pint.report import memory


@pytest.mark.space
@pytest.mark.parametrize("space_size", [1, 2, 3])
def test_ranks_are_in_the_order_of_the_world(space_size, world, monkeypatch):
    if world.size % space_size:
        space_size = world.size
    monkeypatch.setattr(memory, "peak_memory", lambda: 100 + world.rank)
    peaks = memory.peak_memory_of_ranks(*pint.split(world, space_size))
    assert peaks == tuple(range(100, 100 + world.size))


def test_every_rank_has_all_numbers(world):
    grid = pint.TimeGrid.uniform(1.0, 20, 4, 2, world)
    functional = pint.ReducedFunctional(DOUBLE_INTEGRATOR.problem(), grid)
    for method in (
        pint.ReducedSpace(iterations=1),
        pint.External("scipy:L-BFGS-B", iterations=1),
        pint.OneShot(iterations=1),
    ):
        result = pint.minimize(functional, method=method)
        assert len(result.peak_memory) == world.size
        assert min(result.peak_memory) > 1e6
        assert world.allgather(result.peak_memory) == [result.peak_memory] * world.size
