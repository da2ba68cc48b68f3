"""Time-stepping schemes by name."""

from __future__ import annotations

from pint.errors import check_choice
from pint.interface import Adjoint, TimeStepper
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.theta import Theta, ThetaAdjoint

_EXPLICIT = {"forward-euler": "euler", "rk2": "rk2", "rk4": "rk4"}
_IMPLICIT = {
    "implicit-euler": "implicit-euler",
    "backward-euler": "implicit-euler",
    "midpoint": "midpoint",
    "implicit-midpoint": "midpoint",
    "crank-nicolson": "crank-nicolson",
}

SCHEMES = (*_EXPLICIT, *_IMPLICIT)
"""All names that `scheme` knows."""


def scheme(ode: ODE, name: str | Tableau) -> tuple[TimeStepper, Adjoint]:
    """Return a stepper of `ode` and its adjoint, the exact transpose.

    Parameters
    ----------
    ode : ODE
    name : str or Tableau
        ``'forward-euler'``, ``'rk2'`` (Heun), ``'rk4'``: `RungeKutta`.
        ``'implicit-euler'`` or ``'backward-euler'``, ``'midpoint'`` or ``'implicit-midpoint'``,
        ``'crank-nicolson'``: `Theta`.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if not isinstance(name, Tableau):
        check_choice("scheme", "name", name, SCHEMES)
    if isinstance(name, Tableau) or name in _EXPLICIT:
        explicit = RungeKutta(ode, name if isinstance(name, Tableau) else _EXPLICIT[name])
        return explicit, RungeKuttaAdjoint(explicit)
    implicit = Theta(ode, _IMPLICIT[name])  # type: ignore[arg-type]
    return implicit, ThetaAdjoint(implicit)
