"""The derivative of a method along a direction, by the complex step or by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pint.states.slopes import imaginary
from pint.verify.arguments import Arguments, Place, mapped, pick, replaced

_COMPLEX_STEP = 1e-30
# Richardson-extrapolated central differences: truncation h^4, rounding eps / h.
DIFFERENCE_STEP = 1e-4
_ROUNDOFF = float(np.finfo(float).eps)


def norm(values: Any) -> float:
    """Return the Euclidean norm of all entries."""
    return float(np.linalg.norm(np.ravel(values)))


def tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> tuple[Any, bool]:
    """Return the derivative of a function along v, and whether it was taken by differences."""
    h = DIFFERENCE_STEP

    def moved(distance: float) -> Any:
        there = replaced(mapped(at, np.copy), place, pick(at, place) + distance * v)
        return np.array(function(there), dtype=float)

    forward = moved(h)
    wide = (forward - moved(-h)) / (2 * h)
    narrow = (moved(h / 2) - moved(-h / 2)) / h
    differences = (4 * narrow - wide) / 3
    slope = _complex_tangent(function, at, place, v)
    # A function that is not analytic (abs, real, norm) drops the imaginary part without a word.
    uncertainty = norm(narrow - wide) + 1e3 * _ROUNDOFF * norm(forward) / h
    if slope is None or not norm(slope - differences) <= uncertainty:
        return differences, True
    return slope, False


def _complex_tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> Any:
    """Return the derivative by the complex step, None if the function does not take it.

    All arguments are made complex, so that the function may work in place on any of them.
    """
    at = mapped(at, lambda value: np.asarray(value) + 0j)
    at = replaced(at, place, pick(at, place) + 1j * _COMPLEX_STEP * v)
    return imaginary(lambda: function(at), _COMPLEX_STEP)
