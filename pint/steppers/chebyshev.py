"""Stabilised explicit steps: the Runge-Kutta-Chebyshev scheme, with its exact transpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pint.errors import check_kind, integer, number
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace, space_like
from pint.steppers.ode import ODE, check_without_mass
from pint.steppers.runge_kutta import add_fields
from pint.steppers.systems import Systems

DAMPING = 2.0 / 13.0
MOST_STAGES = 100
"""Of a step whose number of stages is found from the spectral radius."""

REACH = 0.65
"""A step of s stages is stable for ``-REACH (s^2 - 1) <= lambda dt <= 0``."""


@dataclass(frozen=True)
class Chebyshev:
    """The coefficients of a scheme of s >= 2 stages and order two [1]_, from j = 0 to s.

    ``Y_1 = y + first dt F_0`` and, for j > 1, F_j being f at the time ``t0 + c_j dt``,

        Y_j = (1 - mu_j - nu_j) y + mu_j Y_{j-1} + nu_j Y_{j-2}
              + slope_j dt F_{j-1} + origin_j dt F_0,

    References
    ----------
    .. [1] Sommeijer, Shampine & Verwer, J. Comput. Appl. Math. 88 (1998), 315,
       doi:10.1016/S0377-0427(97)00219-7, eqs. (2.1)-(2.8).
    """

    mu: tuple[float, ...]
    nu: tuple[float, ...]
    slope: tuple[float, ...]
    origin: tuple[float, ...]
    c: tuple[float, ...]

    @property
    def stages(self) -> int:
        """The number of stages s."""
        return len(self.c) - 1


@cache
def chebyshev(s: int) -> Chebyshev:
    """Return the coefficients of the scheme of s stages."""
    w0 = 1.0 + DAMPING / s**2
    # Chebyshev polynomials and their first two derivatives at w0.
    T = np.zeros((3, s + 1))
    T[0, :2], T[1, 1] = (1.0, w0), 1.0
    for j in range(2, s + 1):
        T[0, j] = 2 * w0 * T[0, j - 1] - T[0, j - 2]
        T[1, j] = 2 * T[0, j - 1] + 2 * w0 * T[1, j - 1] - T[1, j - 2]
        T[2, j] = 4 * T[1, j - 1] + 2 * w0 * T[2, j - 1] - T[2, j - 2]
    w1 = T[1, s] / T[2, s]
    b = np.empty(s + 1)
    b[2:] = T[2, 2:] / T[1, 2:] ** 2
    b[:2] = b[2]
    mu, nu, slope, origin, c = np.zeros((5, s + 1))
    slope[1] = c[1] = b[1] * w1
    for j in range(2, s + 1):
        mu[j], nu[j] = 2 * w0 * b[j] / b[j - 1], -b[j] / b[j - 2]
        slope[j] = 2 * w1 * b[j] / b[j - 1]
        origin[j] = -(1 - b[j - 1] * T[0, j - 1]) * slope[j]
        c[j] = mu[j] * c[j - 1] + nu[j] * c[j - 2] + slope[j] + origin[j]
    return Chebyshev(*(tuple(values.tolist()) for values in (mu, nu, slope, origin, c)))


class RKC(TimeStepper):
    """A Runge-Kutta-Chebyshev step of an `ODE`, of order 2; the control is constant over it.

    For stiff problems with (nearly) real eigenvalues, as diffusion has them: s stages are stable
    for steps some ``s^2 / 3`` times as long as those of Euler's method.

    Parameters
    ----------
    ode : ODE
    stages : int, optional
        Number s of stages, >= 2. By default each step takes as many as it needs to be stable, at
        most `MOST_STAGES`.
    spectral_radius : float, optional
        A bound of the moduli of the eigenvalues of f_y, from which s is found. By default the
        norms of ``f_y`` at the beginning of each step: for long states without a cheap
        `ODE.jacobian`, give the number.

    Raises
    ------
    TypeError
        If `ode` is not an ODE.
    ValueError
        If a number is out of its range, both are given, there is none and states are not
        vectors, or the ODE has a mass matrix.
    """

    batched = True

    def __init__(
        self, ode: ODE, stages: int | None = None, spectral_radius: float | None = None
    ) -> None:
        if not isinstance(ode, ODE):
            raise TypeError(f"`RKC(ode=...)` must be an ODE, got {type(ode).__name__}.")
        check_without_mass("`RKC(ode=...)`", ode)
        self.stages, self.spectral_radius = checked_numbers(stages, spectral_radius)
        self._space = space_like(ode)
        if stages is None and spectral_radius is None and len(self._space.shape) != 1:
            raise ValueError(
                "`RKC(stages=...)` or `RKC(spectral_radius=...)` must be given, because the states "
                f"of {type(ode).__name__} are no vectors: their shape is {self._space.shape}."
            )
        self.ode = ode
        self._systems = Systems(ode, self._space.shape[0]) if len(self._space.shape) == 1 else None

    @property
    def space(self) -> ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> Any:
        return self.ode.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        out = None
        for rows, scheme in self.schemes(s, y, u, theta):
            states = self.states(scheme, *some(s, rows), y[rows], at(u, rows), theta)[0]
            if out is None:
                out = np.empty(y.shape, states[-1].dtype)
            out[rows] = states[-1]
        return out

    def schemes(
        self, s: Steps, y: Any, u: Fields, theta: Fields
    ) -> Iterator[tuple[Any, Chebyshev]]:
        """Yield rows of the batch, and the coefficients that these steps are made with."""
        if self.stages is not None:
            yield slice(None), chebyshev(self.stages)
            return
        counts = self._counts(s, y, u, theta)
        for count in np.unique(counts):
            yield np.flatnonzero(counts == count), chebyshev(int(count))

    def _counts(self, s: Steps, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return the number of stages of each step."""
        radius: Any = self.spectral_radius
        if radius is None:
            with np.errstate(all="ignore"):
                assert self._systems is not None
                slopes = self.ode.jacobian(np.reshape(s.t0, -1), y, u, theta)
                sums = self._systems.sums_of_moduli(slopes, len(y))
                # Each is a bound of the spectral radius.
                radius = np.minimum(*(some.max(axis=1) for some in sums))
        dt = np.broadcast_to(np.reshape(s.dt, -1), len(y))
        needed = np.sqrt(1.0 + dt * radius / REACH)
        # No number is large enough where the derivative is not finite.
        return np.clip(np.ceil(np.nan_to_num(needed, nan=2.0)), 2, MOST_STAGES).astype(int)

    def states(
        self, scheme: Chebyshev, t0: Any, dt: Any, y: Any, u: Fields, theta: Fields
    ) -> tuple[list[Any], list[np.ndarray]]:
        """Return Y_0, ..., Y_s, and the times of all but the last."""
        times = [np.reshape(t0 + c * dt, -1) for c in scheme.c[:-1]]
        first = dt * self.ode.f(times[0], y, u, theta)
        states = [y, y + scheme.slope[1] * first]
        for j in range(2, scheme.stages + 1):
            mu, nu = scheme.mu[j], scheme.nu[j]
            slope = dt * self.ode.f(times[j - 1], states[-1], u, theta)
            old = (1 - mu - nu) * y + mu * states[-1] + nu * states[-2]
            states.append(old + scheme.slope[j] * slope + scheme.origin[j] * first)
        return states, times


