"""State spaces: storage and norms."""

from types import SimpleNamespace

import numpy as np
import pytest

import pint


@pytest.mark.parametrize("shape", [3, (), (2, 3), (4, 1, 2)])
def test_blocks_are_zero_states_with_the_time_point_first(shape):
    space = pint.ArraySpace(shape)
    block = space.allocate(5)
    assert block.shape == (5, *space.shape)
    assert block.dtype == np.float64
    assert not block.any()
    assert space.state_bytes == block[0].nbytes
    assert space.allocate(0).shape == (0, *space.shape)


def test_a_part_of_a_distributed_state_may_be_empty():
    two_ranks = SimpleNamespace(rank=0, size=2)
    space = pint.ArraySpace((3, 0), comm=two_ranks, axis=-1)
    assert space.axis == 1
    assert space.squared_norm(space.allocate(4)) == 0
    for options in ({"comm": two_ranks}, {"axis": 1}):  # another axis, one rank
        with pytest.raises(ValueError, match="shape"):
            pint.ArraySpace((3, 0), **options)


@pytest.mark.parametrize("weight", [1.0, 0.25])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_squared_norm_is_the_weighted_sum_of_squares(weight, dtype):
    space = pint.ArraySpace((2, 3), dtype=dtype, weight=weight)
    block = space.allocate(4)
    assert block.dtype == dtype
    block[...] = np.arange(24).reshape(4, 2, 3)
    if dtype == np.complex128:
        block *= 0.6 + 0.8j
    assert space.squared_norm(block) == pytest.approx(weight**2 * 4324, rel=1e-15)
    assert space.squared_norm(block[::2]) == pytest.approx(
        weight**2 * sum(abs(x) ** 2 for x in block[::2].ravel()), rel=1e-14
    )
    assert space.squared_norm(block[:0]) == 0.0


def test_the_norm_of_something_not_finite_is_not_finite():
    space = pint.ArraySpace(2)
    assert not np.isfinite(space.squared_norm(np.array([[1.0, np.nan]])))
    assert not np.isfinite(space.squared_norm(np.array([[np.inf, 1.0]])))


@pytest.mark.parametrize("shape", [0, -1, (2, 0)])
def test_error_names_shape(shape):
    with pytest.raises(ValueError, match="shape="):
        pint.ArraySpace(shape)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.inf, np.nan])
def test_error_names_weight(weight):
    with pytest.raises(ValueError, match="weight="):
        pint.ArraySpace(2, weight=weight)
