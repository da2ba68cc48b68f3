"""Reduced space: state and adjoint are solved to tolerance for every control."""

from __future__ import annotations

from typing import Any

from pint.controls import Control
from pint.optimise.descent import Callback, Options, descend
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional


def minimize(
    functional: ReducedFunctional,
    control: Control,
    *,
    callback: Callback | None = None,
    **options: Any,
) -> Result:
    """Minimise ``J(u, theta)``, state and adjoint solved to ``functional.accuracy``. Collective.

    On a grid of one level both are solved by sequential time stepping.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start.
    callback : callable, optional
        Receives each `Iterate`, its control and its state.
    **options
        Fields of `Options`: iterations, gradient_tolerance, hessian, line_search, step.
    """
    return descend(functional, control, functional.accuracy, Options(**options), callback)
