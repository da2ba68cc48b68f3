r"""Convolutional residual networks as optimal-control problems: the layers are the time steps.

A batch of B images is one state, an array of shape (channels, height, width, B):

    y_0     = sigma(K_in * x + b_in), or the channels of x in turn
    y_{n+1} = y_n + dt sigma(K_n * y_n + b_n),   n = 0..N-1,   dt = T / N
    J       = mean of the softmax cross-entropy of z = W p(y_N) + mu, plus regularisers

``(K * y)_o = sum_i K_oi * y_i`` is the sum over all channels i of correlations with k x k kernels,
k odd, the images continued by zeros:

    (K * y)_o[h, w] = sum_{i,a,b} K[o, i, a, b] y_i[h + a - (k-1)/2, w + b - (k-1)/2],

and p(y) are all entries of y, or their averages over windows. The fields of the control are those
of `problems.resnet`. Ruthotto & Haber, J. Math. Imaging Vis. 62 (2020) 352-364,
doi:10.1007/s10851-019-00903-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import pint
from pint.errors import integer
from pint.interface import Fields
from problems.activations import ACTIVATIONS
from problems.classification import Readout
from problems.pooled_images import PooledMap
from problems.resnet import (
    BIASES,
    AffineMap,
    Network,
    Opening,
    ResidualLayers,
    TrainedOpening,
    check_choices,
    check_sizes,
)


class Convolution(AffineMap):
    """Kernels K, shape (S, outputs, inputs, k, k), and biases, (S, outputs) or (S, 1).

    Images have shape (S, channels, height, width, B). Copies that are moved by a column each are
    gathered below each other; one matrix product gives what each row of the kernels contributes to
    the result, and these parts are summed, moved by a row each. With the examples last, all of this
    is done in long contiguous pieces.

    Parameters
    ----------
    kernel : int
        k, odd.
    """

    def __init__(self, kernel: int) -> None:
        self.kernel = kernel
        # As large as three states and more: new memory in each call would cost as much as a copy.
        self._scratch: dict[str, np.ndarray] = {}

    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        bias = u["bias"][..., None, None, None]
        return self._correlate(out, u["weight"], self.gather(y), bias)

    def gather(self, slope: Any) -> Any:
        """Return the images moved by each column of a kernel, (S, k, channels, height, width, B).

        Entry j is ``slope[..., w + j - (k-1)/2, :]``, zero outside of the image.
        """
        steps, *shape = slope.shape
        moved = self._place("moved", (steps, self.kernel, *shape), slope.dtype)
        for j in range(self.kernel):
            to, of = _overlap(j - self.kernel // 2, shape[-2])
            moved[:, j, :, :, to] = slope[:, :, :, of]  # the rest is zero from the beginning
        return moved

    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        self._correlate(out, u["weight"][..., ::-1, ::-1].swapaxes(1, 2), gathered, lam)

    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        k, (steps, outputs, inputs) = self.kernel, u["weight"].shape[:3]
        weight = np.empty(u["weight"].shape, np.result_type(y, gathered))
        for a in range(k):
            to, of = _overlap(a - k // 2, y.shape[2])
            slope, images = _matrices(gathered[:, :, :, to]), _matrices(y[:, :, of])
            products = np.matmul(slope, images.swapaxes(1, 2))
            # Moving the slope to the left is moving y to the right.
            by_column = products.reshape(steps, k, outputs, inputs)[:, ::-1]
            weight[:, :, :, a] = by_column.transpose(0, 2, 3, 1)
        sums = gathered[:, k // 2].sum(axis=(2, 3, 4))
        biases = u["bias"].shape[1]
        return {"weight": weight, "bias": sums.reshape(steps, biases, -1).sum(axis=-1)}

    def _correlate(self, out: Any, kernels: Any, moved: Any, added: Any) -> Any:
        """Return ``added + kernels * y`` where `moved` is what `gather` made of y."""
        k, (steps, outputs, inputs) = self.kernel, kernels.shape[:3]
        image = moved.shape[3:]
        by_row = kernels.transpose(0, 3, 1, 4, 2).reshape(steps, k * outputs, k * inputs)
        dtype = np.result_type(kernels, moved)
        parts = self._place("parts", (steps, k, outputs, *image), dtype)
        np.matmul(by_row, _matrices(moved), out=_matrices(parts))
        out = np.add(parts[:, k // 2], added, out=out)
        for a in range(k):
            if a != k // 2:
                to, of = _overlap(a - k // 2, image[0])
                out[:, :, to] += parts[:, a, :, of]
        return out

    def _place(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array that only its user writes to, zero before the first time."""
        held = self._scratch.get(name)
        if held is None or held.shape[1:] != shape[1:] or held.dtype != dtype:
            held = np.empty((0, *shape[1:]), dtype)
        if len(held) < shape[0]:
            held = self._scratch[name] = np.zeros(shape, dtype)
        return held[: shape[0]]


