"""Time grids: levels, ownership in both directions of time, times of steps, errors."""

import copy
import pickle

import numpy as np
import pytest
from grids import distributed_grids
from hypothesis import given
from hypothesis import strategies as st

import pint


def points_of(layout):
    return [*([0] if layout.owns_initial else []), *range(layout.first + 1, layout.last + 1)]


@given(distributed_grids(), st.booleans())
def test_every_point_of_every_level_is_owned_once(grids, reverse):
    steps = grids[0].steps
    for level, layouts in enumerate(zip(*(g.layouts(reverse) for g in grids), strict=True)):
        owned = [point for layout in layouts for point in points_of(layout)]
        assert sorted(owned) == list(range(layouts[0].steps + 1))
        assert all(layout.steps == steps // layout.stride for layout in layouts)
        assert all(layout.local_steps == layout.last - layout.first >= 0 for layout in layouts)
        assert all(layout.active == bool(points_of(layout)) for layout in layouts)
        assert {layout.stride for layout in layouts} == {grids[0].strides[level]}


@given(distributed_grids(), st.booleans())
def test_a_point_of_a_level_lives_where_its_finest_point_lives(grids, reverse):
    for grid in grids:
        finest, *coarser = grid.layouts(reverse)
        for layout in coarser:
            assert {i * layout.stride for i in points_of(layout)} == {
                i for i in points_of(finest) if i % layout.stride == 0
            }


@given(distributed_grids())
def test_both_directions_give_a_rank_the_same_finest_steps(grids):
    steps = grids[0].steps
    for grid in grids:
        forward, backward = grid.layouts()[0], grid.layouts(reverse=True)[0]
        assert (grid.first, grid.last) == (forward.first, forward.last)
        assert (steps - grid.last, steps - grid.first) == (backward.first, backward.last)
        assert grid.local_steps == forward.local_steps
        sizes = np.diff(grid.t)[grid.first : grid.last]
        np.testing.assert_allclose(grid.dt, sizes, rtol=0, atol=4e-16 * grid.t[-1])


@given(distributed_grids(), st.booleans())
def test_neighbours_are_the_next_active_ranks_of_the_direction(grids, reverse):
    for layouts in zip(*(grid.layouts(reverse) for grid in grids), strict=True):
        active = [rank for rank, layout in enumerate(layouts) if layout.active]
        chain = sorted(active, reverse=reverse)
        assert layouts[chain[0]].owns_initial
        for left, right in zip([None, *chain], [*chain, None], strict=True):
            if right is not None:
                assert layouts[right].left == left
            if left is not None:
                assert layouts[left].right == right


@given(distributed_grids())
def test_the_last_rank_owns_a_step_and_steps_know_their_rank(grids):
    grid = grids[0]
    assert grids[grid.last_rank].last == grid.steps
    assert grids[grid.last_rank].local_steps >= 1
    for step in range(grid.steps):
        owner = grids[grid.rank_of_step(step)]
        assert owner.first <= step < owner.last
    assert grids[grid.first_step_rank].first == 0 < grids[grid.first_step_rank].last


@given(distributed_grids())
def test_whole_coarse_intervals_where_they_suffice(grids):
    """Every rank boundary is then a C-point, and ranks differ by one interval at most."""
    grid = grids[0]
    factor = grid.coarsening[0] if grid.levels > 1 else 1
    if grid.steps // factor >= len(grids):
        assert all(g.first % factor == 0 for g in grids)
        intervals = [g.local_steps // factor for g in grids]
        assert max(intervals) - min(intervals) <= 1


@given(distributed_grids())
def test_times_of_steps(grids):
    grid = grids[0]
    for level, stride in enumerate(grid.strides):
        starts = range(0, grid.steps - stride + 1, stride)
        batch = grid.batch(level, starts, state_dimensions=2)
        assert batch.t0.shape == batch.t1.shape == batch.dt.shape == (len(starts), 1, 1)
        for j, start in enumerate(starts):
            single = grid.single(level, start)
            assert (single.index, single.level) == (start, level) == (batch.index[j], batch.level)
            assert (single.t0, single.t1) == (grid.t[start], grid.t[start + stride])
            assert (single.t0, single.t1) == (batch.t0[j, 0, 0], batch.t1[j, 0, 0])
            assert single.dt == batch.dt[j, 0, 0]
            assert single.dt == pytest.approx(single.t1 - single.t0, abs=4e-16 * grid.t[-1])


@given(distributed_grids(), st.data())
def test_a_batch_may_run_backwards(grids, data):
    """The adjoint asks for steps in descending order."""
    grid = grids[0]
    stride = data.draw(st.sampled_from(grid.strides))
    starts = range(grid.steps - stride, -1, -stride)
    batch = grid.batch(grid.strides.index(stride), starts, 1)
    np.testing.assert_array_equal(batch.index, list(starts))
    sizes = grid.t[batch.index + stride] - batch.t0[:, 0]
    np.testing.assert_allclose(batch.dt[:, 0], sizes, rtol=0, atol=4e-16 * grid.t[-1])


@pytest.mark.parametrize("times", [None, np.linspace(0.0, 0.7, 23)])
def test_all_steps_of_a_level_of_a_uniform_grid_have_one_size(times):
    """A factorisation that is kept by its step size is made once a level."""
    options = {"coarsening": 3, "levels": 3}
    grid = pint.TimeGrid.uniform(0.7, 22, **options)
    grid = grid if times is None else pint.TimeGrid(times, **options)
    for level, stride in enumerate(grid.strides):
        starts = range(0, grid.steps - stride + 1)
        sizes = {grid.single(level, start).dt for start in starts}
        sizes |= set(grid.batch(level, starts, 2).dt.ravel().tolist())
        assert sizes == {0.7 / 22 * stride}
    assert set(grid.dt.tolist()) == {0.7 / 22}
    assert len({grid.t[i + 1] - grid.t[i] for i in range(22)}) > 1  # what differences would give


def test_steps_with_other_times_have_other_sizes():
    step = pint.TimeGrid.uniform(0.7, 7).single(0, 2)
    half = step._replace(t1=step.t0 + 0.05)
    assert half.dt == half.t1 - half.t0 != step.dt
    assert step._replace(kept=np.zeros(1)).dt == step.dt


def test_steps_of_a_user_s_own_times_have_their_own_sizes():
    grid = pint.TimeGrid([0.0, 0.1, 0.3, 0.7])
    np.testing.assert_array_equal(grid.dt, np.diff([0.0, 0.1, 0.3, 0.7]))
    assert [grid.single(0, n).dt for n in range(3)] == np.diff([0.0, 0.1, 0.3, 0.7]).tolist()


def test_times_are_copied():
    times = np.array([0.0, 0.1, 0.3, 0.7])
    grid = pint.TimeGrid(times)
    times[:] = 5.0
    np.testing.assert_array_equal(grid.t, [0.0, 0.1, 0.3, 0.7])
    with pytest.raises(ValueError, match="read-only"):
        grid.t[1] = 0.2


def test_a_copy_of_a_grid_is_like_it():
    grid = pint.TimeGrid([0.0, 0.1, 0.3, 0.7, 0.8], coarsening=2, levels=2)
    assert copy.deepcopy(grid) is grid
    again = pickle.loads(pickle.dumps(grid))
    np.testing.assert_array_equal(again.t, grid.t)
    assert (again.coarsening, again.levels) == (grid.coarsening, grid.levels)


@pytest.mark.parametrize("factors", [iter([2, 3]), (f for f in (2, 3)), np.array([2, 3]), [2, 3]])
def test_coarsening_factors_from_any_iterable(factors):
    assert pint.TimeGrid.uniform(1.0, 12, coarsening=factors, levels=3).coarsening == (2, 3)


def test_steps_that_do_not_divide():
    grid = pint.TimeGrid.uniform(3.5, 23, coarsening=(4, 2), levels=3)
    assert [layout.steps for layout in grid.layouts()] == [23, 5, 2]
    assert grid.strides == (1, 4, 8)
    np.testing.assert_allclose(grid.t, np.arange(24) * 3.5 / 23, rtol=1e-15)


def test_one_factor_serves_all_levels():
    assert pint.TimeGrid.uniform(1.0, 30, (3,), 4).coarsening == (3, 3, 3)
    assert pint.TimeGrid.uniform(1.0, 30, 3, 4).coarsening == (3, 3, 3)
    assert pint.TimeGrid.uniform(1.0, 1).coarsening == ()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (dict(t=[0.0]), "t="),
        (dict(t=[]), "t="),
        (dict(t=[[0.0, 1.0]]), "t="),
        (dict(t=[0.0, 1.0, 1.0]), "t="),
        (dict(t=[0.0, 2.0, 1.0]), "t="),
        (dict(t=[0.0, np.nan, 1.0]), "t="),
        (dict(t=[0.0, np.inf]), "t="),
        (dict(t=range(9), levels=0), "levels="),
        (dict(t=range(9), levels=1.5), "levels="),
        (dict(t=range(9), levels=2, coarsening=1), "coarsening="),
        (dict(t=range(9), levels=2, coarsening=-2), "coarsening="),
        (dict(t=range(9), levels=2, coarsening=2.5), "coarsening="),
        (dict(t=range(9), levels=2, coarsening=(2.5,)), "coarsening="),
        (dict(t=range(9), levels=2, coarsening=9), "coarsening=.*level 0"),
        (dict(t=range(9), levels=3, coarsening=4), "coarsening=.*level 1"),
        (dict(t=range(9), levels=3, coarsening=(2, 2, 2)), "coarsening=.*3 factors"),
        (dict(t=range(9), levels=4, coarsening=(2, 2)), "coarsening=.*2 factors"),
    ],
)
def test_errors_name_the_argument(arguments, name):
    with pytest.raises(ValueError, match=name):
        pint.TimeGrid(**arguments)


@pytest.mark.parametrize(
    ("final_time", "steps", "name"),
    [
        (1.0, 0, "steps="),
        (1.0, -3, "steps="),
        (1.0, 2.0, "steps="),
        (0.0, 4, "final_time="),
        (-1.0, 4, "final_time="),
        (np.inf, 4, "final_time="),
        (np.nan, 4, "final_time="),
    ],
)
def test_errors_of_uniform_grids_name_the_argument(final_time, steps, name):
    with pytest.raises(ValueError, match=name):
        pint.TimeGrid.uniform(final_time, steps)
