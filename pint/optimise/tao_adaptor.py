"""PETSc's TAO for a reduced functional, in variables scaled by the metric."""

from __future__ import annotations

from functools import partial

from pint.controls import Control
from pint.optimise.descent import Callback, Options
from pint.optimise.external import minimize_externally
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional

WITH_BOUNDS = ("blmvm", "bqnls", "bncg")
WITHOUT_BOUNDS = ("lmvm", "cg")


def tao_minimize(
    functional: ReducedFunctional,
    control: Control,
    method: str,
    options: Options,
    callback: Callback | None = None,
) -> Result:
    """Minimise by a gradient-based method of TAO, run on rank 0. Collective.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    method : str
        blmvm, bqnls or bncg; without bounds also lmvm and cg, which ignore them.
    options : Options
        `iterations` and `gradient_tolerance` count; TAO has its own line searches.
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.

    Raises
    ------
    ValueError
        If the method is unknown, or takes no bounds where there are some.
    ImportError
        If petsc4py is not installed.
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    """
    if method not in (*WITH_BOUNDS, *WITHOUT_BOUNDS):
        raise ValueError(
            f"`minimize(method='tao:{method}')`: the methods are "
            f"{', '.join((*WITH_BOUNDS, *WITHOUT_BOUNDS))}."
        )
    if control.space.bounded and method not in WITH_BOUNDS:
        raise ValueError(
            f"`minimize(method='tao:{method}')`: the method ignores bounds, but the control has "
            f"some; use {', '.join(WITH_BOUNDS)}."
        )
    try:
        from pint import petsc  # petsc4py is optional
    except ImportError as error:
        raise ImportError(
            f"`minimize(method='tao:{method}')` needs petsc4py: install pint-control[petsc]."
        ) from error
    optimise = partial(petsc.tao_minimize, method)
    return minimize_externally(functional, control, optimise, options, callback)
