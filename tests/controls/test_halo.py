"""Which control blocks ranks exchange: every rank's own sums against all ranks' needs."""

import numpy as np
from grids import distributed_grids
from hypothesis import given
from hypothesis import strategies as st

from pint.controls.halo import coarse_halo, neighbour_halo


def assert_exchange(grids, halos, needed):
    """Assert that each rank receives, from their owners, the steps `needed` of others."""
    for grid, halo, steps in zip(grids, halos, needed, strict=True):
        rank, own = grid.comm.rank, range(grid.first, grid.last)
        assert [*halo.before, *own, *halo.after] == sorted({*steps, *own})
        assert [step for received in halo.receives.values() for step in received] == sorted(
            set(steps) - set(own)
        )
        for other, received in halo.receives.items():
            assert all(grids[other].first <= step < grids[other].last for step in received)
            np.testing.assert_array_equal(halos[other].sends[rank], received)
        for other in halo.sends:
            assert rank in halos[other].receives
        everything = np.array([*halo.before, *own, *halo.after], dtype=int)
        np.testing.assert_array_equal(halo.rows(everything), np.arange(len(everything)))


@given(distributed_grids(), st.booleans(), st.booleans())
def test_blocks_of_coarse_steps(grids, whole, reverse):
    needed = [set() for _ in grids]
    for grid, steps in zip(grids, needed, strict=True):
        for layout in grid.layouts(reverse)[1:]:
            for number in range(layout.first, layout.last):
                start = number * layout.stride
                if reverse:
                    start = grid.steps - start - layout.stride
                covered = range(start, start + layout.stride)
                steps.update(covered if whole else covered[:1])
    assert_exchange(grids, [coarse_halo(grid, whole, reverse) for grid in grids], needed)


@given(distributed_grids())
def test_blocks_of_neighbours(grids):
    needed = [
        [n for n in (g.first - 1, g.last) if g.local_steps and 0 <= n < g.steps] for g in grids
    ]
    assert_exchange(grids, [neighbour_halo(grid) for grid in grids], needed)
