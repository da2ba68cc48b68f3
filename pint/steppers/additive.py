"""Diagonally implicit Runge-Kutta steps, alone or with an explicit part (IMEX), and transposes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.errors import check_choice, check_kind
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace, space_like
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.newton import Newton, warn_of_failure
from pint.steppers.ode import ODE, vector_shape
from pint.steppers.runge_kutta import add_fields


class SplitODE(ODE):
    """``M y' = f_I(t, y, u, theta) + f_E(t, y, u, theta)``: a stiff part and another one.

    The IMEX schemes of `DIRK` are implicit in f_I alone, with its `jacobian`, bands and pattern.
    For other schemes the ODE is the sum.

    Parameters
    ----------
    implicit : ODE
        f_I; with the initial state, and the mass matrix if there is one.
    explicit : ODE
        f_E, for the same states.

    Raises
    ------
    TypeError
        If one of them is no ODE.
    ValueError
        If they have states of different shapes, or f_E has a mass matrix.
    """

    def __init__(self, implicit: ODE, explicit: ODE) -> None:
        check_kind("SplitODE", "implicit", implicit, ODE, "an ODE")
        check_kind("SplitODE", "explicit", explicit, ODE, "an ODE")
        shapes = [space_like(part).shape for part in (implicit, explicit)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"`SplitODE(explicit=...)` must have states of shape {shapes[0]}, got {shapes[1]}."
            )
        if explicit.mass_matrix is not None:
            raise ValueError("`SplitODE(explicit=...)` has a `mass_matrix`: give it to `implicit`.")
        self.implicit, self.explicit = implicit, explicit
        self.initial_state, self.mass_matrix = implicit.initial_state, implicit.mass_matrix

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self.implicit.f(t, y, u, theta) + self.explicit.f(t, y, u, theta)

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        dy, of_u, of_theta = self.implicit.f_vjp(t, y, u, theta, lam)
        more, more_u, more_theta = self.explicit.f_vjp(t, y, u, theta, lam)
        du, dtheta = dict(of_u), dict(of_theta)
        add_fields(du, more_u)
        add_fields(dtheta, more_theta)
        return dy + more, du, dtheta

    def initial(self, theta: Fields) -> Any:
        return self.implicit.initial(theta)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.implicit.initial_vjp(theta, lam0)


@dataclass(frozen=True)
class Stages:
    """Coefficients of stages 1, ..., s after stage 0, which is y0; the last stage is y1.

    ``M Y_i = M y0 + dt (sum_{j<i} (explicit_ij f_E(Y_j) + implicit_ij f_I(Y_j)) + gamma f_I(Y_i))``

    Attributes
    ----------
    gamma : float
    nodes : tuple of s + 1 floats
        Where in the step f is evaluated, in its size.
    implicit : s rows
        Those of stage i have entries for stages 1, ..., i - 1.
    explicit : s rows, or none
        Those of stage i have entries for stages 0, ..., i - 1.
    """

    gamma: float
    nodes: tuple[float, ...]
    implicit: tuple[tuple[float, ...], ...]
    explicit: tuple[tuple[float, ...], ...] = ()


def _alexander() -> Stages:
    """Return the L-stable scheme of order 3 [1]_; gamma is a zero of g^3 - 3g^2 + 3g/2 - 1/6.

    References
    ----------
    .. [1] Alexander, SIAM J. Numer. Anal. 14 (1977), 1006, doi:10.1137/0714068.
    """
    g = 0.43586652150845899942
    last = -(6 * g * g - 16 * g + 1) / 4, (6 * g * g - 20 * g + 5) / 4
    return Stages(g, (0.0, g, (1 + g) / 2, 1.0), ((), ((1 - g) / 2,), last))


_GAMMA = 1.0 - math.sqrt(0.5)
_DELTA = 1.0 - 1.0 / (2.0 * _GAMMA)

STAGES: Mapping[str, Stages] = {
    "sdirk3": _alexander(),
    "imex-euler": Stages(1.0, (0.0, 1.0), ((),), ((1.0,),)),
    "imex-rk2": Stages(
        _GAMMA, (0.0, _GAMMA, 1.0), ((), (1.0 - _GAMMA,)), ((_GAMMA,), (_DELTA, 1.0 - _DELTA))
    ),
    "imex-rk3": Stages(
        1 / 2,
        (0.0, 1 / 2, 2 / 3, 1 / 2, 1.0),
        ((), (1 / 6,), (-1 / 2, 1 / 2), (3 / 2, -3 / 2, 1 / 2)),
        ((1 / 2,), (11 / 18, 1 / 18), (5 / 6, -5 / 6, 1 / 2), (1 / 4, 7 / 4, 3 / 4, -7 / 4)),
    ),
}


class DIRK(TimeStepper):
    """A diagonally implicit Runge-Kutta step; of a `SplitODE` one with an explicit part.

    ==============  ==================================  ======  ===========
    name            scheme                              order   solves
    ==============  ==================================  ======  ===========
    ``sdirk3``      Alexander's, L-stable               3       3
    ``imex-euler``  implicit and explicit Euler         1       1
    ``imex-rk2``    ARS(2,2,2) of [1]_                  2       2
    ``imex-rk3``    ARS(4,4,3) of [1]_                  3       4
    ==============  ==================================  ======  ===========

    Equations are solved as in `Theta`. Their matrices ``M - gamma dt f_y`` are the same in all
    stages, so that a linear f_I needs one factorisation for each step size. The control is constant
    over a step.

    Parameters
    ----------
    ode : ODE
        A `SplitODE` for the IMEX schemes.
    scheme : str
        One of the names above.
    coarse : str or CoarseStep, optional
        Another step for coarse levels: see `pint.coarse`.

    Raises
    ------
    TypeError
        If `ode` is not an ODE, or no SplitODE for an IMEX scheme.
    ValueError
        If the scheme is unknown, or states are not vectors.

    Warns
    -----
    RuntimeWarning
        If Newton's method does not converge: see `Theta`.

    References
    ----------
    .. [1] Ascher, Ruuth, Spiteri, Appl. Numer. Math. 25 (1997), 151,
       doi:10.1016/S0168-9274(97)00056-1.
    """

    batched = True
    uses_guess = True

    def __init__(
        self, ode: ODE, scheme: str = "sdirk3", *, coarse: str | CoarseStep | None = None
    ) -> None:
        check_kind("DIRK", "ode", ode, ODE, "an ODE")
        check_choice("DIRK", "scheme", scheme, list(STAGES))
        self.ode, self.scheme, self.tableau = ode, scheme, STAGES[scheme]
        self.implicit, self.explicit = ode, None
        if self.tableau.explicit:
            check_kind("DIRK", "ode", ode, SplitODE, f"a SplitODE for {scheme!r}")
            assert isinstance(ode, SplitODE)
            self.implicit, self.explicit = ode.implicit, ode.explicit
        (self._length,) = vector_shape("DIRK", ode)
        self.kept_shape = (len(self.tableau.implicit) * self._length,)
        self.coarse = coarse_step("`DIRK(coarse=...)`", coarse)
        self.newton = Newton(self.implicit, self._length)
        self._space = space_like(ode)

    @property
    def space(self) -> ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> Any:
        return self.ode.initial(theta)

    def coarsen(self, level: int) -> TimeStepper:
        return self if self.coarse is None else self.coarse.stepper(self)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        stages = self.stages(s, y, u, theta)[1:]
        if s.kept is not None:
            np.concatenate(stages, axis=1, out=s.kept)
        return stages[-1]

    def times(self, s: Steps) -> list[np.ndarray]:
        """Return the times of all stages, each of shape (B,)."""
        return [np.reshape(s.t0 + node * s.dt, -1) for node in self.tableau.nodes]

    def stages(self, s: Steps, y: Any, u: Fields, theta: Fields) -> list[Any]:
        """Return Y_0, ..., Y_s; the arguments are those of `step`."""
        table, dt, mass = self.tableau, s.dt, self.newton.mass
        times, h = self.times(s), table.gamma * s.dt
        stages, failed, start = [y], np.zeros(0, int), mass.times(y)
        slopes: list[Any] = []
        explicit: list[Any] = []
        for i, row in enumerate(table.implicit):
            base = start + sum(a * slope for a, slope in zip(row, slopes, strict=True))
            if self.explicit is not None:
                explicit.append(dt * self.explicit.f(times[i], stages[-1], u, theta))
                base = base + sum(
                    a * slope for a, slope in zip(table.explicit[i], explicit, strict=True)
                )
            near = y if s.guess is None else y + table.nodes[i + 1] * (s.guess - y)
            z, lost = self.newton.solve(times[i + 1], h, base, near, y, u, theta)
            # dt f_I, without the errors that another evaluation of a stiff f would amplify
            slopes.append((mass.times(z) - base) / table.gamma)
            stages.append(z)
            failed = np.union1d(failed, lost)
        if len(failed):
            t0, sizes = np.reshape(s.t0, -1), np.broadcast_to(np.reshape(dt, -1), len(y))
            one = failed[0]
            warn_of_failure(self.scheme, t0[one], sizes[one], s.level, len(failed), len(t0))
        return stages

    def kept_stages(self, s: Steps, y: Any, u: Fields, theta: Fields) -> list[Any]:
        """Return Y_0, ..., Y_s as the step has kept them, or compute them."""
        if s.kept is None:
            return self.stages(s, y, u, theta)
        return [y, *np.split(s.kept, len(self.tableau.implicit), axis=1)]


class DIRKAdjoint(Adjoint):
    """The transposes of a `DIRK` step: a solve with the transposed matrix for each stage.

    The step kept its stages, or they are computed again.

    Parameters
    ----------
    stepper : DIRK
    """

    def __init__(self, stepper: DIRK) -> None:
        check_kind("DIRKAdjoint", "stepper", stepper, DIRK, "a DIRK")
        self.stepper = stepper
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        one, table, dt = self.stepper, self.stepper.tableau, s.dt
        stages, times, mass = one.kept_stages(s, y, u, theta), one.times(s), one.newton.mass
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        last = len(table.implicit)
        multipliers: dict[int, Any] = {}

        def explicit(j: int) -> Any:
            """Return what f_E of stage j hands to its state, and add to the other derivatives."""
            if one.explicit is None:
                return 0.0
            seed = dt * sum(table.explicit[k - 1][j] * mu for k, mu in multipliers.items())
            dy, of_u, of_theta = one.explicit.f_vjp(times[j], stages[j], u, theta, seed)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
            return dy

        for i in range(last, 0, -1):
            # (M - gamma dt f_y)^T sigma = gamma (what reaches Y_i by f_E) + M^T later
            reached = lam if i == last else explicit(i)
            later = sum(table.implicit[k - 1][i - 1] * mu for k, mu in multipliers.items())
            right = table.gamma * reached + np.zeros_like(lam)
            if multipliers:
                right = right + mass.transposed(later)
            h = table.gamma * dt
            sigma = one.newton.transposed(times[i], stages[i], h, u, theta, right)
            _, of_u, of_theta = one.implicit.f_vjp(times[i], stages[i], u, theta, dt * sigma)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
            multipliers[i] = (sigma - later) / table.gamma
        return mass.transposed(sum(multipliers.values())) + explicit(0), du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarse
        return self if coarse is None else coarse.adjoint(self.stepper.coarsen(level), self)
