"""Distributed controls: sums over ranks, restriction, neighbours, files and their errors."""

import numpy as np
import pytest
from parallel.cases import SMALL, assert_same_control, random_case
from registry import random_control

import pint
from pint.comm import on_root, reduce

pytestmark = pytest.mark.layout

CASES = [*SMALL, *(random_case(seed) for seed in range(100, 108))]


def a_space(grid):
    return pint.ControlSpace(
        grid,
        shared=pint.SharedControl((2, 2)),
        injected=pint.TimeControl((2, 3)),
        mean=pint.TimeControl(2, metric="euclidean", restrict="mean", lower=-0.2, upper=0.3),
        moment=pint.TimeControl(2, restrict=lambda blocks, dt: np.cumsum(dt) @ blocks**2),
    )


@pytest.fixture(params=CASES, ids=str)
def spaces(request, world):
    """Return the distributed and the serial space of one case."""
    return a_space(request.param.grid(world)), a_space(request.param.grid())


def test_sums_over_ranks(world):
    values = np.array([1.0, world.rank])
    ranks = range(world.size)
    np.testing.assert_array_equal(reduce(world, values), [world.size, sum(ranks)])
    np.testing.assert_array_equal(reduce(world, values, "max"), [1, world.size - 1])
    np.testing.assert_array_equal(reduce(world, values, "min"), [1, 0])


def test_metric_and_projection(spaces):
    distributed, serial = spaces
    a, b = (random_control(distributed, seed) for seed in (1, 2))
    c, d = (random_control(serial, seed) for seed in (1, 2))
    assert_same_control(a, c)
    for ours, expected in (
        (distributed.inner(a, b), serial.inner(c, d)),
        (distributed.pair(a, b), serial.pair(c, d)),
        (distributed.norm(a), serial.norm(c)),
    ):
        assert ours == pytest.approx(expected, rel=1e-13, abs=1e-13)
    assert_same_control(distributed.riesz(a), serial.riesz(c))
    assert_same_control(distributed.dual(a), serial.dual(c))
    assert_same_control(distributed.project(a), serial.project(c))


def test_shared_derivatives_are_summed_and_others_left_alone(world):
    space = a_space(SMALL[-1].grid(world))
    derivative = random_control(space)
    before = derivative["injected"].copy()
    derivative["shared"][...] = world.rank + 1.0
    space.sum_parts(derivative)
    assert (derivative["shared"] == sum(range(1, world.size + 1))).all()
    np.testing.assert_array_equal(derivative["injected"], before)


@pytest.mark.parametrize("reverse", [False, True])
def test_restriction(spaces, reverse):
    distributed, serial = spaces
    ours = distributed.restrict(random_control(distributed), reverse)
    expected = serial.restrict(random_control(serial), reverse)
    for level, layout in enumerate(distributed.grid.layouts(reverse)):
        for name, blocks in expected[level].items():
            count = len(blocks)  # reversed steps are counted from the end
            own = slice(layout.first, layout.last)
            own = blocks[slice(count - own.stop, count - own.start) if reverse else own]
            np.testing.assert_allclose(ours[level][name], own, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [pint.Tikhonov, pint.Smoothness])
def test_regularisers(spaces, kind):
    distributed, serial = spaces
    regulariser = kind(0.3, ["injected", "mean"])
    a, b = random_control(distributed), random_control(serial)
    assert regulariser.value(a) == pytest.approx(regulariser.value(b), rel=1e-13)
    assert_same_control(regulariser.derivative(a), regulariser.derivative(b))


def test_files_do_not_depend_on_the_number_of_ranks(world, tmp_path):
    path = world.bcast(tmp_path) / "control.npz"
    distributed, serial = (a_space(SMALL[-1].grid(comm)) for comm in (world, None))
    random_control(distributed).save(path)
    assert_same_control(distributed.load(path), random_control(serial))
    assert_same_control(serial.load(path), random_control(serial))


def test_every_rank_gets_the_errors_of_files(world, tmp_path):
    space = a_space(SMALL[-1].grid(world))
    folder = world.bcast(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        space.load(folder / "missing.npz")
    with pytest.raises(FileNotFoundError, match="missing"):
        space.zeros().save(folder / "missing" / "control.npz")
    on_root(world, lambda: (folder / "broken.npz").write_bytes(b"broken"))
    with pytest.raises(ValueError, match=r"broken\.npz"):
        space.load(folder / "broken.npz")