class RKCAdjoint(Adjoint):
    """The transposes of an `RKC` step, backward through its stages, which are made again.

    Parameters
    ----------
    stepper : RKC
    """

    def __init__(self, stepper: RKC) -> None:
        check_kind("RKCAdjoint", "stepper", stepper, RKC, "an RKC")
        self.stepper = stepper
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        dy = np.empty_like(lam)
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        for rows, scheme in self.stepper.schemes(s, y, u, theta):
            dy[rows], of_u, of_theta = self._transposed(
                scheme, *some(s, rows), y[rows], at(u, rows), theta, lam[rows]
            )
            for name, values in of_u.items():
                whole = du.setdefault(name, np.zeros(np.shape(u[name]), values.dtype))
                whole[rows] = values
            add_fields(dtheta, of_theta)
        return dy, du, dtheta

    def _transposed(
        self, scheme: Chebyshev, t0: Any, dt: Any, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        states, times = self.stepper.states(scheme, t0, dt, y, u, theta)
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}

        def back(j: int, seed: Any) -> Any:
            of_y, of_u, of_theta = self.ode.f_vjp(times[j], states[j], u, theta, seed)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
            return of_y

        # What reaches Y_j and Y_{j-1} from later stages; y and F_0 are in all of them.
        here, before = lam, np.zeros_like(lam)
        of_start, of_first = np.zeros_like(lam), np.zeros_like(lam)
        for j in range(scheme.stages, 1, -1):
            mu, nu = scheme.mu[j], scheme.nu[j]
            of_start = of_start + (1 - mu - nu) * here
            of_first = of_first + scheme.origin[j] * here
            slope = back(j - 1, scheme.slope[j] * dt * here)
            here, before = before + mu * here + slope, nu * here
        of_first = of_first + scheme.slope[1] * here
        return of_start + before + here + back(0, dt * of_first), du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)


def some(s: Steps, rows: Any) -> tuple[Any, Any]:
    """Return beginning and size of some steps of a batch."""
    return s.t0[rows], s.dt[rows]


def at(fields: Fields, rows: Any) -> Fields:
    """Return the blocks of some steps of a batch."""
    return {name: values[rows] for name, values in fields.items()}


def checked_numbers(stages: Any, spectral_radius: Any) -> tuple[int | None, float | None]:
    """Return the numbers of an `RKC`, or raise ValueError."""
    if stages is not None and spectral_radius is not None:
        raise ValueError("`RKC(stages=..., spectral_radius=...)`: give one of them, not both.")
    return (
        None if stages is None else integer("RKC", "stages", stages, 2),
        None if spectral_radius is None else number("RKC", "spectral_radius", spectral_radius),
    )
