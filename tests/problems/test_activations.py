"""Activation functions against their definitions and differences."""

import numpy as np
import pytest
from activation_formulas import SIGMA

from problems.activations import ACTIVATIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives(name):
    x = np.array([-50.0, -3.0, -0.100001, -0.0999, -0.01, 0.02, 0.0999, 0.100001, 0.7, 50.0])
    activation = ACTIVATIONS[name]
    # tanh is formed as 1 - 2/(exp(2x) + 1): two roundings of numbers near 1
    np.testing.assert_allclose(activation.value(x.copy()), SIGMA[name](x), rtol=1e-15, atol=3e-16)
    h = 1e-7
    differences = (SIGMA[name](x + h) - SIGMA[name](x - h)) / (2 * h)
    np.testing.assert_allclose(activation.derivative(x.copy()), differences, atol=1e-6)


def test_smooth_relu_is_continuously_differentiable():
    smooth = ACTIVATIONS["smoothrelu"]
    for x in (-0.1, 0.1):
        sides = np.array([np.nextafter(x, -1), x, np.nextafter(x, 1)])
        value, slope = smooth.value(sides.copy()), smooth.derivative(sides.copy())
        np.testing.assert_allclose(value, max(x, 0.0), atol=1e-16)
        np.testing.assert_allclose(slope, float(x > 0), atol=1e-14)
