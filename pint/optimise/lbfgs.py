"""Quasi-Newton approximations of the inverse Hessian, in the control's metric."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pint.controls import Control
from pint.errors import integer


@dataclass(frozen=True)
class InverseHessian:
    """L-BFGS, BFGS or the identity, by the two-loop recursion [1]_; inner products of the metric.

    Build one with `lbfgs`, `bfgs` or `identity`. It never changes: `updated` returns a new one.

    Attributes
    ----------
    memory : int or None
        Largest number of pairs, None for all of them.
    rescaled : bool
        Whether the initial matrix ``(s, y)/(y, y)`` is that of the newest pair (L-BFGS) or stays
        that of the first one (BFGS).
    pairs : tuple of (Control, Control, float)
        Steps s, changes y of the gradient, and (s, y); oldest first.
    scaling : float
        Factor of the initial matrix; 1 without pairs.

    References
    ----------
    .. [1] Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Alg. 7.4, (7.20), (6.20).
    """

    memory: int | None
    rescaled: bool
    pairs: tuple[tuple[Control, Control, float], ...] = ()
    scaling: float = 1.0

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", integer("lbfgs", "memory", self.memory, 0))

    def apply(self, gradient: Control) -> Control:
        """Return H times a gradient. Collective."""
        inner, q, factors = gradient.space.inner, gradient, []
        for s, y, curvature in reversed(self.pairs):
            factors.append(inner(s, q) / curvature)
            q = q - factors[-1] * y
        q = self.scaling * q
        for (s, y, curvature), factor in zip(self.pairs, reversed(factors), strict=True):
            q = q + (factor - inner(y, q) / curvature) * s
        return q

    def updated(self, s: Control, y: Control) -> InverseHessian:
        """Return the approximation that knows one pair more. Collective.

        The pair is left out unless ``(y, s) >= 1e-6 |y| |s|`` (cautious updating).
        """
        if self.memory == 0:
            return self
        space = s.space
        curvature, y_squared = space.inner(s, y), space.inner(y, y)
        # `not ... >` leaves out NaN as well.
        if not curvature > 1e-6 * (y_squared * space.inner(s, s)) ** 0.5:
            return self
        pairs = (*self.pairs, (s, y, curvature))
        # BFGS chooses its initial matrix once; updates keep it.
        rescale = self.rescaled or not self.pairs
        return replace(
            self,
            pairs=pairs if self.memory is None else pairs[-self.memory :],
            scaling=curvature / y_squared if rescale else self.scaling,
        )

    def restricted(self, free: np.ndarray) -> InverseHessian:
        """Return the approximation on the variables `free` alone, a local mask. Collective.

        Pairs without positive curvature there are left out.
        """
        pairs, scaling = [], 1.0
        for full_s, full_y, _ in self.pairs:
            # A pair with positive curvature may have none on the free variables alone.
            s, y = (Control(c.space, np.where(free, c.vector, 0.0)) for c in (full_s, full_y))
            inner = s.space.inner
            curvature, y_squared = inner(s, y), inner(y, y)
            if curvature > 1e-6 * (y_squared * inner(s, s)) ** 0.5:
                pairs.append((s, y, curvature))
                if self.rescaled or len(pairs) == 1:
                    scaling = curvature / y_squared
        return replace(self, pairs=tuple(pairs), scaling=scaling)

    def cleared(self) -> InverseHessian:
        """Return the approximation without pairs."""
        return replace(self, pairs=(), scaling=1.0)


def lbfgs(memory: int = 20) -> InverseHessian:
    """Return L-BFGS: the newest `memory` pairs, rescaled by the newest."""
    return InverseHessian(memory, rescaled=True)


def bfgs() -> InverseHessian:
    """Return BFGS: all pairs on a scaled identity; the matrix itself is never formed."""
    return InverseHessian(None, rescaled=False)


def identity() -> InverseHessian:
    """Return the identity: steepest descent in the control's metric."""
    return InverseHessian(0, rescaled=False)
