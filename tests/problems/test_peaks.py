import numpy as np
import peaks_halton
import pytest

from problems.peaks import CLASSES, THRESHOLDS, classify, generate, peaks

# 3(1-x)^2 e^{-x^2-(y+1)^2} - 10(x/5-x^3-y^5) e^{-x^2-y^2} - e^{-(x+1)^2-y^2}/3 by hand
E1 = np.exp(-1.0)
KNOWN = [
    ((0.0, 0.0), 3 * E1 - E1 / 3),
    ((1.0, 0.0), 8 * E1 - np.exp(-4.0) / 3),
    ((0.0, 1.0), 3 * np.exp(-4.0) + 10 * E1 - np.exp(-2.0) / 3),
    ((0.0, -1.0), 3.0 - 10 * E1 - np.exp(-2.0) / 3),
    ((-1.0, 0.0), 12 * np.exp(-2.0) - 8 * E1 - 1 / 3),
]


@pytest.mark.parametrize(("point", "value"), KNOWN)
def test_peaks_at_points_where_it_can_be_worked_out_by_hand(point, value):
    assert peaks(*np.array(point)) == pytest.approx(value, rel=1e-14)


def test_classes_are_the_levels_between_the_thresholds():
    assert CLASSES == len(THRESHOLDS) + 1
    assert THRESHOLDS == (-1.0, -0.1, 0.1, 1.0)
    points = np.random.default_rng(0).uniform(-3, 3, (2000, 2))
    values = peaks(points[:, 0], points[:, 1])
    counted = sum((values >= threshold).astype(int) for threshold in THRESHOLDS)
    np.testing.assert_array_equal(classify(points), counted)
    assert set(classify(points)) == set(range(5))


def test_generate_is_seeded_within_the_square_and_one_hot():
    points, labels = generate(300, seed=4)
    again, _ = generate(300, seed=4)
    other, _ = generate(300, seed=5)
    np.testing.assert_array_equal(points, again)
    assert not np.array_equal(points, other)
    assert points.shape == (300, 2)
    assert labels.shape == (300, 5)
    assert np.abs(points).max() <= 3.0
    assert points.min() < -2.5
    assert points.max() > 2.5
    np.testing.assert_array_equal(labels.sum(axis=1), 1.0)
    np.testing.assert_array_equal(labels.argmax(axis=1), classify(points))


def test_agreement_with_the_reference_data():
    points, labels = peaks_halton.data(500)
    np.testing.assert_allclose(
        peaks(points[:, 0], points[:, 1]),
        peaks_halton.peaks(points[:, 0], points[:, 1]),
        rtol=1e-13,
        atol=1e-13,
    )
    np.testing.assert_array_equal(np.eye(CLASSES)[classify(points)], labels)
