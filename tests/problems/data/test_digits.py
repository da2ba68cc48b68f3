import re
import sys

import numpy as np
import pytest

import pint
from problems.data import load
from problems.resnet import DenseNetwork, Regularisation, classify


def test_digits_are_the_known_images_scaled():
    data = load("digits")
    assert data.x.shape == (1348, 1, 8, 8)
    assert data.x_test.shape == (449, 1, 8, 8)
    assert data.x.dtype == np.float64
    assert data.classes == tuple("0123456789")
    both = np.concatenate([data.x, data.x_test])
    assert both.min() == 0.0
    assert both.max() == 1.0
    # Sizes of the classes as published with the data, and the sum of all pixels of the file.
    sizes = (data.labels.sum(axis=0) + data.labels_test.sum(axis=0)).tolist()
    assert sizes == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert 16 * both.sum() == 561718


def test_the_split_is_seeded_and_stratified():
    data, again, other = load("digits"), load("digits"), load("digits", seed=1)
    np.testing.assert_array_equal(data.x, again.x)
    assert not np.array_equal(data.x, other.x)
    sizes = data.labels.sum(axis=0) + data.labels_test.sum(axis=0)
    assert np.abs(data.labels_test.sum(axis=0) - sizes * 449 / 1797).max() < 1


def test_a_dense_network_learns_the_digits():
    data = load("digits", examples=500, seed=2).flattened()
    network = DenseNetwork(64, 64, 10, opening="pad")
    weights = Regularisation(1e-4, 0, 1e-4, 1e-4)
    problem = network.problem(data.x, data.labels, weights)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    start = network.random_control(functional.controls, 0)
    result = pint.minimize(functional, start, pint.ReducedSpace(iterations=25))
    found = classify(network, result.control, data.x_test)
    assert (found == data.labels_test.argmax(axis=1)).mean() > 0.93


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'pint-control[data]'")) as caught:
        load("digits")
    assert "\n" not in str(caught.value)
