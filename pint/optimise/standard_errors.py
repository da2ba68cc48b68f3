"""Standard errors of estimated parameters."""

from __future__ import annotations

import numpy as np

from pint.comm import alike
from pint.controls import Control
from pint.errors import check_kind
from pint.optimise.result import Result

DISTANCE = 1e-5
"""Of the differences, relative to the size of a parameter (1 if it is zero)."""

DETERMINED = 1e-7
"""Least eigenvalue of second derivatives whose diagonal is scaled to 1; less is rounding."""


def standard_errors(result: Result) -> dict[str, np.ndarray]:
    r"""Return the standard errors of the shared fields of a result, by name. Collective.

    They are the roots of the diagonal of :math:`H^{-1}`, H being the Hessian of J with respect to
    all shared fields, by central differences of the derivative: two gradients for each number.
    They hold where J is the negative logarithm of a likelihood, as `MeasuredData` is with the
    standard deviations of the measurements; if those are only known up to a factor, multiply by
    :math:`\sqrt{2J/(M - p)}`, with M data and p parameters.

    Parameters
    ----------
    result : Result
        Of a problem whose controls are shared fields.

    Raises
    ------
    TypeError, ValueError
        If it is no result, the problem has time-dependent controls or constraints, a parameter is
        at a bound, or the Hessian is not positive definite: the data do not determine the
        parameters.

    References
    ----------
    .. [1] G. A. F. Seber, C. J. Wild, Nonlinear Regression, Wiley, 1989, section 2.1.2.
    """
    check_kind("standard_errors", "result", result, Result, "what `pint.minimize` returns")
    if result.constrained is not None:
        raise ValueError("`standard_errors` is for problems without constraints.")
    functional, control = result.functional, result.control
    space = control.space
    if space.time_fields:
        raise ValueError(
            "`standard_errors` is for problems whose controls are all shared; "
            f"`{next(iter(space.time_fields))}` depends on time."
        )
    at = control.vector
    steps = DISTANCE * np.where(at == 0.0, 1.0, np.abs(at))
    for name in space.fields:
        place = space.places[name][0]
        near = (at - space.lower < steps) | (space.upper - at < steps)
        if near[place].any():
            raise ValueError(
                f"`standard_errors`: `{name}` is at a bound, where they are not defined; fix it."
            )
    columns = []
    for i, step in enumerate(steps):
        unit = np.zeros(len(at))
        unit[i] = step
        ahead, behind = (
            functional.derivative(Control(space, at + sign * unit)).vector for sign in (1.0, -1.0)
        )
        columns.append((ahead - behind) / (2.0 * step))
    hessian = np.array(columns)
    hessian = 0.5 * (hessian + hessian.T)
    diagonal = np.diag(hessian)
    units = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / np.outer(units, units))
    if not values[0] > DETERMINED:
        raise alike(
            ValueError(
                "`standard_errors`: the second derivatives are not positive definite; the data do "
                "not determine all parameters."
            )
        )
    errors = np.sqrt((vectors**2 / values).sum(axis=1)) / units
    return {
        name: errors[space.places[name][0]].reshape(field.shape)
        for name, field in space.fields.items()
    }
