"""A diagonally implicit Runge-Kutta step of two solves, with its exact transpose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pint.errors import check_kind, is_number, shown
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace, space_like
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.newton import Newton, warn_of_failure
from pint.steppers.ode import ODE, vector_shape
from pint.steppers.runge_kutta import add_fields

ORDER_TWO = 1.0 - math.sqrt(0.5)
"""The gamma of order 2 [1]_.

References
----------
.. [1] Alexander, SIAM J. Numer. Anal. 14 (1977), 1006, doi:10.1137/0714068.
"""


class SDIRK(TimeStepper):
    """An L-stable implicit step of an `ODE`; the control is constant over it.

    Two equations are solved, each by Newton's method as in `Theta`:

        z1 = y0 + gamma dt f(t0 + gamma dt, z1, u),
        y1 = y0 + (1 - gamma) / gamma (z1 - y0) + gamma dt f(t1, y1, u).

    With an `ODE.mass_matrix` M, ``z1`` and ``y1``, and all that is not f, are multiplied by M.

    For ``y' = lambda y`` it multiplies by ``(1 + (1 - 2 gamma) z) / (1 - gamma z)^2``, z being
    ``lambda dt``: the step is L-stable if gamma >= ``1 - 1/sqrt(2)``, of order 2 for that
    gamma, else of order 1.

    Parameters
    ----------
    ode : ODE
        As for `Theta`.
    gamma : float
        At least ``1 - 1/sqrt(2)``, the default, and at most 1.
    coarse : str or CoarseStep, optional
        Another step for coarse levels: see `pint.coarse`.
    estimates : bool
        As in `Theta`.

    Raises
    ------
    TypeError
        If `ode` is not an ODE.
    ValueError
        If gamma is out of its range, or states are not vectors.

    Warns
    -----
    RuntimeWarning
        If Newton's method does not converge: see `Theta`.
    """

    batched = True
    uses_guess = True
    scheme = "sdirk2"

    def __init__(
        self,
        ode: ODE,
        gamma: float = ORDER_TWO,
        *,
        coarse: str | CoarseStep | None = None,
        estimates: bool = False,
    ) -> None:
        if not isinstance(ode, ODE):
            raise TypeError(f"`SDIRK(ode=...)` must be an ODE, got {type(ode).__name__}.")
        (length,) = vector_shape("SDIRK", ode)
        self.kept_shape = (2 * length,)
        self.ode, self.gamma, self.estimates = ode, checked_gamma(gamma), estimates
        self.coarse = coarse_step("`SDIRK(coarse=...)`", coarse)
        self._newton = Newton(ode, length, estimates)
        self._space = space_like(ode)

    @property
    def space(self) -> ArraySpace:
        return self._space

    @property
    def beyond(self) -> float:
        """How far the second equation begins beyond the first result."""
        return (1.0 - self.gamma) / self.gamma

    def initial(self, theta: Fields) -> Any:
        return self.ode.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        stages = self.stages(s, y, u, theta)
        if s.kept is not None:
            np.concatenate(stages, axis=1, out=s.kept)
        return stages[1]

    def coarsen(self, level: int) -> TimeStepper:
        return self if self.coarse is None else self.coarse.stepper(self)

    def times(self, s: Steps) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of the two equations, each of shape (B,)."""
        return np.reshape(s.t0 + self.gamma * s.dt, -1), np.reshape(s.t1, -1)

    def stages(self, s: Steps, y: Any, u: Fields, theta: Fields) -> tuple[Any, Any]:
        """Return z1 and y1; the arguments are those of `step`."""
        h, near = self.gamma * s.dt, y if s.guess is None else s.guess
        first, second = self.times(s)
        start = y if s.guess is None else y + self.gamma * (near - y)
        times = self._newton.mass.times
        z, failed = self._newton.solve(first, h, times(y), start, y, u, theta)
        base = times(y + self.beyond * (z - y))
        result, failed_too = self._newton.solve(second, h, base, near, y, u, theta)
        failed = np.union1d(failed, failed_too)
        if len(failed) and not self.estimates:
            t0, dt = np.reshape(s.t0, -1), np.broadcast_to(np.reshape(s.dt, -1), len(y))
            one = failed[0]
            warn_of_failure(self.scheme, t0[one], dt[one], s.level, len(failed), len(t0))
        return z, result

    def multipliers(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> list[tuple[Any, Any, Any]]:
        """Return time, state and multiplier of both equations, for the adjoint; last one first."""
        first, second = self.times(s)
        if s.kept is None:
            z = self.stages(s, y, u, theta)
        else:
            z = s.kept[:, : y.shape[1]], s.kept[:, y.shape[1] :]
        h = self.gamma * s.dt
        last = self._newton.transposed(second, z[1], h, u, theta, lam)
        right = self.beyond * self._newton.mass.transposed(last)
        before = self._newton.transposed(first, z[0], h, u, theta, right)
        return [(second, z[1], last), (first, z[0], before)]

    def of_state(self, last: Any, first: Any) -> Any:
        """Return the transpose with respect to the state, of the multipliers of both equations."""
        return self._newton.mass.transposed((1.0 - self.beyond) * last + first)


class SDIRKAdjoint(Adjoint):
    """The transposes of an `SDIRK` step, by two solves with the transposed matrices.

    Parameters
    ----------
    stepper : SDIRK
    """

    def __init__(self, stepper: SDIRK) -> None:
        check_kind("SDIRKAdjoint", "stepper", stepper, SDIRK, "an SDIRK")
        self.stepper = stepper
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        equations = self.stepper.multipliers(s, y, u, theta, lam)
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        for t, z, multiplier in equations:
            seed = self.stepper.gamma * s.dt * multiplier
            _, of_u, of_theta = self.ode.f_vjp(t, z, u, theta, seed)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return self._of_state(equations), du, dtheta

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        return self._of_state(self.stepper.multipliers(s, y, u, theta, lam))

    def _of_state(self, equations: list[tuple[Any, Any, Any]]) -> Any:
        """Return ``Phi_y^T lam``."""
        (_, _, last), (_, _, first) = equations
        return self.stepper.of_state(last, first)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarse
        return self if coarse is None else coarse.adjoint(self.stepper.coarsen(level), self)


def checked_gamma(gamma: Any) -> float:
    """Return a gamma for which the step is L-stable, or raise ValueError."""
    if not (is_number(gamma) and ORDER_TWO <= gamma <= 1):
        raise ValueError(
            f"`SDIRK(gamma=...)` must be a number from 1 - 1/sqrt(2) to 1, got {shown(gamma)}."
        )
    return float(gamma)
