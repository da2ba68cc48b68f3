"""Explicit Runge-Kutta schemes, batched, and their exact discrete transposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.errors import check_kind, shown
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import StateSpace
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.ode import ODE, check_without_mass


@dataclass(frozen=True)
class Tableau:
    """The coefficients of an explicit Runge-Kutta scheme with s stages.

    Stage i is ``k_i = f(t0 + c_i dt, y + dt sum_{j<i} a_ij k_j)``, the step
    ``y + dt sum_i b_i k_i``.

    Parameters
    ----------
    a : array_like, shape (s, s)
        Zero on and above the diagonal.
    b, c : array_like, shape (s,)
        The b_i sum to 1.

    Raises
    ------
    ValueError
        If sizes do not fit, a number is not finite, the scheme is implicit, or the b_i do not
        sum to 1.
    """

    a: Any
    b: Any
    c: Any

    def __post_init__(self) -> None:
        a, b, c = (np.asarray(values, dtype=float) for values in (self.a, self.b, self.c))
        if b.ndim != 1 or b.size < 1:
            raise ValueError(f"`Tableau(b=...)` must have shape (s,), s >= 1, got {b.shape}.")
        for name, values, shape in (("a", a, (b.size, b.size)), ("c", c, b.shape)):
            if values.shape != shape:
                raise ValueError(
                    f"`Tableau({name}=...)` must have shape {shape}, because `b` has {b.size} "
                    f"entries, got {values.shape}."
                )
        if not all(np.isfinite(values).all() for values in (a, b, c)):
            raise ValueError("`Tableau(a, b, c)` contains NaN or infinity.")
        if np.triu(a).any():
            raise ValueError(
                "`Tableau(a=...)` must be zero on and above the diagonal (an explicit scheme); "
                "see `Theta` for implicit schemes."
            )
        if abs(b.sum() - 1.0) > 1e-12:
            raise ValueError(f"`Tableau(b=...)` must sum to 1, got {b.sum()}.")
        # Tuples: two equal tableaux compare equal, and nobody changes them.
        object.__setattr__(self, "a", tuple(map(tuple, a.tolist())))
        object.__setattr__(self, "b", tuple(b.tolist()))
        object.__setattr__(self, "c", tuple(c.tolist()))


TABLEAUX: Mapping[str, Tableau] = {
    "euler": Tableau([[0]], [1], [0]),
    "rk2": Tableau([[0, 0], [1, 0]], [1 / 2, 1 / 2], [0, 1]),
    "rk4": Tableau(
        [[0, 0, 0, 0], [1 / 2, 0, 0, 0], [0, 1 / 2, 0, 0], [0, 0, 1, 0]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
        [0, 1 / 2, 1 / 2, 1],
    ),
}
"""Forward Euler, Heun's method of order 2, the classical method of order 4."""


class RungeKutta(TimeStepper):
    """An explicit Runge-Kutta step of an `ODE`; the control is constant over the step.

    Parameters
    ----------
    ode : ODE
    tableau : 'euler', 'rk2', 'rk4' or Tableau
        'rk2' is Heun's method, ``y + dt/2 (k_1 + f(t1, y + dt k_1))``.
    coarse : str or CoarseStep, optional
        Another step for coarse levels, where this one may be unstable: see `pint.coarse`.

    Raises
    ------
    TypeError
        If `ode` is not an ODE.
    ValueError
        If the tableau or the coarse step is unknown, or the ODE has a mass matrix.
    """

    batched = True
    in_place = True

    def __init__(
        self,
        ode: ODE,
        tableau: str | Tableau = "rk4",
        *,
        coarse: str | CoarseStep | None = None,
    ) -> None:
        if not isinstance(ode, ODE):
            raise TypeError(f"`RungeKutta(ode=...)` must be an ODE, got {type(ode).__name__}.")
        check_without_mass("`RungeKutta(ode=...)`", ode)
        if isinstance(tableau, Tableau):
            self.tableau = tableau
        elif isinstance(tableau, str) and tableau in TABLEAUX:
            self.tableau = TABLEAUX[tableau]
        else:
            raise ValueError(
                f"`RungeKutta(tableau=...)` must be one of {', '.join(TABLEAUX)} or a Tableau, "
                f"got {shown(tableau)}."
            )
        self.ode = ode
        self.coarse = coarse_step("`RungeKutta(coarse=...)`", coarse)
        self._space = ode.space
        later = len(self.tableau.b) - 1  # the first stage is y
        self.kept_shape = (later, *self._space.shape) if later else None

    @property
    def space(self) -> StateSpace:
        return self._space

    def initial(self, theta: Fields) -> Any:
        return self.ode.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, out: Any = None) -> Any:
        dt = s.dt
        times = self.times(s, dt)
        states, slopes = self.stages(times, dt, y, u, theta)
        slopes.append(self.ode.f(times[-1], states[-1], u, theta))
        if s.kept is not None:
            for i, state in enumerate(states[1:]):
                s.kept[:, i] = state
        return _added(y, _combined(dt, self.tableau.b, slopes), out)

    def coarsen(self, level: int) -> TimeStepper:
        return self if self.coarse is None else self.coarse.stepper(self)

    def times(self, s: Steps, dt: Any) -> list[np.ndarray]:
        """Return the times of the stages, each of shape (B,)."""
        t0 = s.t0.reshape(-1)
        known = {0.0: t0, 1.0: s.t1.reshape(-1)}
        for c in self.tableau.c:
            if c not in known:
                known[c] = t0 + c * dt.reshape(-1)
        return [known[c] for c in self.tableau.c]

    def stages(
        self, times: list[np.ndarray], dt: Any, y: Any, u: Fields, theta: Fields
    ) -> tuple[list[Any], list[Any]]:
        """Return the states at which f is evaluated, and f at all but the last."""
        states: list[Any] = [y]
        slopes: list[Any] = []
        for t, row in zip(times[:-1], self.tableau.a[1:], strict=True):
            slopes.append(self.ode.f(t, states[-1], u, theta))
            states.append(y + _combined(dt, row, slopes) if any(row) else y)
        return states, slopes


