"""Implicit Euler, the implicit midpoint rule and Crank-Nicolson, with their exact transposes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pint.errors import check_choice, check_kind
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace, space_like
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import add_fields

ITERATIONS = 30
"""Most Newton iterations of a step."""

ROUNDOFF = 8 * float(np.finfo(float).eps)
STAGNATION = 1e-10
SHRINKS = 0.9
TINY = float(np.finfo(float).tiny)
FAR = 1e4
"""A result so many times larger than the state and its guess is computed again from the state."""


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

    Newton's method solves the equations to rounding, each step of a batch on its own, and each
    component by its own size; where f is linear in y this takes one iteration. It starts from
    ``s.guess`` if that is given, else from `y`; a step that does not converge from its guess starts
    again from `y`.

    Parameters
    ----------
    ode : ODE
        It must define `ODE.jacobian`.
    scheme : 'implicit-euler', 'midpoint' or 'crank-nicolson'

    Raises
    ------
    TypeError
        If `ode` is not an ODE or defines no `jacobian`.
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
        scheme: Literal["implicit-euler", "midpoint", "crank-nicolson"] = "implicit-euler",
    ) -> None:
        if not isinstance(ode, ODE):
            raise TypeError(f"`Theta(ode=...)` must be an ODE, got {type(ode).__name__}.")
        check_choice("Theta", "scheme", scheme, list(COEFFICIENTS))
        if type(ode).jacobian is ODE.jacobian:
            raise TypeError(
                f"`Theta(ode=...)`: {type(ode).__name__} defines no `jacobian`, which implicit "
                "schemes need."
            )
        shape = space_like(ode).shape
        if len(shape) != 1:
            raise ValueError(
                f"`Theta(ode=...)`: implicit schemes need states that are vectors; the initial "
                f"state of {type(ode).__name__} has shape {shape}."
            )
        self.ode = ode
        self.scheme = scheme
        self.coefficients = COEFFICIENTS[scheme]
        self.kept_shape = shape
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

    def implicit_time(self, s: Steps) -> np.ndarray:
        """Return the times, shape (B,), at which the implicit f is evaluated."""
        return np.reshape(s.t0 + self.coefficients.at * s.dt, -1)

    def implicit_state(self, s: Steps, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return z, the state at which the implicit f is evaluated: ``z = base + h f(t, z)``.

        The arguments are those of `step`.
        """
        h, base = self.coefficients.implicit * s.dt, y
        if self.coefficients.explicit:
            slope = self.ode.f(np.reshape(s.t0, -1), y, u, theta)
            base = y + self.coefficients.explicit * s.dt * slope
        start = y
        if s.guess is not None:
            # The guess is one of y1 = z + beyond (z - y).
            beyond = self.coefficients.beyond
            start = (s.guess + beyond * y) / (1 + beyond) if beyond else s.guess
        z = np.array(start, dtype=np.result_type(float, base, *u.values(), *theta.values()))
        solvable = np.isfinite(base).all(axis=1)
        z[~solvable] = np.nan
        rows = np.flatnonzero(solvable)
        with np.errstate(all="ignore"):  # overflow on the way is found and reported
            failed = self._newton(s, z, rows, base, h, u, theta)
            if start is not y:
                # Far out, where rounding hides the residual, Newton's method seems to converge.
                near = _largest(y) + _largest(start) + _largest(base)
                failed = np.union1d(failed, np.flatnonzero(_largest(z) > FAR * near))
                if len(failed):
                    z[failed] = y[failed]
                    failed = self._newton(s, z, failed, base, h, u, theta)
        if len(failed):
            z[failed] = np.nan
            t0, dt = np.reshape(s.t0, -1), np.broadcast_to(np.reshape(s.dt, -1), len(y))
            first = failed[0]
            warn_of_failure(self.scheme, t0[first], dt[first], s.level, len(failed), len(t0))
        return z

    def _newton(
        self, s: Steps, z: Any, rows: Any, base: Any, h: Any, u: Fields, theta: Fields
    ) -> np.ndarray:
        """Solve ``z = base + h f(t, z)`` for the given rows of z, in place.

        A row that has converged is left alone, so that it does not depend on the others. Return
        the rows that do not converge.
        """
        t, failed = self.implicit_time(s), rows[:0]
        reach: Any = 0.0  # |I - h f_y| |z| at the last iterate: the sizes whose rounding remains
        last = np.full(len(rows), np.inf)
        for iteration in range(ITERATIONS + 1):
            blocks = {name: values[rows] for name, values in u.items()}
            slope = h[rows] * self.ode.f(t[rows], z[rows], blocks, theta)
            residual = z[rows] - base[rows] - slope
            size = _sizes(residual)
            scale = _sizes(base[rows]) + _sizes(slope) + _sizes(z[rows]) + reach
            # By component: what is small beside others may be large for a small one.
            worst = (size / (scale + TINY)).max(axis=1)
            # Where f is infinite, so is the scale, to which no residual is large.
            finite = scale.max(axis=1) < np.inf
            remaining = ~((worst <= ROUNDOFF) & finite)
            if not remaining.any():
                break
            ends = (worst > SHRINKS * last) | (iteration == ITERATIONS)
            stagnates = ends & ((worst <= STAGNATION) | _is_small(size, scale, z.shape[1]))
            remaining &= ~(stagnates & finite)
            lost = remaining & ((iteration == ITERATIONS) | ~finite)
            if lost.any():
                failed = np.concatenate([failed, rows[lost]])
                remaining &= ~lost
            if not remaining.any():
                break
            rows, residual, last = rows[remaining], residual[remaining], worst[remaining]
            blocks = {name: values[remaining] for name, values in blocks.items()}
            matrix = self._matrix(t[rows], z[rows], h[rows], blocks, theta)
            reach = _reach(matrix, z[rows])
            z[rows] -= _solved(matrix, residual)
        return failed

    def _matrix(self, t: Any, z: Any, h: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return ``I - h f_y``, shape (B, d, d)."""
        jacobian = self.ode.jacobian(t, z, u, theta)
        shape = (*z.shape, z.shape[-1])
        if np.shape(jacobian) != shape:
            raise ValueError(
                f"`{type(self.ode).__name__}.jacobian` must return an array of shape {shape}, "
                f"got {np.shape(jacobian)}."
            )
        return np.eye(z.shape[-1]) - h[..., None] * jacobian

    def multiplier(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return z and ``mu = (I - h f_y(z))^{-T} (1 + beyond) lam`` for the adjoint."""
        z = self.implicit_state(s, y, u, theta) if s.kept is None else s.kept
        h = self.coefficients.implicit * s.dt
        matrix = self._matrix(self.implicit_time(s), z, h, u, theta)
        right = (1 + self.coefficients.beyond) * lam
        return z, _solved(matrix.swapaxes(1, 2), right)


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
        dy, du, dtheta = mu - weights.beyond * lam, dict(of_u), dict(of_theta)
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
        dy = mu - weights.beyond * lam
        return dy + self._explicit(s, y, u, theta, mu)[0] if weights.explicit else dy

    def _explicit(
        self, s: Steps, y: Any, u: Fields, theta: Fields, mu: Any
    ) -> tuple[Any, Fields, Fields]:
        """Return the transposes of the explicit part of the step."""
        seed = self.stepper.coefficients.explicit * s.dt * mu
        return self.ode.f_vjp(np.reshape(s.t0, -1), y, u, theta, seed)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.ode.initial_vjp(theta, lam0)


def warn_of_failure(scheme: str, t0: float, dt: float, level: int, failed: int, count: int) -> None:
    """Warn of steps whose equation Newton's method did not solve, the first of them at t0."""
    warnings.warn(
        f"Newton's method of the {scheme} step at t = {t0:.6g} with step size {dt:.3g} (level "
        f"{level}) did not converge; {failed} of {count} steps are set to NaN. Use more steps, "
        "fewer levels or a smaller coarsening factor.",
        RuntimeWarning,
        stacklevel=4,
    )


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions of a batch of linear systems; NaN where the matrix is singular."""
    try:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if len(matrix) == 1:
            return np.full_like(right, np.nan)
    rows = [_solved(matrix[i : i + 1], right[i : i + 1]) for i in range(len(matrix))]
    return np.concatenate(rows)


def _sizes(vectors: np.ndarray) -> np.ndarray:
    """Return the moduli of the entries of each vector, of complex ones those of both parts.

    The imaginary part carries a derivative by the complex step, and must converge, too.
    """
    if not np.iscomplexobj(vectors):
        return np.abs(vectors)
    return np.abs(np.concatenate([vectors.real, vectors.imag], axis=1))


def _reach(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the sizes of what products of a batch of matrices with vectors are sums of."""
    sizes, entries = _sizes(vectors), np.abs(matrix)
    parts = sizes.reshape(len(sizes), -1, vectors.shape[1])
    return (parts @ entries.swapaxes(1, 2)).reshape(sizes.shape)


def _is_small(size: np.ndarray, scale: np.ndarray, entries: int) -> np.ndarray:
    """Return whether the parts of each vector are small as a whole; entries may be noise."""
    parts = (len(size), -1, entries)
    largest = (sizes.reshape(parts).max(axis=2) for sizes in (size, ROUNDOFF * scale))
    small: np.ndarray = np.less_equal(*largest).all(axis=1)
    return small


def _largest(vectors: np.ndarray) -> np.ndarray:
    """Return the largest modulus in each vector."""
    largest: np.ndarray = np.abs(vectors).max(axis=1)
    return largest
