"""Implicit Euler, the implicit midpoint rule and Crank-Nicolson, with their exact transposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.errors import check_choice, check_kind, is_number
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace, space_like
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.newton import Newton, warn_of_failure
from pint.steppers.ode import ODE, vector_shape
from pint.steppers.runge_kutta import add_fields


@dataclass(frozen=True)
class Coefficients:
    """``z = y + explicit dt f(t0, y) + implicit dt f(t0 + at dt, z)``, ``y1 = z + beyond (z - y)``.

    The steps of all the schemes have this form.
    """

    explicit: float
    implicit: float
    at: float
    beyond: float


COEFFICIENTS: Mapping[str, Coefficients] = {
    "implicit-euler": Coefficients(explicit=0.0, implicit=1.0, at=1.0, beyond=0.0),
    "midpoint": Coefficients(explicit=0.0, implicit=0.5, at=0.5, beyond=1.0),
    "crank-nicolson": Coefficients(explicit=0.5, implicit=0.5, at=1.0, beyond=0.0),
}


class Theta(TimeStepper):
    r"""An implicit step of an `ODE` whose states are vectors; the control is constant over it.

    ====================  ==========================================================
    ``'implicit-euler'``  ``y1 = y0 + dt f(t1, y1, u)``
    ``'midpoint'``        ``y1 = y0 + dt f((t0 + t1) / 2, (y0 + y1) / 2, u)``
    ``'crank-nicolson'``  ``y1 = y0 + dt / 2 (f(t0, y0, u) + f(t1, y1, u))``
    ====================  ==========================================================

    With an `ODE.mass_matrix` M, ``y1 - y0`` is multiplied by M.

    Newton's method solves the equations to rounding, each step of a batch on its own, and each
    component by its own size; where f is linear in y this takes one iteration. Systems with dense,
    banded or sparse matrices are solved as `ODE.jacobian` has them. It starts from
    ``s.guess`` if that is given, else from `y`; a step that does not converge from its guess starts
    again from `y`.

    Parameters
    ----------
    ode : ODE
        Without a `jacobian` of its own, `ODE.jacobian` makes it of products with unit vectors.
        Banded and sparse ones, and a mass matrix, are described there.
    scheme : 'implicit-euler', 'midpoint', 'crank-nicolson' or number in (0, 1]
        A number theta stands for ``y1 = y0 + dt ((1 - theta) f(t0, y0, u) + theta f(t1, y1, u))``.
    coarse : str or CoarseStep, optional
        Another step for coarse levels: see `pint.coarse`.
    estimates : bool
        Whether a step whose equation cannot be solved gives the result of one Newton iteration
        from `y`, without a warning: for coarse levels, where an estimate is better than none.

    Raises
    ------
    TypeError
        If `ode` is not an ODE.
    ValueError
        If the scheme is unknown, or states are not vectors.

    Warns
    -----
    RuntimeWarning
        If Newton's method does not converge; it names time and step size.

    Notes
    -----
    A step whose equation cannot be solved, or that begins at a state that is not finite, gives
    NaN: a line search then shortens its step, and elsewhere all ranks raise `NotFiniteError`. (An
    exception would end the line search, and the run where only one rank met it.)

    Where the equation has several solutions, the start decides which one Newton's method finds; a
    guess must be nearer to the result of the step than to the other solutions.
    """

    batched = True
    uses_guess = True

    def __init__(
        self,
        ode: ODE,
        scheme: str | float = "implicit-euler",
        *,
        coarse: str | CoarseStep | None = None,
        estimates: bool = False,
    ) -> None:
        if not isinstance(ode, ODE):
            raise TypeError(f"`Theta(ode=...)` must be an ODE, got {type(ode).__name__}.")
        self.scheme, self.coefficients = coefficients_of(scheme)
        self.kept_shape = vector_shape("Theta", ode)
        self.ode, self.estimates = ode, estimates
        self._newton = Newton(ode, *self.kept_shape, estimates)
        self.coarse = coarse_step("`Theta(coarse=...)`", coarse)
        self._space = space_like(ode)

    @property
    def space(self) -> ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> Any:
        return self.ode.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        beyond = self.coefficients.beyond
        z = self.implicit_state(s, y, u, theta)
        if s.kept is not None:
            s.kept[...] = z
        return z + beyond * (z - y) if beyond else z

    def coarsen(self, level: int) -> TimeStepper:
        return self if self.coarse is None else self.coarse.stepper(self)

    def implicit_time(self, s: Steps) -> np.ndarray:
        """Return the times, shape (B,), at which the implicit f is evaluated."""
        return np.reshape(s.t0 + self.coefficients.at * s.dt, -1)

    def implicit_state(self, s: Steps, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return z, the state at which the implicit f is evaluated: ``M z = base + h f(t, z)``.

        The arguments are those of `step`.
        """
        h, base = self.coefficients.implicit * s.dt, self._newton.mass.times(y)
        if self.coefficients.explicit:
            slope = self.ode.f(np.reshape(s.t0, -1), y, u, theta)
            base = base + self.coefficients.explicit * s.dt * slope
        start = y
        if s.guess is not None:
            # The guess is one of y1 = z + beyond (z - y).
            beyond = self.coefficients.beyond
            start = (s.guess + beyond * y) / (1 + beyond) if beyond else s.guess
        z, failed = self._newton.solve(self.implicit_time(s), h, base, start, y, u, theta)
        if len(failed) and not self.estimates:
            t0, dt = np.reshape(s.t0, -1), np.broadcast_to(np.reshape(s.dt, -1), len(y))
            first = failed[0]
            warn_of_failure(self.scheme, t0[first], dt[first], s.level, len(failed), len(t0))
        return z

    def multiplier(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return z and ``mu = (M - h f_y(z))^{-T} (1 + beyond) lam`` for the adjoint."""
        z = self.implicit_state(s, y, u, theta) if s.kept is None else s.kept
        h = self.coefficients.implicit * s.dt
        right = (1 + self.coefficients.beyond) * lam
        return z, self._newton.transposed(self.implicit_time(s), z, h, u, theta, right)

    def of_state(self, mu: np.ndarray, lam: Any) -> np.ndarray:
        """Return ``M^T mu - beyond lam``: the transpose but for the explicit part of f."""
        dy: np.ndarray = self._newton.mass.transposed(mu) - self.coefficients.beyond * lam
        return dy


class ThetaAdjoint(Adjoint):
    """The transposes of a `Theta` step, by a solve with the transposed matrix.

    The step kept z, or Newton's method computes z again.

    Parameters
    ----------
    stepper : Theta
    """

    def __init__(self, stepper: Theta) -> None:
        check_kind("ThetaAdjoint", "stepper", stepper, Theta, "a Theta")
        self.stepper = stepper
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        weights = self.stepper.coefficients
        z, mu = self.stepper.multiplier(s, y, u, theta, lam)
        seed = weights.implicit * s.dt * mu
        _, of_u, of_theta = self.ode.f_vjp(self.stepper.implicit_time(s), z, u, theta, seed)
        dy, du, dtheta = self.stepper.of_state(mu, lam), dict(of_u), dict(of_theta)
        if weights.explicit:
            of_y, of_u, of_theta = self._explicit(s, y, u, theta, mu)
            dy = dy + of_y
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return dy, du, dtheta

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        # dy alone needs no `f_vjp` at z.
        weights = self.stepper.coefficients
        _, mu = self.stepper.multiplier(s, y, u, theta, lam)
        dy = self.stepper.of_state(mu, lam)
        return dy + self._explicit(s, y, u, theta, mu)[0] if weights.explicit else dy

    def _explicit(
        self, s: Steps, y: Any, u: Fields, theta: Fields, mu: Any
    ) -> tuple[Any, Fields, Fields]:
        """Return the transposes of the explicit part of the step."""
        seed = self.stepper.coefficients.explicit * s.dt * mu
        return self.ode.f_vjp(np.reshape(s.t0, -1), y, u, theta, seed)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarse
        return self if coarse is None else coarse.adjoint(self.stepper.coarsen(level), self)


def coefficients_of(scheme: Any) -> tuple[str, Coefficients]:
    """Return name and coefficients of a scheme; ValueError if `Theta` has none of it."""
    if isinstance(scheme, str) or not is_number(scheme):
        check_choice("Theta", "scheme", scheme, list(COEFFICIENTS))
        return scheme, COEFFICIENTS[scheme]
    if not 0 < scheme <= 1:
        raise ValueError(f"`Theta(scheme=...)` must be a number in (0, 1], got {scheme}.")
    theta = float(scheme)
    return f"theta = {theta:g}", Coefficients(1.0 - theta, theta, at=1.0, beyond=0.0)
