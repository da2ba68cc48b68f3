"""Newton's system by preconditioned conjugate gradients, and the path of their iterates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pint.controls import Control, free_part
from pint.optimise.lbfgs import InverseHessian

Product = Callable[[Control], Control]
"""The Hessian times a direction, in the control's metric."""


class NewtonSystem:
    """``H x = -g`` on the free variables by conjugate gradients, as far as is wanted [1]_.

    The iterates are kept: where the model does not hold at the last one, a shorter step follows
    their path, which is longer in each of them, back to the steepest descent with which it begins.
    No product is formed again for that. Changes in place; methods are collective.

    Parameters
    ----------
    gradient : Control
        g, in the control's metric.
    product : callable
    inverse : InverseHessian
        The preconditioner.
    held : ndarray of bool
        The variables that stay where they are, a local mask.

    Attributes
    ----------
    residual : Control
        ``g + H x`` at the last iterate.
    pairs : list of (Control, Control)
        Directions d and their products H d, of positive curvature.
    found_negative : bool
        Whether a direction of negative curvature has ended the iterations.

    References
    ----------
    .. [1] Steihaug, SIAM J. Numer. Anal. 20 (1983), 626, doi:10.1137/0720042.
    """

    def __init__(
        self, gradient: Control, product: Product, inverse: InverseHessian, held: np.ndarray
    ) -> None:
        self.space, self.product, self.held = gradient.space, product, held
        self.inverse = inverse.restricted(~held) if held.any() else inverse
        self.pairs: list[tuple[Control, Control]] = []
        self.found_negative = False
        self.rebase(gradient)
        z = self._preconditioned()
        self._direction, self._product = -z, self.space.inner(self.residual, z)

    def rebase(self, gradient: Control) -> None:
        """Go on from the last iterate as the new origin, where the gradient is known, in place."""
        self.residual = free_part(gradient, self.held)
        self.gradient = self.residual
        zero = self.space.zeros()
        self.iterates, self.residuals, self.lengths = [zero], [self.residual], [0.0]

    def _preconditioned(self) -> Control:
        return free_part(self.inverse.apply(self.residual), self.held)

    def solve(self, target: float, radius: float, most: int, descent: float) -> int:
        """Iterate to a norm of the residual, in place; return how many products it took.

        It ends at the length `radius`, too, or along a direction of negative curvature: there, if
        it is the first one and `radius` is infinite, at the decrease `descent` of the linear model.
        """
        space, count = self.space, 0
        while count < most and space.norm(self.residual) > target:
            d = self._direction
            of_d = free_part(self.product(d), self.held)
            count += 1
            curvature, squared = space.inner(d, of_d), space.inner(d, d)
            # By so little rounding may turn it.
            if not curvature > 1e-12 * math.sqrt(squared * space.inner(of_d, of_d)):
                self.found_negative = True
                if math.isfinite(curvature):
                    self._to_boundary(d, of_d, radius, descent)
                break
            self.pairs.append((d, of_d))
            step = self._product / curvature
            if self._length_after(step * d) >= radius:
                self._to_boundary(d, of_d, radius, descent)
                break
            self._add(step * d, step * of_d)
            before, z = self._product, self._preconditioned()
            self._product = space.inner(self.residual, z)
            self._direction = self._product / before * d - z
        return count

    def _add(self, move: Control, change: Control) -> None:
        self.residual = self.residual + change
        self.iterates.append(self.iterates[-1] + move)
        self.residuals.append(self.residual)
        self.lengths.append(self.space.norm(self.iterates[-1]))

    def _length_after(self, move: Control) -> float:
        return self.space.norm(self.iterates[-1] + move)

    def _to_boundary(self, d: Control, of_d: Control, radius: float, descent: float) -> None:
        """Add the step along d to the length `radius`, in place."""
        space, x = self.space, self.iterates[-1]
        a, b = space.inner(d, d), space.inner(x, d)
        if radius < math.inf:
            c = self.lengths[-1] ** 2 - radius**2
            step = (math.sqrt(max(b * b - a * c, 0.0)) - b) / a
        elif len(self.iterates) > 1:
            return
        else:
            step = descent / -space.inner(self.gradient, d)
        if step > 0:
            self._add(step * d, step * of_d)

    def at(self, radius: float) -> tuple[Control, float]:
        """Return the last step of the path within a length, and what the model predicts of it."""
        last = len(self.iterates) - 1
        x, r = self.iterates[last], self.residuals[last]
        if self.lengths[last] > radius:
            after = next(i for i, length in enumerate(self.lengths) if length > radius)
            low, high = 0.0, 1.0  # of the way between two iterates
            x0, x1 = self.iterates[after - 1 : after + 1]
            for _ in range(30):
                middle = 0.5 * (low + high)
                inside = self.space.norm(x0 + middle * (x1 - x0)) <= radius
                low, high = (middle, high) if inside else (low, middle)
            r0, r1 = self.residuals[after - 1 : after + 1]
            x, r = x0 + low * (x1 - x0), r0 + low * (r1 - r0)
        # r = g + H x, so that the model is (g, x) + (H x, x) / 2 = (g + r, x) / 2.
        return x, 0.5 * self.space.inner(self.gradient + r, x)
