"""Softmax cross-entropy and accuracy: scipy, and cases known by hand."""

import numpy as np
import pytest
from scipy.special import log_softmax

from problems.classification import Classification, accuracy, logits


def classification_of(z):
    """Return theta that turns the state y = z into the logits z."""
    classes = len(z)
    return {"classification_weight": np.eye(classes), "classification_bias": np.zeros(classes)}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_cross_entropy_equals_scipys_and_does_not_overflow(scale):
    random = np.random.default_rng(0)
    z = scale * random.standard_normal((5, 20))
    labels = np.eye(5)[random.integers(5, size=20)].T
    objective, theta = Classification(labels), classification_of(z)
    expected = -(labels * log_softmax(z, axis=0)).sum() / 20
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert objective.terminal(z, theta) == pytest.approx(expected, rel=1e-13)
        derivative, by_field = objective.terminal_derivative(z, theta)
    error = (np.exp(log_softmax(z, axis=0)) - labels) / 20
    np.testing.assert_allclose(derivative, error, rtol=1e-11, atol=1e-16)
    np.testing.assert_allclose(by_field["classification_bias"], error.sum(axis=1), atol=1e-15)
    np.testing.assert_allclose(
        by_field["classification_weight"], error @ z.T, rtol=1e-11, atol=1e-13 * scale
    )


def test_cross_entropy_does_not_change_when_all_logits_move():
    z = np.random.default_rng(1).standard_normal((3, 4))
    objective, theta = Classification(np.eye(3)[[0, 1, 2, 0]].T), classification_of(z)
    assert objective.terminal(z + 1e4, theta) == pytest.approx(
        objective.terminal(z, theta), rel=1e-11
    )


def test_classification_leaves_the_state_as_it_is():
    z = np.random.default_rng(1).standard_normal((3, 4))
    before = z.copy()
    objective, theta = Classification(np.eye(3)[[0, 1, 2, 0]].T), classification_of(z)
    objective.terminal(z, theta)
    objective.terminal_derivative(z, theta)
    np.testing.assert_array_equal(z, before)


def test_logits_and_accuracy_of_a_known_case():
    y = np.array([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 3.0]])
    theta = {"classification_weight": np.eye(2), "classification_bias": np.array([0.0, 0.5])}
    np.testing.assert_array_equal(logits(y, theta), y + np.array([[0.0], [0.5]]))
    labels = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    assert accuracy(y, theta, labels) == 75.0
