r"""Synthetic spectra of the pixels of a scene with several materials.

At the wavelengths w of the bands, 0.4 to 2.5 micrometres, the reflectance of class c is a continuum
with absorption bands,

    r_c(w; q) = (a_c0 + sum_j a_cj cos(pi j v)) prod_k (1 - d_ck exp(-((v - m_ck) / s_ck)^2 / 2))^q,

v = (w - 0.4) / 2.1, q = 1. The classes come in groups of four with the same continuum and, up to
small shifts, the same absorption bands, but depths d_ck of their own. A pixel of class c is

    x(w) = g ((1 - f) r_c(w; q) + f r_b(w; 1)) (1 + p(w)) + e(w)

with its own strength of absorption q and illumination g (both lognormal), a fraction f of another
class b, a smooth perturbation p (a sum of cosines) and normal noise e, which is larger near 1.4 and
1.9 micrometres, where water vapour leaves little light.
"""

from __future__ import annotations

import numpy as np

SHORTEST, LONGEST = 0.4, 2.5
"""Wavelengths of the first and last band, in micrometres."""
GROUP = 4
"""Classes of similar spectra."""
MOST_MIXED = 0.35
"""The largest fraction of another class in a pixel."""


def class_spectra(
    bands: int = 220, classes: int = 16, scene: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return continuum and absorption, two factors of the reflectance, shape (classes, bands).

    All values are between 0 and 1.

    Parameters
    ----------
    bands, classes : int
    scene : int
        Seed of the materials.
    """
    random = np.random.default_rng(scene)
    v = np.linspace(0.0, 1.0, bands)
    groups, lines = -(-classes // GROUP), 6
    group = np.arange(classes) // GROUP
    cosines = np.cos(np.pi * np.arange(1, 4)[:, None] * v)
    continuum = random.uniform(0.35, 0.6, (groups, 1)) + (
        random.uniform(-0.08, 0.08, (groups, 3)) @ cosines
    )
    centres = random.uniform(0.02, 0.98, (groups, lines))[group]
    widths = random.uniform(0.015, 0.06, (groups, lines))[group]
    centres = centres + random.normal(0.0, 0.004, centres.shape)
    depths = random.uniform(0.05, 0.35, (groups, lines))[group]
    depths = depths * random.uniform(0.6, 1.4, depths.shape)
    distance = (v - centres[..., None]) / widths[..., None]
    absorbed = 1.0 - depths[..., None] * np.exp(-0.5 * distance**2)
    return continuum[group], absorbed.prod(axis=1)


def generate(
    examples: int,
    seed: int,
    bands: int = 220,
    classes: int = 16,
    *,
    scene: int = 0,
    noise: float = 0.005,
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, shape (examples, bands), and their one-hot labels (examples, classes).

    The numbers of examples of any two classes differ by at most one.

    Parameters
    ----------
    examples : int
    seed : int
        Of the pixels; data to train on and to test with have the same `scene` and different seeds.
    bands, classes : int
    scene : int
        Seed of the materials, see `class_spectra`.
    noise : float
        Deviation of the noise, as a reflectance; up to five times that where water absorbs.

    Raises
    ------
    ValueError
        If there is not at least one example and one band, or fewer than two classes.
    """
    sizes = (("examples", examples, 1), ("bands", bands, 1), ("classes", classes, 2))
    for name, value, least in sizes:
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    random = np.random.default_rng(seed)
    continuum, absorption = class_spectra(bands, classes, scene)
    own = random.permutation(np.arange(examples) % classes)
    other = (own + random.integers(1, classes, examples)) % classes
    strength = np.exp(random.normal(0.0, 0.3, (examples, 1)))
    fraction = MOST_MIXED * random.uniform(size=(examples, 1)) ** 2
    light = np.exp(random.normal(0.0, 0.2, (examples, 1)))
    v = np.linspace(0.0, 1.0, bands)
    cosines = np.cos(np.pi * np.arange(6)[:, None] * v)
    smooth = random.normal(0.0, 0.01, (examples, 6)) @ cosines
    wavelength = SHORTEST + (LONGEST - SHORTEST) * v
    water = np.exp(-0.5 * ((wavelength - np.array([[1.4], [1.9]])) / 0.03) ** 2).sum(axis=0)
    pixels = (1.0 - fraction) * continuum[own] * absorption[own] ** strength
    pixels += fraction * continuum[other] * absorption[other]
    pixels *= light * (1.0 + smooth)
    pixels += noise * (1.0 + 4.0 * water) * random.standard_normal((examples, bands))
    return pixels, np.eye(classes)[own]
