"""The methods of `scipy.optimize.minimize` that use the gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy  # loads `scipy.optimize`, a quarter of the time to import pint, when it is first used

from pint.optimise.scaled_layout import Bounds, Evaluate, Product, Record, Stop

WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
NEAR_BOUNDS = ("SLSQP", "trust-constr")  # they approach bounds without reaching them
WITHOUT_BOUNDS = ("BFGS", "CG", "Newton-CG", "trust-ncg", "trust-krylov")
WITH_PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov")  # with the Hessian

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
    "trust-ncg": {"gtol": 0.0, "maxiter": _UNLIMITED},
    "trust-krylov": {"gtol": 0.0, "maxiter": _UNLIMITED},
}
_ENDING = {"maxiter", "maxfun", "maxfev", "ftol", "gtol", "xtol", "xrtol", "barrier_tol", "tol"}
"""Options by which scipy's methods end."""


def require() -> None:
    """Do nothing: scipy is always installed."""


def optimise(
    name: str,
    options: Mapping[str, Any],
    evaluate: Evaluate,
    record: Record,
    product: Product,
    start: np.ndarray,
    bounds: Bounds | None,
) -> bool:
    """Run a method of `scipy.optimize.minimize` in this process. Not collective.

    Returns whether it has ended by `options` of the user's. ValueError if it refuses them.

    Parameters
    ----------
    name : str
        One of `WITH_BOUNDS`, or without bounds of `WITHOUT_BOUNDS`.
    options : mapping
        The dictionary ``options`` of `scipy.optimize.minimize`.
    evaluate, record, product, start, bounds
        As for `pint.optimise.scaled_layout.Optimiser`.
    """
    latest, is_ours = start, False  # whether an exception comes from our side

    def evaluated(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal is_ours
        is_ours = True
        result = evaluate(x)
        is_ours = False
        return result

    def multiplied(x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        nonlocal is_ours
        is_ours = True
        result = product(x, direction)
        is_ours = False
        return result

    def progress(x: np.ndarray, *unused: Any) -> None:
        nonlocal latest, is_ours
        latest, is_ours = np.array(x), True
        if record(x):
            raise Stop
        is_ours = False

    # Near an optimum a line search ends by the rounding of J. Without its pairs the method
    # often continues from there: it begins again until it does not move any more.
    moved, by_options = True, not _ENDING.isdisjoint(options)
    with contextlib.suppress(Stop):
        while moved:
            begin = latest
            try:
                scipy.optimize.minimize(
                    evaluated,
                    begin,
                    jac=True,
                    hessp=multiplied if name in WITH_PRODUCTS else None,
                    method=name,
                    bounds=None if bounds is None else scipy.optimize.Bounds(*bounds),
                    callback=progress,
                    options={**_OPTIONS[name], **options},
                )
            except (TypeError, ValueError) as error:
                if is_ours or not options:
                    raise
                raise ValueError(
                    f"`External(options=...)`: scipy's {name} fails with the options "
                    f"{', '.join(map(str, options))}: {error}"
                ) from error
            if by_options:
                return True
            moved = not np.array_equal(latest, begin)
    return False
