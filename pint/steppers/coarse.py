"""Ready-made steps for coarse levels, where the fine step is unstable or costs too much.

They are values for the argument ``coarse=`` of `RungeKutta`, `Theta`, `SDIRK`, `scheme`,
`SympyODE.problem` and `CompiledODE.problem`. Each of them also has a name:

=====================  ============================================================
``'implicit-euler'``   `theta`, one solve, L-stable; so are the next two
``'midpoint'``         of order 2, not L-stable: slow where the problem is stiff
``'crank-nicolson'``   of order 2, not L-stable
``'sdirk2'``           `sdirk2`, two solves, L-stable, of order 2
``'two-solve'``        `two_solve`, two solves, L-stable, near to the exponential
``'rkc'``              `rkc`, explicit, for diffusion; ``'rkc:s'`` with s stages
``'substeps:k'``       `substeps`, k fine steps a coarse step
=====================  ============================================================

Coarse steps only accelerate: solutions, objectives and gradients are those of the fine steps,
to the tolerance of the solver. A coarse step whose equation cannot be solved therefore takes
an estimate, and never ends a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pint.errors import integer
from pint.interface import Adjoint, TimeStepper
from pint.steppers.chebyshev import RKC, RKCAdjoint, checked_numbers
from pint.steppers.coarsening import NAMED, CoarseStep
from pint.steppers.ode import ODE
from pint.steppers.sdirk import ORDER_TWO, SDIRK, SDIRKAdjoint, checked_gamma
from pint.steppers.substeps import Substeps, SubstepsAdjoint
from pint.steppers.theta import Theta, ThetaAdjoint, coefficients_of

NEAR_EXPONENTIAL = 0.386
"""The gamma for which `two_solve` is best for decay: see there."""

__all__ = ["CoarseStep", "rkc", "sdirk2", "substeps", "theta", "two_solve"]


def theta(scheme: str | float = "implicit-euler") -> CoarseStep:
    """Return a `Theta` step: one solve.

    Parameters
    ----------
    scheme : 'implicit-euler', 'midpoint', 'crank-nicolson' or number in (0, 1]
        As for `Theta`.

    Raises
    ------
    ValueError
        If the scheme is unknown.
    """
    coefficients_of(scheme)  # an unknown scheme is an error here
    return _OfODE("theta", (scheme,))


def sdirk2() -> CoarseStep:
    """Return an `SDIRK` step of order 2: two solves."""
    return _OfODE("sdirk", (ORDER_TWO,))


def two_solve(gamma: float = NEAR_EXPONENTIAL) -> CoarseStep:
    """Return an `SDIRK` step of order 1 that is near the exponential as a whole: two solves.

    With the default gamma its factor differs from ``exp(z)`` so little on the negative real axis
    that Parareal converges with a factor of 0.06 for decay, where implicit Euler has 0.30, and
    `sdirk2` 0.26. With FCF-relaxation the factors are 0.026, 0.112 and 0.011.

    Parameters
    ----------
    gamma : float
        From ``1 - 1/sqrt(2)`` to 1.

    Raises
    ------
    ValueError
        If gamma is out of its range.
    """
    return _OfODE("sdirk", (checked_gamma(gamma),))


def rkc(stages: int | None = None, spectral_radius: float | None = None) -> CoarseStep:
    """Return an `RKC` step: explicit, for stiff problems with nearly real eigenvalues.

    Parameters
    ----------
    stages : int, optional
    spectral_radius : float, optional
        As for `RKC`.

    Raises
    ------
    ValueError
        If a number is out of its range, or both are given.
    """
    return _OfODE("rkc", checked_numbers(stages, spectral_radius))


def substeps(count: int) -> CoarseStep:
    """Return a step that takes `count` fine steps, for the fine step of any problem.

    Parameters
    ----------
    count : int
        At least 1.

    Raises
    ------
    ValueError
        If `count` is not an integer >= 1.
    """
    return _Substeps(integer("pint.coarse.substeps", "count", count, 1))


NAMED.update(
    {
        **{name: partial(theta, name) for name in ("implicit-euler", "midpoint", "crank-nicolson")},
        "sdirk2": sdirk2,
        "two-solve": two_solve,
        "rkc": rkc,
        "substeps": substeps,
    }
)


_OF_ODE: dict[str, tuple[Callable[..., TimeStepper], Callable[..., Adjoint]]] = {
    "theta": (partial(Theta, estimates=True), ThetaAdjoint),
    "sdirk": (partial(SDIRK, estimates=True), SDIRKAdjoint),
    "rkc": (RKC, RKCAdjoint),
}


@dataclass(frozen=True)
class _OfODE(CoarseStep):
    """A step of the fine stepper's ODE, of one of the kinds of `_OF_ODE`."""

    kind: str
    numbers: tuple[Any, ...]

    def stepper(self, fine: Any) -> TimeStepper:
        ode = getattr(fine, "ode", None)
        if not isinstance(ode, ODE):
            raise TypeError(
                f"`coarse=...`: {type(fine).__name__} is no step of an ODE; take "
                "`pint.coarse.substeps(k)`, or return a stepper of your own from `coarsen`."
            )
        return _OF_ODE[self.kind][0](ode, *self.numbers)

    def adjoint(self, stepper: Any, fine: Adjoint) -> Adjoint:
        return _OF_ODE[self.kind][1](stepper)


@dataclass(frozen=True)
class _Substeps(CoarseStep):
    """Some fine steps."""

    count: int

    def stepper(self, fine: Any) -> TimeStepper:
        return Substeps(fine, self.count)

    def adjoint(self, stepper: Any, fine: Adjoint) -> Adjoint:
        return SubstepsAdjoint(stepper, fine)
