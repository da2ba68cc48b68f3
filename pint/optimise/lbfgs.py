"""Quasi-Newton approximations of the inverse Hessian, in the control's metric."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.linalg.blas import dtrsv

from pint.comm import reduce
from pint.controls import Control, ControlSpace
from pint.errors import integer
from pint.optimise.rows import Rows

PAIR_BYTES = 256e6
"""For the pairs of a rank, where their number is not given."""

LEAST_PAIRS, MOST_PAIRS = 5, 100


@dataclass(frozen=True)
class InverseHessian:
    r"""L-BFGS, BFGS or the identity, in the compact form [1]_; inner products of the metric.

    With steps S, changes Y, the upper triangle R of ``S'Y``, its diagonal D, and the initial
    matrix ``a I``,

    .. math:: H = a I + S R^{-T} (D + a Y'Y) R^{-1} S' - a S R^{-T} Y' - a Y R^{-1} S'

    Build one with `lbfgs`, `bfgs` or `identity`. It never changes: `updated` returns a new one.

    Attributes
    ----------
    memory : int or None
        Largest number of pairs, None for all of them.
    rescaled : bool
        Whether the initial matrix ``(s, y)/(y, y)`` is that of the newest pair (L-BFGS) or stays
        that of the first one (BFGS).
    pairs : tuple of (Control, Control)
        Steps s and changes y of the gradient, oldest first.
    products : ndarray, shape (2, pairs, pairs)
        R and ``Y'Y``.
    scaling : float
        Factor a of the initial matrix; 1 without pairs.
    by_size : bool
        Whether a run sets `memory` by the size of the control: see `sized`.
    free : ndarray of bool, shape (local size,), or None
        The variables on which this is an approximation, None for all; it is 0 on the others.

    References
    ----------
    .. [1] Byrd, Nocedal & Schnabel, Math. Program. 63 (1994), 129, (3.1), doi:10.1007/BF01582063.
    """

    memory: int | None
    rescaled: bool
    pairs: tuple[tuple[Control, Control], ...] = ()
    products: np.ndarray = field(default_factory=lambda: np.empty((2, 0, 0)), compare=False)
    scaling: float = 1.0
    by_size: bool = False
    free: np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", integer("lbfgs", "memory", self.memory, 0))

    def apply(self, gradient: Control) -> Control:
        """Return H times a gradient. Collective: one reduction."""
        space, vector = gradient.space, self._on_free(gradient.vector)
        if not self.pairs:
            return Control(space, self.scaling * vector)
        # The factors of the ranks are added up, not their products, so that all get the same.
        local = self._factors(self._rows.products(space.weighted(vector, counted=True)))
        factors, direction = space.sums(local), self.scaling * vector
        for part, is_alike in space.alike:
            add = self._rows.add_alike if is_alike else self._rows.add_to
            add(direction, part, factors)
        return Control(space, self._on_free(direction))

    def _on_free(self, vector: np.ndarray) -> np.ndarray:
        return vector if self.free is None else np.where(self.free, vector, 0.0)

    @cached_property
    def _rows(self) -> Rows:
        """All s, then all y."""
        return Rows([pair[part].vector for part in (0, 1) for pair in self.pairs])

    @cached_property
    def _normalised(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factors of pairs that make their (s, y) 1, and R and ``Y'Y`` of such pairs.

        Then the entries of R are about 1 or less, whatever the units of control and objective.
        """
        factors = self.products[0].diagonal() ** -0.5
        upper, changes = self.products * factors * factors[:, None]
        return factors, np.asfortranarray(upper), changes

    def _factors(self, products: np.ndarray) -> np.ndarray:
        """Return the factors of all s and all y in H g, of their products with g."""
        norms, upper, changes = self._normalised
        of_s, of_y = products.reshape(2, -1) * norms
        a = dtrsv(upper, of_s)
        b = dtrsv(upper, a + self.scaling * (changes @ a - of_y), trans=1)
        return np.concatenate((b * norms, -self.scaling * a * norms))

    def updated(self, s: Control, y: Control) -> InverseHessian:
        """Return the approximation that knows one pair more. Collective: one reduction.

        The pair is left out unless ``(y, s) >= 1e-6 |y| |s|`` (cautious updating).
        """
        if self.memory == 0:
            return self
        space, known = s.space, len(self.pairs)
        dual_s, dual_y = (space.weighted(control.vector, counted=True) for control in (s, y))
        of_pairs = self._rows.products(dual_y).tolist() if known else []
        of_pair = (dual_y @ s.vector, dual_y @ y.vector, dual_s @ s.vector)
        *others, curvature, y_squared, s_squared = space.sums([*of_pairs, *of_pair]).tolist()
        if not _is_curved(curvature, y_squared, s_squared):
            return self
        products = np.zeros((2, known + 1, known + 1))
        products[:, :-1, :-1] = self.products
        products[0, :, -1] = *others[:known], curvature
        products[1, :, -1] = products[1, -1, :] = *others[known:], y_squared
        oldest = 0 if self.memory is None else max(known + 1 - self.memory, 0)
        # BFGS chooses its initial matrix once; updates keep it.
        rescale = self.rescaled or not known
        return replace(
            self,
            pairs=(*self.pairs, (s, y))[oldest:],
            products=products[:, oldest:, oldest:],
            scaling=curvature / y_squared if rescale else self.scaling,
        )

    def restricted(self, free: np.ndarray) -> InverseHessian:
        """Return the approximation on the variables `free` alone, a local mask. Collective.

        Pairs without positive curvature there are left out.
        """
        if not self.pairs:
            return replace(self, free=free)
        space = self.pairs[0][0].space
        if not space.sums(np.count_nonzero(~free))[0]:
            return self
        products, s_squared = self.measured(free)
        # A pair with positive curvature may have none on the free variables alone.
        squares = zip(*(part.diagonal().tolist() for part in products), s_squared, strict=True)
        kept = [i for i, numbers in enumerate(squares) if _is_curved(*numbers)]
        scaling = 1.0
        if kept:
            curvature, y_squared = products[:, kept, kept][:, -1 if self.rescaled else 0].tolist()
            scaling = curvature / y_squared
        return replace(
            self,
            pairs=tuple(self.pairs[i] for i in kept),
            products=products[:, kept][:, :, kept],
            scaling=scaling,
            free=free,
        )

    def measured(self, free: np.ndarray | None = None) -> tuple[np.ndarray, list[float]]:
        """Return `products` and (s, s) of each pair, anew. Collective: one reduction.

        Only the variables `free` count, a local mask; by default all.
        """
        space, count = self.pairs[0][0].space, len(self.pairs)
        if space.matrices:
            mixed, *others = self._grams(free)
        else:
            weights = space.counted_weights
            mixed, *others = self._rows.grams(weights if free is None else weights * free)
        parts = [part.ravel() for part in (np.triu(mixed), *others)]
        sums = space.sums(np.concatenate(parts))
        return sums[:-count].reshape(2, count, count), sums[-count:].tolist()

    def _grams(self, free: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what `Rows.grams` does, where the metric is a matrix."""
        space, table = self.pairs[0][0].space, []
        for vector in self._rows.vectors:
            # Only fields with diagonal metrics have bounds: masks and matrices commute.
            dual = space.weighted(vector, counted=True)
            table.append(self._rows.products(dual if free is None else dual * free))
        products, half = np.array(table), len(self.pairs)
        return products[:half, half:], products[half:, half:], products[:half, :half].diagonal()

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
        return replace(self, pairs=(), products=np.empty((2, 0, 0)), scaling=1.0)


def _is_curved(curvature: float, y_squared: float, s_squared: float) -> bool:
    """Whether a pair has enough positive curvature, (y, s), to be stored; False with NaN."""
    return curvature > 1e-6 * (y_squared * s_squared) ** 0.5


def lbfgs(memory: int | None = None) -> InverseHessian:
    """Return L-BFGS: the newest `memory` pairs, rescaled by the newest.

    By default up to 100 pairs, as many as fit into 256 MB on each rank, but at least 5.
    """
    if memory is None:
        return InverseHessian(MOST_PAIRS, rescaled=True, by_size=True)
    return InverseHessian(memory, rescaled=True)


def bfgs() -> InverseHessian:
    """Return BFGS: all pairs on a scaled identity; the matrix itself is never formed.

    k updates take 16 k^2 bytes for inner products beside the 2k vectors.
    """
    return InverseHessian(None, rescaled=False)


def identity() -> InverseHessian:
    """Return the identity: steepest descent in the control's metric."""
    return InverseHessian(0, rescaled=False)