def _matrices(images: Any) -> Any:
    """Return images (S, ..., height, width, B) as matrices (S, rows, height x width x B)."""
    *rows, height, width, examples = images.shape
    return images.reshape(rows[0], math.prod(rows[1:]), height * width * examples)


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Return the indices i for which i + offset is one, too, below `length`, and these others."""
    to = slice(max(0, -offset), length - max(0, offset))
    return to, slice(to.start + offset, to.stop + offset)


@dataclass(frozen=True)
class ReplicatedOpening(Opening):
    """The channels of y_0 are those of x, shape (channels, height, width, B), in turn."""

    x: np.ndarray
    channels: int

    def initial(self, theta: Fields) -> np.ndarray:
        return self.x[np.arange(self.channels) % len(self.x)]


@dataclass(frozen=True)
class Pooling(Readout):
    """Averages over windows of `size` x `size` pixels of images (channels, height, width, B)."""

    size: int

    def features(self, y: Any) -> Any:
        channels, height, width, examples = y.shape
        if self.size > 1:
            windows = (channels, height // self.size, self.size, width // self.size, self.size)
            y = y.reshape(*windows, examples).mean(axis=(2, 4))
        return y.reshape(math.prod(y.shape[:3]), examples)

    def transposed(self, features: Any, shape: tuple[int, ...]) -> Any:
        channels, height, width, examples = shape
        size = self.size
        coarse = features.reshape(channels, height // size, 1, width // size, 1, examples)
        windows = (channels, height // size, size, width // size, size, examples)
        return np.broadcast_to(coarse / size**2, windows).reshape(shape)


@dataclass(frozen=True)
class ConvolutionalNetwork(Network):
    """What a convolutional residual network consists of, apart from its depth and its data.

    Parameters
    ----------
    image : (int, int, int)
        Channels, height and width of an example.
    channels : int
        Of the states.
    classes : int
        Of the labels.
    kernel : int
        Rows and columns k of a kernel: odd, and at most 2 n - 1 for images n pixels high or wide.
    activation : 'tanh', 'relu' or 'smoothrelu'
    bias : 'vector' or 'scalar'
        One bias for each channel, or a single one a layer.
    opening : 'trained' or 'replicate'
        A convolution, or the channels of the example over and over.
    pool : int
        The states are classified by their averages over windows of `pool` x `pool` pixels; 1: by
        all entries.
    pooled_levels : int
        Coarse levels of MGRIT whose layers work on pooled images, each of half the height and width
        of the one before.

    Raises
    ------
    ValueError
        If a size is below 1, a choice is unknown, or sizes do not fit each other.

    Examples
    --------
    Horizontal and vertical bars, wherever they are in an image, after 20 updates on two levels:

    >>> import numpy as np
    >>> import pint
    >>> from problems.classification import accuracy
    >>> x, labels = np.zeros((2, 6, 1, 6, 6)), np.repeat(np.eye(2), 6, axis=0)
    >>> for place in range(6):
    ...     x[0, place, 0, place] = x[1, place, 0, :, place] = 1.0
    >>> network = ConvolutionalNetwork((1, 6, 6), 2, 2, activation="relu", pool=6)
    >>> problem = network.problem(x.reshape(12, 1, 6, 6), labels)
    >>> grid = pint.TimeGrid.uniform(2.0, 8, coarsening=4, levels=2)
    >>> functional = pint.ReducedFunctional(problem, grid)
    >>> start = network.random_control(functional.controls, seed=0)
    >>> result = pint.minimize(functional, start, pint.OneShot(cycles=2, iterations=20))
    >>> features = network.readout.features(result.states()[-1])
    >>> accuracy(features, result.control.shared, labels.T)
    100.0
    """

    image: tuple[int, int, int]
    channels: int
    classes: int
    kernel: int = 3
    activation: str = "tanh"
    bias: Literal["vector", "scalar"] = "vector"
    opening: Literal["trained", "replicate"] = "trained"
    pool: int = 1
    pooled_levels: int = 0

    def __post_init__(self) -> None:
        if np.shape(self.image) != (3,):
            raise ValueError(f"`image` must be channels, height and width, got {self.image!r}.")
        sizes = dict(zip(("image channels", "height", "width"), self.image, strict=True))
        sizes |= {name: getattr(self, name) for name in ("channels", "classes", "kernel", "pool")}
        check_sizes(sizes)
        check_choices(self, activation=ACTIVATIONS, bias=BIASES, opening=("trained", "replicate"))
        inputs, height, width = self.image
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, so that it has a centre, got {self.kernel}.")
        if self.kernel >= 2 * min(height, width):
            raise ValueError(
                f"`kernel` is {self.kernel}, but its outer weights meet only zeros outside of "
                f"images of {height} x {width}; take at most {2 * min(height, width) - 1}."
            )
        if height % self.pool or width % self.pool:
            raise ValueError(
                f"`pool` must divide height and width, got {self.pool} for {height} x {width}."
            )
        times = integer("ConvolutionalNetwork", "pooled_levels", self.pooled_levels, 0)
        smallest = min(height, width) // 2**times
        if (height | width) % 2**times or self.kernel >= 2 * smallest:
            raise ValueError(
                f"`pooled_levels` is {times}, but images of {height} x {width} cannot be halved so "
                f"often and stay {self.kernel // 2 + 1} pixels high and wide."
            )
        if self.opening == "replicate" and self.channels < inputs:
            raise ValueError(
                f"`channels` is {self.channels}, but replicating {inputs} channels needs at least "
                "as many; raise it or use a trained opening."
            )

    @property
    def _classified(self) -> int:
        """How many features are classified."""
        _, height, width = self.image
        return self.channels * (height // self.pool) * (width // self.pool)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return tuple(self.image)

    def fields(self, metric: Literal["time", "euclidean"] = "time") -> dict[str, Any]:
        biases = self.channels if self.bias == "vector" else 1
        size = (self.kernel, self.kernel)
        fields: dict[str, Any] = {}
        if self.opening == "trained":
            fields["opening_weight"] = pint.SharedControl((self.channels, self.image[0], *size))
            fields["opening_bias"] = pint.SharedControl(biases)
        fields["weight"] = pint.TimeControl((self.channels, self.channels, *size), metric=metric)
        fields["bias"] = pint.TimeControl(biases, metric=metric)
        fields["classification_weight"] = pint.SharedControl((self.classes, self._classified))
        fields["classification_bias"] = pint.SharedControl(self.classes)
        return fields

    @property
    def deviations(self) -> dict[str, float]:
        pixels = self.kernel**2
        return {
            "opening_weight": (self.image[0] * pixels) ** -0.5,
            "opening_bias": 1.0,
            "weight": 0.1 * (self.channels * pixels) ** -0.5,
            "classification_weight": self._classified**-0.5,
        }

    @property
    def readout(self) -> Readout:
        return Pooling(self.pool)

    def stepper(
        self, x: np.ndarray, examples: int | None = None, comm: Any = None
    ) -> ResidualLayers:
        activation = ACTIVATIONS[self.activation]
        images = np.array(np.moveaxis(x, 0, -1), dtype=float, order="C")
        opening: Opening
        if self.opening == "trained":
            # A scratch of its own: its images may have another number of channels.
            opening = TrainedOpening(images, Convolution(self.kernel), activation)
        else:
            opening = ReplicatedOpening(images, self.channels)
        # Residuals are measured by the Euclidean norm divided by the number of examples.
        weight = 1.0 / (examples or len(x))
        shape = (self.channels, *self.image[1:], len(x))
        space = pint.ArraySpace(shape, weight=weight, comm=comm, axis=3)
        coarse = [
            PooledMap(Convolution(self.kernel), self.kernel, times + 1)
            for times in range(self.pooled_levels)
        ]
        return ResidualLayers(space, Convolution(self.kernel), opening, activation, coarse)

    def place(self, opening: Opening) -> np.ndarray:
        return np.moveaxis(opening.x, -1, 0)
