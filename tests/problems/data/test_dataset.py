"""What all data sets have in common: splits, normalisation, arguments of `load`."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import peaks
from problems.data import NAMES, Dataset, load
from problems.data.dataset import stratified


@given(st.data(), st.lists(st.integers(2, 40), min_size=1, max_size=6), st.integers(0, 5))
def test_the_split_is_a_proportional_partition(data, sizes, seed):
    indices = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = data.draw(st.integers(len(sizes), sum(sizes) - len(sizes)))
    chosen, remaining = stratified(indices, count, seed)
    assert len(chosen) == count
    both = np.concatenate([chosen, remaining])
    np.testing.assert_array_equal(np.sort(both), np.arange(sum(sizes)))
    seats = np.bincount(indices[chosen], minlength=len(sizes)).tolist()
    assert all(1 <= seat < size for seat, size in zip(seats, sizes, strict=True))
    # Sainte-Laguë: no last seat has a smaller quotient than a seat that was not given.
    for seat, size in zip(seats, sizes, strict=True):
        for other, larger in zip(seats, sizes, strict=True):
            if seat > 1 and other < larger - 1:
                assert (2 * seat - 1) * larger <= (2 * other + 1) * size
    np.testing.assert_array_equal(chosen, stratified(indices, count, seed)[0])


def test_each_example_is_chosen_equally_often():
    indices = np.arange(30) % 3
    often = sum(np.isin(np.arange(30), stratified(indices, 12, seed)[0]) for seed in range(2000))
    # Binomial with p = 0.4: deviation 22; 30 counts within 4.5 deviations.
    assert np.abs(often - 800).max() < 100


@pytest.mark.parametrize(
    ("indices", "count", "message"),
    [
        ([0, 0, 1], 2, "a class with fewer than two examples"),
        ([], 0, "a class with fewer than two examples"),
        ([0, 0, 1, 1], 1, "from 2 to 2 can be chosen"),
        ([0, 0, 1, 1, 1], 4, "from 2 to 3 can be chosen"),
    ],
)
def test_splits_that_are_not_possible(indices, count, message):
    with pytest.raises(ValueError, match=message):
        stratified(np.array(indices, dtype=int), count, 0)


def test_normalisation_by_the_training_part_and_by_channel():
    random = np.random.default_rng(0)
    images = 3 + 2 * random.standard_normal((50, 2, 4, 5))
    images[:, 1] = 0.1
    labels = np.eye(2)[np.arange(50) % 2]
    data = Dataset(images[:30], labels[:30], ("a", "b"), images[30:], labels[30:])
    new = data.normalised()
    mean, deviation = images[:30, 0].mean(), images[:30, 0].std()
    for found, raw in ((new.x, data.x), (new.x_test, data.x_test)):
        expected = (raw[:, 0] - mean) / deviation
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-11, atol=1e-12)
    # The mean of many 0.1 is not 0.1.
    np.testing.assert_array_equal(new.x[:, 1], 0)
    np.testing.assert_array_equal(new.x_test[:, 1], 0)
    assert new.labels is data.labels


def test_peaks_are_those_of_the_generator():
    data = load("peaks", examples=30, test_examples=20, seed=4)
    for part, expected in (
        ((data.x, data.labels), peaks.generate(30, 4)),
        ((data.x_test, data.labels_test), peaks.generate(20, 1_000_004)),
    ):
        np.testing.assert_array_equal(part[0], expected[0])
        np.testing.assert_array_equal(part[1], expected[1])
    assert load("peaks", examples=8000).x_test.shape == (2000, 2)
    assert load("peaks").x_test.shape == (500, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar",), f"no data set 'cifar'; expected {', '.join(NAMES)} or a file .npz or .csv"),
        (("mnist",), "mnist is read from a folder that holds its files, and none is given"),
        (("mnist", "/nowhere"), "/nowhere is no folder"),
        (("indian-pines",), "indian-pines is read from a folder"),
        (("digits", "/tmp"), "`folder` is for mnist, fashion-mnist, indian-pines, and not for"),
        (("peaks", "/tmp"), "`folder` is for mnist, fashion-mnist, indian-pines, and not for"),
    ],
)
def test_load_refuses_what_does_not_exist(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": 0}, "`examples` must be at least 1, got 0"),
        ({"test_examples": -3}, "`test_examples` must be at least 1, got -3"),
        ({"test_fraction": 1.0}, "`test_fraction` must be between 0 and 1, got 1.0"),
        ({"test_fraction": float("nan")}, "`test_fraction` must be between 0 and 1, got nan"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"label": "kind"}, "`label` names a column of a CSV file, and 'digits' is none"),
        ({"examples": 1797}, "`examples` is 1797, but digits has 1348 examples in 10 classes"),
        ({"examples": 9}, "`examples` is 9, but digits has 1348 examples in 10 classes"),
        ({"test_examples": 1788}, "`test_examples` is 1788, but digits has 1797 examples"),
    ],
)
def test_load_refuses_bad_numbers(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load("digits", **options)
