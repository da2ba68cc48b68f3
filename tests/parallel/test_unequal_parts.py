"""States whose parts in space differ in size: what ranks do together does not depend on it."""

import numpy as np
import pytest
from unequal import mean_problem

import pint
from pint.comm import split

PART = 8 * 40  # bytes of the smallest part


@pytest.mark.space
@pytest.mark.parametrize(
    ("storage", "options"),
    [
        # Six states of the smallest part fit a chunk, three of the next one.
        ("all", {"chunk_bytes": 6 * PART}),
        ("C", {"chunk_bytes": 6 * PART}),
        # What the steps of the smallest part keep fits, and no more.
        ("all", {"kept_bytes": 13 * PART}),
    ],
)
def test_batches_and_tapes_are_the_same_on_all_ranks_in_space(world, storage, options):
    comm, space = split(world, world.size)
    grid = pint.TimeGrid.uniform(1.0, 12, levels=2)
    problem = mean_problem(space)
    sequential = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 12))
    functional = pint.ReducedFunctional(problem, grid, storage=storage, **options)
    control = functional.control(force=np.linspace(0, 1, 12)[:, None])
    expected = sequential.control(force=np.linspace(0, 1, 12)[:, None])
    assert functional.value(control) == pytest.approx(sequential.value(expected), rel=1e-11)
    np.testing.assert_allclose(
        functional.derivative(control).vector, sequential.derivative(expected).vector, rtol=1e-9
    )
    assert comm.size == 1
