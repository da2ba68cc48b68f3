"""Equally spaced times: numpy's, to the last bit, however they are looked at; nothing stored."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pint
from pint.grid import UniformTimes

FINAL_TIMES = st.floats(1e-300, 1e300, allow_subnormal=False)


@given(FINAL_TIMES, st.integers(1, 300), st.data())
def test_they_are_those_of_linspace(final_time, steps, data):
    times, expected = UniformTimes(final_time, steps), np.linspace(0.0, final_time, steps + 1)
    np.testing.assert_array_equal(np.asarray(times), expected)
    np.testing.assert_array_equal(list(times), expected)
    some = data.draw(st.slices(steps + 1))
    np.testing.assert_array_equal(times[some], expected[some])
    numbers = data.draw(st.lists(st.integers(-steps - 1, steps), max_size=20))
    for number in numbers:
        assert times[number] == times[np.int64(number)] == expected[number]
        assert type(times[number]) is np.float64
    for index in (np.array(numbers, dtype=int), numbers):
        np.testing.assert_array_equal(times[index], expected[index])


@pytest.mark.parametrize("steps", [10**6, 10**6 + 7, 3 * 2**17])
@pytest.mark.parametrize("final_time", [1, 0.7, 12.0, np.float32(0.1)])
def test_many_of_them(steps, final_time):
    grid = pint.TimeGrid.uniform(final_time, steps)
    np.testing.assert_array_equal(grid.t, np.linspace(0.0, float(final_time), steps + 1))


def test_what_an_array_does():
    times, array = UniformTimes(2.0, 7), np.linspace(0.0, 2.0, 8)
    assert (len(times), times.size, times.shape, times.ndim) == (8, 8, (8,), 1)
    assert times.dtype == array.dtype
    for function in (
        np.diff,
        np.max,
        np.cumsum,
        np.sin,
        np.add.reduce,
        lambda t: 0.5 * (t[1:] + t[:-1]),
        lambda t: t / 3 - t**2,
        lambda t: 1 - t,
        lambda t: t <= 1.0,
        lambda t: t[t > 1.0],
        lambda t: t[:, None] * t,
        lambda t: t[...],
        lambda t: t[np.zeros((2, 3), dtype=int)],
        lambda t: np.concatenate([t, t[::-2]]),
        lambda t: np.interp(0.3, t, t),
        lambda t: np.searchsorted(t, 1.3),
        lambda t: np.asarray(t, dtype=np.float32),
        lambda t: t.reshape(4, 2).mean(axis=0),
        lambda t: t.tolist(),
        lambda t: 1.0 in t,
    ):
        np.testing.assert_array_equal(function(times), function(array), strict=True)
    for again in (copy.deepcopy(times), pickle.loads(pickle.dumps(times)), eval(repr(times))):
        np.testing.assert_array_equal(again, array)


def test_what_an_array_does_not():
    times = UniformTimes(1.0, 4)
    for index in (5, -6, np.array([0, 5]), np.array([-6])):
        with pytest.raises(IndexError, match="out of bounds"):
            times[index]
    with pytest.raises(TypeError):
        times[0] = 1.0
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = times.no_such_thing


@pytest.mark.parametrize(("final_time", "steps"), [(5e-324, 1), (5e-323, 10)])
def test_the_least_times_there_are(final_time, steps):
    np.testing.assert_array_equal(
        pint.TimeGrid.uniform(final_time, steps).t, np.linspace(0.0, final_time, steps + 1)
    )


@pytest.mark.parametrize(("final_time", "steps"), [(5e-324, 2), (7.5e-323, 10), (1e-300, 2**60)])
def test_steps_that_cannot_be_told_apart(final_time, steps):
    with pytest.raises(ValueError, match="final_time"):
        pint.TimeGrid.uniform(final_time, steps)


def test_nothing_is_stored():
    tracemalloc.start()
    times = UniformTimes(1.0, 10**9)
    assert times[-1] - times[10**9 - 3] == pytest.approx(3e-9, rel=1e-6)
    assert len(times[10**8 : 10**8 + 50]) == len(times[np.arange(50)]) == 50
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
