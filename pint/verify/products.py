"""The derivative of a method along a direction, by the complex step or by differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.states.slopes import imaginary
from pint.verify.arguments import Arguments, Place, mapped, pick, replaced

_COMPLEX_STEP = 1e-30


@dataclass(frozen=True)
class Precision:
    """What can be expected of numbers of one type.

    Attributes
    ----------
    rounding : float
    step : float
        Of Richardson-extrapolated central differences: truncation h^4, rounding eps / h.
    by_complex_step, by_differences : float
        Tolerances of the dot test.
    """

    rounding: float
    step: float
    by_complex_step: float
    by_differences: float

    def tolerance(self, by_differences: bool) -> float:
        """Return the tolerance of the dot test."""
        return self.by_differences if by_differences else self.by_complex_step

    def at_least(self, tolerance: float) -> float:
        """Return a tolerance made for float64; one for bitwise equality stays as it is."""
        return max(tolerance, 50 * self.rounding) if tolerance else 0.0


DOUBLE = Precision(float(np.finfo(np.float64).eps), 1e-4, 1e-11, 1e-6)
SINGLE = Precision(float(np.finfo(np.float32).eps), 2e-2, 1e-5, 3e-3)


def precision_of(arguments: Arguments) -> Precision:
    """Return the precision of the states among some arguments."""
    return SINGLE if getattr(arguments.get("y"), "dtype", None) == np.float32 else DOUBLE


def norm(values: Any) -> float:
    """Return the Euclidean norm of all entries."""
    return float(np.linalg.norm(np.ravel(values)))


def tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> tuple[Any, bool]:
    """Return the derivative of a function along v, and whether it was taken by differences."""
    precision = precision_of(at)
    slope = _complex_tangent(function, at, place, v)
    differences, uncertainty, rough = _differences(function, at, place, v, precision.step)
    for factor in (1e-2, 1e-4):
        if not rough:
            break
        # The function changes its course within h: in stiff equations small entries matter.
        h = factor * precision.step
        differences, uncertainty, rough = _differences(function, at, place, v, h)
    # A function that is not analytic (abs, real, norm) drops the imaginary part without a word.
    if slope is None or not norm(slope - differences) <= uncertainty:
        return differences, True
    return slope, False


def _differences(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any, h: float
) -> tuple[Any, float, bool]:
    """Return the derivative by differences, its uncertainty, and whether h is too large."""

    def moved(distance: float) -> Any:
        there = replaced(mapped(at, np.copy), place, pick(at, place) + distance * v)
        return np.array(function(there), dtype=float)

    forward = moved(h)
    wide = (forward - moved(-h)) / (2 * h)
    narrow = (moved(h / 2) - moved(-h / 2)) / h
    rounding = 1e3 * precision_of(at).rounding * norm(forward) / h
    apart = norm(narrow - wide)
    rough = not apart <= 0.1 * norm(narrow) + rounding
    return (4 * narrow - wide) / 3, apart + rounding, rough


def _complex_tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> Any:
    """Return the derivative by the complex step, None if the function does not take it.

    All arguments are made complex, so that the function may work in place on any of them.
    """
    at = mapped(at, lambda value: np.asarray(value) + 0j)
    at = replaced(at, place, pick(at, place) + 1j * _COMPLEX_STEP * v)
    return imaginary(lambda: function(at), _COMPLEX_STEP)
