"""Reduced space: state and adjoint are solved to tolerance for every control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pint.controls import Control
from pint.optimise.descent import Callback, Options, descend
from pint.optimise.result import Result
from pint.optimise.scipy_adaptor import scipy_minimize
from pint.reduced_functional import ReducedFunctional


def minimize(
    functional: ReducedFunctional,
    control: Control,
    method: str = "lbfgs",
    *,
    callback: Callback | None = None,
    scipy_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Result:
    """Minimise ``J(u, theta)``, state and adjoint solved to ``functional.accuracy``. Collective.

    On a grid of one level both are solved by sequential time stepping.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start.
    method : str
        ``"lbfgs"`` for the quasi-Newton methods of this package, or a method of
        `scipy.optimize.minimize` that takes the gradient: ``"scipy:L-BFGS-B"``, ``"scipy:TNC"``,
        ``"scipy:SLSQP"``, ``"scipy:trust-constr"``; without bounds also ``"scipy:BFGS"``,
        ``"scipy:CG"``, ``"scipy:Newton-CG"``.
    callback : callable, optional
        Receives each `Iterate`, its control and its state.
    scipy_options : mapping, optional
        The dictionary ``options`` of `scipy.optimize.minimize`.
    **options
        Fields of `Options`: iterations, gradient_tolerance, hessian, line_search, step; for
        scipy the first two.

    Raises
    ------
    ValueError
        If the method is unknown, or does not take the bounds or an option that is given.
    """
    package, _, name = method.partition(":")
    if package == "scipy":
        unused = sorted(set(options) & {"hessian", "line_search", "step"})
        if unused:
            raise ValueError(
                f"`minimize({unused[0]}=...)`: scipy's methods have their own; use `scipy_options`."
            )
        return scipy_minimize(
            functional, control, name, Options(**options), callback, scipy_options
        )
    if method != "lbfgs":
        raise ValueError(
            f"`minimize(method=...)` is 'lbfgs' or 'scipy:' and a method of scipy, got {method!r}."
        )
    if scipy_options is not None:
        raise ValueError("`minimize(scipy_options=...)` needs a method of scipy.")
    return descend(functional, control, functional.accuracy, Options(**options), callback)
