"""What the eigenvalues of linear steps say about two levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pint.diagnosis.factors import Equations, power_ratios
from pint.equations.sweeps import Sweep
from pint.mgrit.perturbation import random_state
from pint.states import ArraySpace

LARGEST = 64
"""Numbers of a state up to which its steps are made matrices."""

CLOSE = 1e-7
"""Steps whose matrices differ by less, relative to their size, are alike."""


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """Eigenvalues of the steps of two levels that share their eigenvectors.

    Attributes
    ----------
    fine, coarse : ndarray of complex, shape (n,)
        a and b.
    vectors : ndarray of complex, shape (n, n)
        The eigenvectors, as columns.
    steps : int
        Fine steps.
    """

    fine: np.ndarray
    coarse: np.ndarray
    vectors: np.ndarray
    steps: int

    def bounds(self, factor: int, count: int) -> np.ndarray:
        """Return the largest factor of each eigenvector, `count` the FC-relaxations [1]_.

        ``|a^m - b| |a|^(m count) (1 - |b|^N_c) / (1 - |b|)``, m the coarsening factor.

        References
        ----------
        .. [1] Dobrev et al., SIAM J. Sci. Comput. 39 (2017), S501, doi:10.1137/16M1074096.
        """
        size, power = np.abs(self.coarse), self.fine**factor
        near = np.abs(1 - size) < 1e-12
        with np.errstate(all="ignore"):
            sums = (1 - size ** (self.steps // factor)) / np.where(near, 1.0, 1 - size)
        sums = np.where(near, self.steps // factor, sums)
        bounds: np.ndarray = np.abs(power - self.coarse) * np.abs(power) ** count * sums
        return bounds

    def ratios(self, factor: int, count: int, cycles: int, stride: int = 1) -> tuple[float, ...]:
        """Return what cycles make of random errors, as `two_level_ratios` does with the steps."""
        intervals, size = self.steps // factor, len(self.fine)
        points = [(number + 1) * factor * stride for number in range(intervals)]
        start = np.array([random_state((size,), point) for point in points])
        power = self.fine**factor
        difference = power - self.coarse

        def cycled(error: np.ndarray) -> tuple[np.ndarray, float]:
            for _ in range(count):
                error = _shifted(power * error)
            new = _shifted(difference * error)
            for row in range(1, intervals):
                new[row] += self.coarse * new[row - 1]
            return new, 0.0

        def norm(error: np.ndarray) -> float:
            return float(np.linalg.norm(error @ self.vectors.T))

        # Row by row ``V^{-1} e``, of norm 1
        error = np.linalg.solve(self.vectors, start.T / np.linalg.norm(start)).T
        with np.errstate(all="ignore"):
            return power_ratios(cycled, norm, error, cycles)[0]


def _shifted(error: np.ndarray) -> np.ndarray:
    """Return errors moved on by one C-point; there is none at the first one."""
    return np.concatenate([0 * error[:1], error[:-1]])


def matrices(equations: Equations) -> list[np.ndarray] | None:
    """Return the steps of each level as matrices, if they do not change. Collective.

    None if they do, or states are no arrays of at most `LARGEST` numbers, or not the same on all
    levels. The first step, the last one and one between them are looked at, of each rank.
    """
    functional, sweep = equations.functional, equations.steps["adjoint"]
    space, grid = functional.space, functional.grid
    size = int(np.prod(space.shape, dtype=int))
    if not isinstance(space, ArraySpace) or space.comm.size > 1 or size > LARGEST:
        return None
    if any(level.transfer is not None for level in functional.state.solver.levels):
        return None  # coarse steps of other states
    if not isinstance(sweep, Sweep) or np.iscomplexobj(space.allocate(0)):
        return None
    if any(functional.calls.transfers):
        return None
    found = []
    for level, layout in enumerate(grid.layouts(reverse=True)):
        ends = layout.first, (layout.first + layout.last) // 2, layout.last - 1
        own = sorted(set(ends)) if layout.local_steps else []
        some = [_matrix(sweep, level, step, size) for step in own]
        everywhere = [one for part in functional.comm.allgather(some) for one in part]
        first = everywhere[0]
        if not all(_close(one, first) for one in everywhere):
            return None
        found.append(first)
    # Steps of one size alone can be alike at all times.
    return found if all(np.isfinite(one).all() for one in found) else None


def eigenvalues(
    equations: Equations, level: int, steps: Sequence[np.ndarray]
) -> Eigenvalues | None:
    """Return those of the steps of a level and the next one; None without common eigenvectors."""
    fine, coarse = steps[level : level + 2]
    scale = float(np.linalg.norm(fine) * np.linalg.norm(coarse))
    if np.linalg.norm(fine @ coarse - coarse @ fine) > 1e-8 * max(scale, 1e-300):
        return None
    # Of a sum of both: one of them alone may have one eigenvalue twice.
    _, vectors = np.linalg.eig(fine + 0.618 * coarse)
    if np.linalg.cond(vectors) > 1e6:
        return None
    a, b = (np.diag(np.linalg.solve(vectors, one @ vectors)) for one in (fine, coarse))
    grid = equations.functional.grid
    return Eigenvalues(a, b, vectors, grid.steps // grid.strides[level])


def _matrix(sweep: Sweep, level: int, step: int, size: int) -> np.ndarray:
    """Return the step whose transpose is a step of the adjoint equation, as a matrix."""
    space, rows = sweep.calls.space, []
    for column in range(size):
        unit, out = space.allocate(1), space.allocate(1)
        unit.reshape(-1)[column] = 1.0
        sweep.apply(level, range(step, step + 1), unit, out)
        rows.append(space.as_array(out).ravel().astype(float))
    return np.array(rows)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.linalg.norm(one - other) <= CLOSE * np.linalg.norm(other))
