"""Convolutions of pooled images, for the layers of coarse levels.

Pooled images are means over windows of 2 x 2 pixels, once or several times; what a convolution
makes of them is copied to all pixels of a window. The kernels are those of the Galerkin product:
pooled, the result is that of the layer for images that are constant in each window (Haber,
Ruthotto, Holtham & Jun, arXiv:1703.02009). The states stay whole: a layer hardly changes what
pooling removes, so that cycles with pooled states would not converge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pint.interface import Fields
from problems.resnet import AffineMap


class PooledMap(AffineMap):
    """``P K_c R y + b`` for a convolution K, R the means over windows, P the copies to them.

    Parameters
    ----------
    convolution : AffineMap
        Of kernels of `kernel` x `kernel` weights.
    kernel : int
    times : int
        How often images are pooled.
    """

    def __init__(self, convolution: AffineMap, kernel: int, times: int) -> None:
        self.convolution, self.times = convolution, times
        self.matrix = np.linalg.matrix_power(_halved(kernel), times)

    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        pooled = self.convolution.apply(self._through(_means, y), self._pooled(u))
        whole = self._through(_copies, pooled)
        if out is None:
            return whole
        out[...] = whole
        return out

    def gather(self, slope: Any) -> Any:
        return self.convolution.gather(self._through(_sums, slope))

    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        nothing = 0.0 * self._through(_sums, lam)
        pooled = np.empty(nothing.shape, out.dtype)
        self.convolution.transposed(pooled, self._pooled(u), gathered, nothing)
        np.add(lam, self._through(_copies, 0.25**self.times * pooled), out=out)

    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        y, u = self._through(_means, y), self._pooled(u)
        slopes = self.convolution.derivative(y, u, gathered)
        return {**slopes, "weight": self.matrix.T @ slopes["weight"] @ self.matrix}

    def _pooled(self, u: Fields) -> Fields:
        return {**u, "weight": self.matrix @ u["weight"] @ self.matrix.T}

    def _through(self, function: Callable[[Any], Any], images: Any) -> Any:
        for _ in range(self.times):
            images = function(images)
        return images


def _halved(kernel: int) -> np.ndarray:
    """Return the matrix from the k weights of a line to those of a line of pooled pixels."""
    matrix, middle = np.zeros((kernel, kernel)), kernel // 2
    for pixel in (0, 1):  # of a window
        for offset in range(-middle, middle + 1):
            matrix[(pixel + offset) // 2 + middle, offset + middle] += 0.5
    return matrix


def _sums(y: Any) -> Any:
    """Return the sums over windows of images (..., height, width, examples)."""
    *lead, height, width, examples = y.shape
    return y.reshape(*lead, height // 2, 2, width // 2, 2, examples).sum(axis=(-4, -2))


def _means(y: Any) -> Any:
    return 0.25 * _sums(y)


def _copies(y: Any) -> Any:
    return y.repeat(2, axis=-3).repeat(2, axis=-2)
