"""Time-stepping schemes by name."""

from __future__ import annotations

from pint.errors import check_choice
from pint.interface import Adjoint, TimeStepper
from pint.steppers.additive import DIRK, STAGES, DIRKAdjoint
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.sdirk import SDIRK, SDIRKAdjoint
from pint.steppers.theta import Theta, ThetaAdjoint

EXPLICIT = {"forward-euler": "euler", "rk2": "rk2", "rk4": "rk4"}
_IMPLICIT = {
    "implicit-euler": "implicit-euler",
    "backward-euler": "implicit-euler",
    "midpoint": "midpoint",
    "implicit-midpoint": "midpoint",
    "crank-nicolson": "crank-nicolson",
}

_ALSO = {"dirk2": "sdirk2", "dirk3": "sdirk3"}

SCHEMES = (*EXPLICIT, *_IMPLICIT, "sdirk2", *STAGES, *_ALSO)
"""All names that `scheme` knows."""


def scheme(
    ode: ODE, name: str | Tableau, *, coarse: str | CoarseStep | None = None
) -> tuple[TimeStepper, Adjoint]:
    """Return a stepper of `ode` and its adjoint, the exact transpose.

    Parameters
    ----------
    ode : ODE
    name : str or Tableau
        ``'forward-euler'``, ``'rk2'`` (Heun), ``'rk4'``: `RungeKutta`.
        ``'implicit-euler'`` or ``'backward-euler'``, ``'midpoint'`` or ``'implicit-midpoint'``,
        ``'crank-nicolson'``: `Theta`. ``'sdirk2'`` or ``'dirk2'``: `SDIRK`. ``'sdirk3'`` or
        ``'dirk3'``, and for a `SplitODE` ``'imex-euler'``, ``'imex-rk2'``, ``'imex-rk3'``: `DIRK`.
    coarse : str or CoarseStep, optional
        Another step for coarse levels, by its name or made by `pint.coarse`.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if not isinstance(name, Tableau):
        check_choice("scheme", "name", name, SCHEMES)
    other = coarse_step("`scheme(coarse=...)`", coarse)
    if isinstance(name, Tableau) or name in EXPLICIT:
        tableau = name if isinstance(name, Tableau) else EXPLICIT[name]
        explicit = RungeKutta(ode, tableau, coarse=other)
        return explicit, RungeKuttaAdjoint(explicit)
    name = _ALSO.get(name, name)
    if name in STAGES:
        staged = DIRK(ode, name, coarse=other)
        return staged, DIRKAdjoint(staged)
    if name == "sdirk2":
        sdirk = SDIRK(ode, coarse=other)
        return sdirk, SDIRKAdjoint(sdirk)
    implicit = Theta(ode, _IMPLICIT[name], coarse=other)
    return implicit, ThetaAdjoint(implicit)