class RungeKuttaAdjoint(Adjoint):
    """The transposes of a `RungeKutta` step, whose stages the step kept or are computed again.

    Backwards through the stages, with ``l_j = f_y(t_j, Y_j)^T s_j``,

        s_i = dt (b_i lam + sum_{j>i} a_ji l_j),   Phi_y^T lam = lam + sum_i l_i,

    and the u- and theta-parts are sums of ``f_u^T s_i`` and ``f_theta^T s_i``. `vjp` evaluates
    `ODE.f_vjp` once for each stage.

    Parameters
    ----------
    stepper : RungeKutta
    """

    in_place = True

    def __init__(self, stepper: RungeKutta) -> None:
        check_kind("RungeKuttaAdjoint", "stepper", stepper, RungeKutta, "a RungeKutta")
        self.stepper = stepper
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> tuple[Any, Fields, Fields]:
        a, b, dt = self.stepper.tableau.a, self.stepper.tableau.b, s.dt
        times = self.stepper.times(s, dt)
        if s.kept is None:
            states = self.stepper.stages(times, dt, y, u, theta)[0]
        else:
            states = [y, *s.kept.swapaxes(0, 1)]
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        parts: list[Any] = []  # l_j of the later stages, the last stage first
        for i in reversed(range(len(b))):
            later = [a[j][i] for j in reversed(range(i + 1, len(b)))]
            seed = _combined(dt, (b[i], *later), [lam, *parts])
            of_y, of_u, of_theta = self.ode.f_vjp(times[i], states[i], u, theta, seed)
            parts.append(of_y)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        dy = _added(sum(parts[:-1], start=lam), parts[-1], out)
        return dy, du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarse
        return self if coarse is None else coarse.adjoint(self.stepper.coarsen(level), self)


def _combined(dt: Any, weights: tuple[float, ...], arrays: list[Any]) -> Any:
    """Return ``dt sum_i weights_i arrays_i``; terms of weight zero are left out."""
    # The first weight multiplies dt instead of the sum: in a batch, dt is smaller than the arrays.
    first, total = 0.0, 0.0 * arrays[0] if not any(weights) else None
    for weight, array in zip(weights, arrays, strict=False):
        if not weight:
            continue
        if total is None:
            first, total = weight, array
        else:
            total = total + (array if weight == first else (weight / first) * array)
    return (dt if first == 1 else first * dt) * total


def _added(a: Any, b: Any, out: Any) -> Any:
    """Return ``a + b``, in `out` unless that is None."""
    if isinstance(a, np.ndarray):
        return np.add(a, b, out=out)
    if out is None:
        return a + b
    out[...] = a + b
    return out


def add_fields(total: dict[str, Any], values: Fields) -> None:
    """Add derivatives by field name to `total`, in place; its arrays are replaced, not changed."""
    for name, value in values.items():
        total[name] = total[name] + value if name in total else value
