"""The generated spectra: their definition, and how hard they are."""

import re

import numpy as np
import pytest
from scipy.optimize import least_squares

import pint
from problems.data import load
from problems.data.spectra import MOST_MIXED, class_spectra, generate
from problems.resnet import DenseNetwork, Regularisation, classify


def test_shapes_seeds_and_equal_classes():
    x, labels = generate(100, seed=1)
    assert x.shape == (100, 220)
    assert labels.shape == (100, 16)
    sizes = labels.sum(axis=0)
    assert sizes.min() == 6
    assert sizes.max() == 7
    np.testing.assert_array_equal(labels.sum(axis=1), 1)
    np.testing.assert_array_equal(x, generate(100, seed=1)[0])
    assert not np.array_equal(x, generate(100, seed=2)[0])
    assert generate(7, 0, bands=30, classes=3)[0].shape == (7, 30)


def test_factors_of_the_reflectance():
    continuum, absorption = class_spectra()
    assert continuum.shape == absorption.shape == (16, 220)
    for factor in (continuum, absorption):
        assert factor.min() > 0
        assert factor.max() < 1 + 1e-12
        # Smooth: neighbouring bands differ by at most slope times distance.
        assert np.abs(np.diff(factor, axis=1)).max() < 0.1
    np.testing.assert_array_equal(continuum[0], continuum[3])  # a group
    assert np.abs(continuum[3] - continuum[4]).max() > 0.01
    assert not np.array_equal(class_spectra(scene=1)[0], continuum)


def test_without_noise_each_pixel_fits_the_formula():
    """Fraction and strength are found by least squares; the cosines enter linearly."""
    x, labels = generate(25, seed=3, bands=150, classes=2, noise=0.0)
    continuum, absorption = class_spectra(150, 2)
    cosines = np.cos(np.pi * np.arange(6)[:, None] * np.linspace(0, 1, 150))
    strengths = []
    for pixel, own in zip(x, labels.argmax(axis=1), strict=True):

        def misfit(unknown, pixel=pixel, own=own):
            fraction, strength = unknown
            mixed = (1 - fraction) * continuum[own] * absorption[own] ** strength
            mixed = mixed + fraction * continuum[1 - own] * absorption[1 - own]
            terms = (cosines * mixed).T
            return terms @ np.linalg.lstsq(terms, pixel, rcond=None)[0] - pixel

        fit = least_squares(misfit, (0.1, 1.0), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert np.abs(fit.fun).max() < 1e-8
        assert -1e-6 < fit.x[0] < MOST_MIXED + 1e-6
        strengths.append(fit.x[1])
    assert 0.1 < np.std(np.log(strengths)) < 1


def test_noise_is_larger_where_water_absorbs():
    quiet, _ = generate(400, seed=5, noise=0.0)
    noisy, _ = generate(400, seed=5, noise=0.01)
    deviation = (noisy - quiet).std(axis=0)
    wavelength = np.linspace(0.4, 2.5, 220)
    for centre, expected in ((0.8, 0.01), (1.65, 0.01), (2.3, 0.01), (1.4, 0.05), (1.9, 0.05)):
        at = np.abs(wavelength - centre).argmin()
        # 400 values: the deviation is known to 3.5 %; the bands lie within 5 nm of the centre.
        assert deviation[at] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("name", ["examples", "bands", "classes"])
def test_sizes_are_checked(name):
    sizes = {"examples": 5, "bands": 5, "classes": 5, name: 0}
    with pytest.raises(ValueError, match=re.escape(f"`{name}` must be at least")):
        generate(seed=0, **sizes)


def nearest_mean(data):
    """Return the accuracy of taking the class with the nearest mean, in per cent."""
    means = (data.labels.T @ data.x) / data.labels.sum(axis=0)[:, None]
    distance = ((data.x_test[:, None] - means) ** 2).sum(axis=-1)
    return 100 * (distance.argmin(axis=1) == data.labels_test.argmax(axis=1)).mean()


def test_a_zero_padded_network_beats_the_nearest_mean():
    data = load("spectra", examples=800, test_examples=800)
    np.testing.assert_allclose(data.x.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(data.x.std(axis=0), 1, rtol=1e-13)
    baseline = nearest_mean(data)
    network = DenseNetwork(220, 220, 16, opening="pad")
    weights = Regularisation(1e-3, 0, 1e-3, 1e-3)
    problem = network.problem(data.x, data.labels, weights)
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 4))
    start = network.random_control(functional.controls, 0)
    result = pint.minimize(functional, start, pint.ReducedSpace(iterations=30))
    found = classify(network, result.control, data.x_test)
    reached = 100 * (found == data.labels_test.argmax(axis=1)).mean()
    assert baseline < 60
    assert reached > 90
