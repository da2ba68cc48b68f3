"""Reduced space: state and adjoint are solved to tolerance for every control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pint.controls import Control
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.descent import Callback, Options, descend
from pint.optimise.result import Result
from pint.optimise.scipy_adaptor import scipy_minimize
from pint.optimise.solves import ErrorControlled, FixedCycles, Solves
from pint.optimise.tao_adaptor import tao_minimize
from pint.reduced_functional import ReducedFunctional


def minimize(
    functional: ReducedFunctional,
    control: Control,
    method: str = "lbfgs",
    *,
    callback: Callback | None = None,
    checkpoint: Checkpoint | None = None,
    error_controlled: bool = False,
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
        ``"scipy:CG"``, ``"scipy:Newton-CG"``; or one of PETSc's TAO: ``"tao:blmvm"``,
        ``"tao:bqnls"``, ``"tao:bncg"``, without bounds also ``"tao:lmvm"``, ``"tao:cg"``.
    callback : callable, optional
        Receives each `Iterate`, its control and its state.
    checkpoint : Checkpoint, optional
        Where to save the run, and whether to go on with a saved one; for ``"lbfgs"``.
    error_controlled : bool
        Solve as accurately as estimated errors of objective and gradient ask for, not to
        ``functional.accuracy``; for ``"lbfgs"``. Without effect on a grid of one level.
    scipy_options : mapping, optional
        The dictionary ``options`` of `scipy.optimize.minimize`.
    **options
        Fields of `Options`: iterations, gradient_tolerance, hessian, line_search, step; for
        scipy and TAO the first two.

    Raises
    ------
    TypeError, ValueError
        If `control` is no control of the problem, the method is unknown, or it does not take the
        bounds or an option that is given.
    CheckpointError
        If the run cannot begin with the checkpoint.
    """
    package, _, name = method.partition(":")
    if package in ("scipy", "tao"):
        unused = sorted(set(options) & {"hessian", "line_search", "step"})
        unused += ["checkpoint"] * (checkpoint is not None)
        unused += ["error_controlled"] * error_controlled
        if unused:
            raise ValueError(
                f"`minimize({unused[0]}=...)` is for the method 'lbfgs'; the methods of {package} "
                "have their own, or none."
            )
    elif method != "lbfgs":
        raise ValueError(
            "`minimize(method=...)` is 'lbfgs', 'scipy:' and a method of scipy, or 'tao:' and a "
            f"method of TAO, got {method!r}."
        )
    if scipy_options is not None and package != "scipy":
        raise ValueError("`minimize(scipy_options=...)` needs a method of scipy.")
    settings = Options(**options)
    functional.problem.controls.require_fitting(control)
    if package == "scipy":
        return scipy_minimize(functional, control, name, settings, callback, scipy_options)
    if package == "tao":
        return tao_minimize(functional, control, name, settings, callback)
    solves: Solves = FixedCycles(functional.accuracy)
    if error_controlled and functional.problem.grid.levels > 1:
        solves = ErrorControlled()
    return descend(functional, control, solves, settings, callback, checkpoint)
