"""`scipy.optimize.minimize` for a reduced functional, in variables scaled by the metric."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize

from pint.controls import Control, ControlSpace
from pint.optimise.descent import Callback, Options
from pint.optimise.external import Bounds, Evaluate, Record, minimize_externally
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional

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


def scipy_minimize(
    functional: ReducedFunctional,
    control: Control,
    method: str,
    options: Options,
    callback: Callback | None = None,
    scipy_options: Mapping[str, Any] | None = None,
) -> Result:
    """Minimise by a gradient-based method of `scipy.optimize.minimize`. Collective.

    The variables are the control's values times the square root of the metric's weights, so that
    scipy's Euclidean products are those of the metric. Rank 0 runs scipy on the vector of all
    time steps and tells the others what to evaluate.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    method : str
        Of scipy: L-BFGS-B, TNC, SLSQP, trust-constr; without bounds also BFGS, CG, Newton-CG.
    options : Options
        `iterations` and `gradient_tolerance` count; scipy has its own line searches.
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.
    scipy_options : mapping, optional
        The dictionary ``options`` of `scipy.optimize.minimize`, for example ``{"maxcor": 50}``.

    Raises
    ------
    ValueError
        If the method is unknown, takes no gradient, or takes no bounds where there are some.
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    """
    _check_method(method, control.space)
    settings = {**_OPTIONS[method], **(scipy_options or {})}

    def optimise(
        evaluate: Evaluate, record: Record, start: np.ndarray, bounds: Bounds | None
    ) -> None:
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
        # often goes on from there, until it does not move any more.
        moved = True
        with contextlib.suppress(_Stop):
            while moved:
                begin = latest
                scipy.optimize.minimize(
                    finite,
                    begin,
                    jac=True,
                    method=method,
                    bounds=None if bounds is None else scipy.optimize.Bounds(*bounds),
                    callback=progress,
                    options=settings,
                )
                moved = not np.array_equal(latest, begin)

    return minimize_externally(functional, control, optimise, options, callback)


def _check_method(method: str, space: ControlSpace) -> None:
    known = (*WITH_BOUNDS, *WITHOUT_BOUNDS)
    if method not in known:
        raise ValueError(
            f"`minimize(method='scipy:{method}')`: the methods of scipy that use the gradient, "
            f"and nothing but the gradient, are {', '.join(known)}."
        )
    if space.bounded and method not in WITH_BOUNDS:
        raise ValueError(
            f"`minimize(method='scipy:{method}')`: the method takes no bounds, but the control has "
            f"some; use {', '.join(WITH_BOUNDS)}."
        )


class _Stop(Exception):  # noqa: N818  (no error: it leaves scipy's loop)
    """Raised inside scipy to leave it; not every method of scipy ends by `StopIteration`."""
