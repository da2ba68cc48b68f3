"""The mistake in a derivative that failed the dot test, and the entry it is in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.verify.arguments import Place, Sample, entry, pick
from pint.verify.methods import Method
from pint.verify.products import norm, tangent

_COLUMNS = 128
_CLOSE = 1e-6


def diagnose(
    function: Method, sample: Sample, place: Place, dual: Any, stride: int
) -> tuple[str, str]:
    """Return the entry with the largest error, and the mistake as far as it can be recognised.

    Parameters
    ----------
    function : Method
        What the transpose belongs to.
    sample : Sample
        The arguments that show the error.
    place : (str, str or None)
        Argument with respect to which the transpose is wrong.
    dual : array_like
        What the transpose returned.
    stride : int
        Finest steps in one step of the level.
    """
    shape = np.shape(pick(sample.at, place))
    dual = np.broadcast_to(dual, shape)
    s = sample.at.get("s")
    rows = place[0] != "theta" and s is not None and np.ndim(s.index) > 0
    if not np.isfinite(dual).all():
        index = np.argwhere(~np.isfinite(dual))[0]
        return entry(sample, tuple(index), rows), f"is {dual[tuple(index)]}"
    if not dual.any():
        return "", "is zero or left out"
    chosen = _suspects(function, sample, place, dual)
    right = np.zeros(shape)
    right.flat[chosen] = _columns(function, sample, place, chosen)
    apart = np.zeros(shape)
    apart.flat[chosen] = np.abs(dual.flat[chosen] - right.flat[chosen])
    index = np.unravel_index(int(np.argmax(apart)), shape)
    note = f"is {dual[index]:.6g}, should be {right[index]:.6g}"
    if len(chosen) == dual.size:
        note += _guess(function, sample, place, dual, right, stride)
    return entry(sample, tuple(index), rows), note  # type: ignore[arg-type]


def _product(function: Method, sample: Sample, place: Place, v: Any) -> float:
    """Return ``<lam, dPhi v>``."""
    result = function.gives[0]
    slope, _ = tangent(lambda at: function(at)[result], sample.at, place, v)
    return float(np.vdot(sample.at[function.dual], slope) if function.dual else np.sum(slope))


def _columns(function: Method, sample: Sample, place: Place, chosen: np.ndarray) -> list[float]:
    """Return the chosen entries of ``dPhi^T lam``, one direction for each."""
    shape, products = np.shape(pick(sample.at, place)), []
    for i in chosen:
        unit = np.zeros(shape)
        unit.flat[i] = 1.0
        products.append(_product(function, sample, place, unit))
    return products


def _suspects(function: Method, sample: Sample, place: Place, dual: np.ndarray) -> np.ndarray:
    """Return entries of which at least one is wrong, few enough to look at each, by bisection."""
    chosen, v = np.arange(dual.size), np.asarray(pick(sample.along, place))
    while len(chosen) > _COLUMNS:
        errors = []
        halves = np.array_split(chosen, 2)
        for half in halves:
            part = np.zeros(dual.shape)
            part.flat[half] = v.flat[half]
            errors.append(abs(_product(function, sample, place, part) - float(np.vdot(dual, part))))
        chosen = halves[int(np.argmax(errors))]
    return chosen


def _guess(
    function: Method,
    sample: Sample,
    place: Place,
    dual: np.ndarray,
    right: np.ndarray,
    stride: int,
) -> str:
    """Return which usual mistake explains all entries, "" if none does."""
    step = place == ("y", None) and function.gives[0] == "y"
    if step:
        lam = sample.at["lam"]
        untransposed, _ = tangent(lambda at: function(at)["y"], sample.at, place, lam)
        if _close(dual, untransposed):
            return ": the Jacobian is not transposed"
    s = sample.at.get("s")
    if s is not None and stride > 1 and "s" in function.takes:
        finest = Steps(s.index, s.t0, s.t0 + s.dt / stride, s.level)
        elsewhere = replace(sample, at={**sample.at, "s": finest})
        fine = np.reshape(_columns(function, elsewhere, place, np.arange(dual.size)), dual.shape)
        if _close(dual, fine):
            return ": right for the step size of level 0"
    if multiple := _multiple(dual, right):
        return f": {multiple}"
    if step and (multiple := _multiple(dual - sample.at["lam"], right - sample.at["lam"])):
        return f": the part beyond lam {multiple}"
    return ""


def _multiple(dual: np.ndarray, right: np.ndarray) -> str:
    """Return the common factor by which all entries are wrong, "" if there is none."""
    size = float(np.vdot(right, right))
    factor = float(np.vdot(right, dual)) / size if size else 0.0
    if not size or not _close(dual, factor * right):
        return "" if dual.any() or not size else "is missing"
    if abs(factor + 1) < _CLOSE:
        return "has the wrong sign"
    return f"is {factor:.6g} times what it should be"


def _close(a: Any, b: Any) -> bool:
    return norm(a - b) <= _CLOSE * norm(b)
