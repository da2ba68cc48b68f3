"""Newton's method for the equations of implicit steps, a batch of them at a time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pint.interface import Fields
from pint.steppers.ode import ODE
from pint.steppers.systems import System, Systems

ITERATIONS = 30
"""Most Newton iterations of a step."""

ROUNDOFF = 8 * float(np.finfo(float).eps)
STAGNATION = 1e-10
SHRINKS = 0.9
TINY = float(np.finfo(float).tiny)
FAR = 1e4
"""A result so many times larger than the state and its guess is computed again from the state."""


class Newton:
    """Solves ``M z = base + h f(t, z)`` for each state of a batch on its own.

    Each component is solved to rounding, by its own size; where f is linear in y this takes one
    iteration.

    Parameters
    ----------
    ode : ODE
        With states that are vectors.
    length : int
        Of a state.
    estimates : bool
        What becomes of equations that are not solved: NaN, or the estimate of one iteration from
        the state, as of a linearly implicit step.

    Notes
    -----
    The matrices are ``M - h f_y``, by `ODE.jacobian` and `ODE.mass_matrix`.
    """

    def __init__(self, ode: ODE, length: int, estimates: bool = False) -> None:
        self.ode, self.estimates = ode, estimates
        self._systems = Systems(ode, length)
        self.mass = self._systems.mass

    def solve(
        self, t: Any, h: Any, base: Any, start: Any, y: Any, u: Fields, theta: Fields
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return z, and the rows of it where the method does not converge.

        Parameters
        ----------
        t : array, shape (B,)
        h : array, shape (B, 1)
        base : batch of states
            Where it is not finite, z is NaN.
        start : batch of states
            Where to begin.
        y : batch of states
            Where to begin again, if the method does not converge from `start`.
        u, theta : mapping of str to array
        """
        z = np.array(start, dtype=np.result_type(float, base, *u.values(), *theta.values()))
        solvable = np.isfinite(base).all(axis=1)
        z[~solvable] = np.nan
        rows = np.flatnonzero(solvable)
        with np.errstate(all="ignore"):  # overflow on the way is found and reported
            failed = self._iterate(t, z, rows, base, h, u, theta)
            if start is not y:
                # Far out, where rounding hides the residual, Newton's method seems to converge.
                near = _largest(y) + _largest(start) + _largest(base)
                failed = np.union1d(failed, np.flatnonzero(_largest(z) > FAR * near))
                if len(failed):
                    z[failed] = y[failed]
                    failed = self._iterate(t, z, failed, base, h, u, theta)
            if len(failed):
                z[failed] = np.nan
            if self.estimates:
                failed = np.union1d(failed, np.flatnonzero(~solvable))
                if len(failed):
                    z[failed] = self._estimate(t, failed, base, h, y, u, theta)
        return z, failed

    def _estimate(
        self, t: Any, rows: Any, base: Any, h: Any, y: Any, u: Fields, theta: Fields
    ) -> np.ndarray:
        """Return z of one iteration from y, or y where that leads nowhere."""
        t, h, base, y = t[rows], h[rows], base[rows], y[rows]
        blocks = {name: values[rows] for name, values in u.items()}
        residual = self.mass.times(y) - base - h * self.ode.f(t, y, blocks, theta)
        z = y - self.system(t, y, h, blocks, theta).solve(residual)
        is_near = _largest(z) <= FAR * (_largest(y) + _largest(base))  # False for NaN, too
        estimate: np.ndarray = np.where(is_near[:, None], z, y)
        return estimate

    def _iterate(
        self, t: Any, z: Any, rows: Any, base: Any, h: Any, u: Fields, theta: Fields
    ) -> np.ndarray:
        """Solve the equations of the given rows of z, in place.

        A row that has converged is left alone, so that it does not depend on the others. Return
        the rows that do not converge.
        """
        failed = rows[:0]
        reach: Any = 0.0  # |M - h f_y| |z| at the last iterate: the sizes whose rounding remains
        last = np.full(len(rows), np.inf)
        # All rows are taken as views, some as copies.
        at: Any = slice(None) if len(rows) == len(z) else rows
        for iteration in range(ITERATIONS + 1):
            blocks = {name: values[at] for name, values in u.items()}
            slope = h[at] * self.ode.f(t[at], z[at], blocks, theta)
            product = self.mass.times(z[at])
            residual = product - base[at]
            residual -= slope
            size, scale = _sizes(residual), _sizes(base[at])
            for part in (_sizes(slope), _sizes(product), reach):
                scale += part
            # By component: what is small beside others may be large for a small one.
            worst = (size / (scale + TINY)).max(axis=1)
            # Where f is infinite, so is the scale, to which no residual is large.
            finite = scale.max(axis=1) < np.inf
            remaining = ~((worst <= ROUNDOFF) & finite)
            ends = (worst > SHRINKS * last) | (iteration == ITERATIONS)
            if (remaining & ends).any():
                small = _is_small(size, scale, z.shape[1])
                remaining &= ~(ends & ((worst <= STAGNATION) | small) & finite)
            lost = remaining & ((iteration == ITERATIONS) | ~finite)
            if lost.any():
                failed = np.concatenate([failed, rows[lost]])
                remaining &= ~lost
            if not remaining.any():
                break
            if not remaining.all():
                rows, residual, worst = rows[remaining], residual[remaining], worst[remaining]
                blocks = {name: values[remaining] for name, values in blocks.items()}
                at = rows
            last = worst
            system = self.system(t[at], z[at], h[at], blocks, theta)
            reach = _reach(system, z[at])
            z[at] -= system.solve(residual)
        return failed

    def system(self, t: Any, z: Any, h: Any, u: Fields, theta: Fields) -> System:
        """Return ``M - h f_y`` for a batch of B states; h has the shape (B, 1)."""
        return self._systems.of(self.ode.jacobian(t, z, u, theta), h, len(z))

    def transposed(self, t: Any, z: Any, h: Any, u: Fields, theta: Fields, right: Any) -> Any:
        """Return ``(M - h f_y)^{-T} right``; estimated as `right` where the matrix is singular."""
        found = self.system(t, z, h, u, theta).solve(right, transposed=True)
        if self.estimates:
            found = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, right)
        return found


def warn_of_failure(scheme: str, t0: float, dt: float, level: int, failed: int, count: int) -> None:
    """Warn of steps whose equation Newton's method did not solve, the first of them at t0."""
    warnings.warn(
        f"Newton's method of the {scheme} step at t = {t0:.6g} with step size {dt:.3g} (level "
        f"{level}) did not converge; {failed} of {count} steps are set to NaN. Use more steps, "
        "fewer levels or a smaller coarsening factor.",
        RuntimeWarning,
        stacklevel=4,
    )


def _sizes(vectors: np.ndarray) -> np.ndarray:
    """Return the moduli of the entries of each vector, of complex ones those of both parts.

    The imaginary part carries a derivative by the complex step, and must converge, too.
    """
    if not np.iscomplexobj(vectors):
        return np.abs(vectors)
    return np.abs(np.concatenate([vectors.real, vectors.imag], axis=1))


def _reach(system: System, vectors: np.ndarray) -> np.ndarray:
    """Return the sizes of what products of a batch of matrices with vectors are sums of."""
    sizes = _sizes(vectors)
    parts = sizes.reshape(len(sizes), -1, vectors.shape[1])
    return system.reach(parts).reshape(sizes.shape)


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
