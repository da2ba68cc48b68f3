"""Newton's method for the equations of implicit steps, a batch of them at a time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pint.interface import Fields
from pint.steppers.ode import ODE

ITERATIONS = 30
"""Most Newton iterations of a step."""

ROUNDOFF = 8 * float(np.finfo(float).eps)
STAGNATION = 1e-10
SHRINKS = 0.9
TINY = float(np.finfo(float).tiny)
FAR = 1e4
"""A result so many times larger than the state and its guess is computed again from the state."""


class Newton:
    """Solves ``z = base + h f(t, z)`` for each state of a batch on its own.

    Each component is solved to rounding, by its own size; where f is linear in y this takes one
    iteration.

    Parameters
    ----------
    ode : ODE
        With states that are vectors.
    estimates : bool
        What becomes of equations that are not solved: NaN, or the estimate of one iteration from
        the state, as of a linearly implicit step.

    Notes
    -----
    The matrices are ``I - h f_y``, by `ODE.jacobian`.
    """

    def __init__(self, ode: ODE, estimates: bool = False) -> None:
        self.ode, self.estimates = ode, estimates

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
                z[failed] = self._estimate(t, failed, base, h, y, u, theta)
        return z, failed

    def _estimate(
        self, t: Any, rows: Any, base: Any, h: Any, y: Any, u: Fields, theta: Fields
    ) -> np.ndarray:
        """Return z of one iteration from y, or y where that leads nowhere."""
        t, h, base, y = t[rows], h[rows], base[rows], y[rows]
        blocks = {name: values[rows] for name, values in u.items()}
        residual = y - base - h * self.ode.f(t, y, blocks, theta)
        z = y - solved(self.matrix(t, y, h, blocks, theta), residual)
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
            matrix = self.matrix(t[rows], z[rows], h[rows], blocks, theta)
            reach = _reach(matrix, z[rows])
            z[rows] -= solved(matrix, residual)
        return failed

    def matrix(self, t: Any, z: Any, h: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return ``I - h f_y``, shape (B, d, d)."""
        jacobian = self.ode.jacobian(t, z, u, theta)
        shape = (*z.shape, z.shape[-1])
        if np.shape(jacobian) != shape:
            raise ValueError(
                f"`{type(self.ode).__name__}.jacobian` must return an array of shape {shape}, "
                f"got {np.shape(jacobian)}."
            )
        return np.eye(z.shape[-1]) - h[..., None] * jacobian

    def transposed(self, t: Any, z: Any, h: Any, u: Fields, theta: Fields, right: Any) -> Any:
        """Return ``(I - h f_y)^{-T} right``; estimated as `right` where the matrix is singular."""
        found = solved(self.matrix(t, z, h, u, theta).swapaxes(1, 2), right)
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


def solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions of a batch of linear systems; NaN where the matrix is singular."""
    try:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        if len(matrix) == 1:
            return np.full_like(right, np.nan)
    rows = [solved(matrix[i : i + 1], right[i : i + 1]) for i in range(len(matrix))]
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
