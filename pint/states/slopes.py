"""Derivatives of functions of arrays along a direction: by a complex step, or by differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pint.errors import ComplexWarning

Function = Callable[[Mapping[Any, Any]], Any]
"""A function of named arrays."""


def is_analytic(function: Function, at: Mapping[Any, Any], key: Any) -> bool:
    """Return whether the complex step along a direction gives what differences give."""
    # All entries change: an imaginary part that gets lost in one of them shows.
    direction = np.random.default_rng(0).standard_normal(np.shape(at[key]))
    slope = complex_slope(function, at, key, direction)
    if slope is None:
        return False
    differences = central_slope(function, at, key, direction)
    size = np.linalg.norm(np.ravel(slope)) + np.linalg.norm(np.ravel(differences))
    rounding = 1e-9 * np.linalg.norm(np.ravel(function(at)))
    return bool(np.linalg.norm(np.ravel(slope - differences)) <= 1e-7 * size + rounding)


def complex_slope(function: Function, at: Mapping[Any, Any], key: Any, direction: Any) -> Any:
    """Return the derivative by a complex step; None if the function refuses complex numbers."""
    # All arguments are complex, so that the function may write to an array like any of them.
    moved = {name: np.asarray(value) + 0j for name, value in at.items()}
    moved[key] += 1e-30j * direction
    return imaginary(lambda: function(moved), 1e-30)


def imaginary(call: Callable[[], Any], distance: float) -> Any:
    """Return the imaginary part of a result over `distance`; None if the call raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            return np.imag(call()) / distance
    except Exception:  # what a package raises at complex numbers is its own affair
        return None


def central_slope(function: Function, at: Mapping[Any, Any], key: Any, direction: Any) -> Any:
    """Return the derivative by central differences."""
    size = 6e-6 * max(1.0, float(np.abs(at[key]).max(initial=0.0)))
    ahead, behind = (
        # A copy: the function may return the same array each time.
        np.array(function({**at, key: at[key] + distance * direction}), dtype=float)
        for distance in (size, -size)
    )
    return (ahead - behind) / (2 * size)
