"""The peaks data set: points of the plane in five classes, the level sets of one function."""

from __future__ import annotations

import numpy as np

CLASSES = 5
THRESHOLDS = (-1.0, -0.1, 0.1, 1.0)


def peaks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``3(1-x)^2 e^{-x^2-(y+1)^2} - 10(x/5-x^3-y^5) e^{-x^2-y^2} - e^{-(x+1)^2-y^2}/3``."""
    return (
        3 * (1 - x) ** 2 * np.exp(-(x**2) - (y + 1) ** 2)
        - 10 * (x / 5 - x**3 - y**5) * np.exp(-(x**2) - y**2)
        - np.exp(-((x + 1) ** 2) - y**2) / 3
    )


def classify(points: np.ndarray) -> np.ndarray:
    """Return the class 0..4 of each point, the level of `peaks` between the thresholds.

    Parameters
    ----------
    points : ndarray, shape (B, 2)
    """
    return np.digitize(peaks(points[:, 0], points[:, 1]), THRESHOLDS)


def generate(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points drawn uniformly from [-3, 3]^2, shape (B, 2), and one-hot labels (B, 5)."""
    points = np.random.default_rng(seed).uniform(-3.0, 3.0, (examples, 2))
    return points, np.eye(CLASSES)[classify(points)]
