"""Quasi-Newton approximations of the inverse Hessian, in the control's metric."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pint.comm import reduce
from pint.controls import Control, ControlSpace
from pint.errors import integer

PAIR_BYTES = 256e6
"""For the pairs of a rank, where their number is not given."""

LEAST_PAIRS, MOST_PAIRS = 5, 100


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
    by_size : bool
        Whether a run sets `memory` by the size of the control: see `sized`.

    References
    ----------
    .. [1] Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Alg. 7.4, (7.20), (6.20).
    """

    memory: int | None
    rescaled: bool
    pairs: tuple[tuple[Control, Control, float], ...] = ()
    scaling: float = 1.0
    by_size: bool = False

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", integer("lbfgs", "memory", self.memory, 0))

    def apply(self, gradient: Control) -> Control:
        """Return H times a gradient. Collective."""
        # On plain vectors: for a hundred pairs of a small control, checks would take most time.
        space, q, factors = gradient.space, gradient.vector, []
        weights, local, sums = space.weights, space.local_pair, space.sums
        for s, y, curvature in reversed(self.pairs):
            factors.append(sums(local(s.vector * weights, q))[0] / curvature)
            q = q - factors[-1] * y.vector
        q = self.scaling * q
        for (s, y, curvature), factor in zip(self.pairs, reversed(factors), strict=True):
            q = q + (factor - sums(local(y.vector * weights, q))[0] / curvature) * s.vector
        return Control(space, q)

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
        # A pair with positive curvature may have none on the free variables alone.
        for (s, y), products in self._products(free):
            curvature, y_squared, s_squared = (float(product) for product in products)
            if curvature > 1e-6 * (y_squared * s_squared) ** 0.5:
                pairs.append((s, y, curvature))
                if self.rescaled or len(pairs) == 1:
                    scaling = curvature / y_squared
        return replace(self, pairs=tuple(pairs), scaling=scaling)

    def _products(self, free: np.ndarray) -> list[tuple[tuple[Control, Control], np.ndarray]]:
        """Return s, y on the variables `free`, and (s, y), (y, y), (s, s), by pair. Collective."""
        if not self.pairs:
            return []
        space = self.pairs[0][0].space
        held = [
            (np.where(free, s.vector, 0.0), np.where(free, y.vector, 0.0)) for s, y, _ in self.pairs
        ]
        local, weights = space.local_pair, space.weights
        # One message for all of them
        parts = [[local(a * weights, b) for a, b in ((s, y), (y, y), (s, s))] for s, y in held]
        products = space.sums(np.ravel(parts)).reshape(-1, 3)
        controls = [(Control(space, s), Control(space, y)) for s, y in held]
        return list(zip(controls, products, strict=True))

    def sized(self, space: ControlSpace) -> InverseHessian:
        """Return the approximation with a number of pairs that fits `PAIR_BYTES`. Collective.

        It is the same on all ranks, and this one if the number was given.
        """
        if not self.by_size:
            return self
        most = reduce(space.space_comm, reduce(space.comm, space.size, "max"), "max")[0]
        fitting = int(PAIR_BYTES / max(2 * 8 * most, 1))
        return replace(self, memory=min(max(fitting, LEAST_PAIRS), MOST_PAIRS))

    def cleared(self) -> InverseHessian:
        """Return the approximation without pairs."""
        return replace(self, pairs=(), scaling=1.0)


def lbfgs(memory: int | None = None) -> InverseHessian:
    """Return L-BFGS: the newest `memory` pairs, rescaled by the newest.

    By default up to 100 pairs, as many as fit into 256 MB on each rank, but at least 5.
    """
    if memory is None:
        return InverseHessian(MOST_PAIRS, rescaled=True, by_size=True)
    return InverseHessian(memory, rescaled=True)


def bfgs() -> InverseHessian:
    """Return BFGS: all pairs on a scaled identity; the matrix itself is never formed."""
    return InverseHessian(None, rescaled=False)


def identity() -> InverseHessian:
    """Return the identity: steepest descent in the control's metric."""
    return InverseHessian(0, rescaled=False)
