"""The methods of `scipy.optimize.minimize` that use the gradient."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize

from pint.optimise.scaled_layout import Bounds, Evaluate, Record

WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
WITHOUT_BOUNDS = ("BFGS", "CG", "Newton-CG")

# Our stopping test decides, so scipy's own tests are made so strict that they never do.
_NEVER = {"ftol": 0.0, "gtol": 0.0}
_UNLIMITED = 10**9
_OPTIONS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {**_NEVER, "maxcor": 20, "maxfun": _UNLIMITED, "maxiter": _UNLIMITED},
    "TNC": {**_NEVER, "xtol": 0.0, "maxfun": _UNLIMITED},
    "SLSQP": {"ftol": 1e-300, "maxiter": _UNLIMITED},
    "trust-constr": {
        "gtol": 0.0,
        "xtol": 1e-15,
        "barrier_tol": 1e-15,
        "initial_barrier_parameter": 1e-4,
        "initial_barrier_tolerance": 1e-4,
        "maxiter": _UNLIMITED,
    },
    "BFGS": {"gtol": 0.0, "maxiter": _UNLIMITED},
    "CG": {"gtol": 0.0, "maxiter": _UNLIMITED},
    "Newton-CG": {"xtol": 0.0, "maxiter": _UNLIMITED},
}


def require() -> None:
    """Do nothing: scipy is always installed."""


def optimise(
    name: str,
    options: Mapping[str, Any],
    evaluate: Evaluate,
    record: Record,
    start: np.ndarray,
    bounds: Bounds | None,
) -> None:
    """Run a method of `scipy.optimize.minimize` in this process. Not collective.

    Parameters
    ----------
    name : str
        One of `WITH_BOUNDS`, or without bounds of `WITHOUT_BOUNDS`.
    options : mapping
        The dictionary ``options`` of `scipy.optimize.minimize`.
    evaluate, record, start, bounds
        As for `pint.optimise.scaled_layout.Optimiser`.
    """

    def finite(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, derivative = evaluate(x)
        if not math.isfinite(value):
            raise _Stop
        return value, derivative

    latest = start

    def progress(x: np.ndarray, *unused: Any) -> None:
        nonlocal latest
        latest = np.array(x)
        if record(x):
            raise _Stop

    # Near an optimum a line search ends by the rounding of J. Without its pairs the method
    # often continues from there: it begins again until it does not move any more.
    moved = True
    with contextlib.suppress(_Stop):
        while moved:
            begin = latest
            scipy.optimize.minimize(
                finite,
                begin,
                jac=True,
                method=name,
                bounds=None if bounds is None else scipy.optimize.Bounds(*bounds),
                callback=progress,
                options={**_OPTIONS[name], **options},
            )
            moved = not np.array_equal(latest, begin)


class _Stop(Exception):  # noqa: N818  (no error: it leaves scipy's loop)
    """Raised inside scipy to leave it; not every method of scipy ends by `StopIteration`."""
