"""A residual network as an optimal-control problem, apart from its depth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

import pint
from pint.errors import check_kind, shown
from problems.activations import ACTIVATIONS
from problems.classification import Batches, Classification, Readout, WholeState, share
from problems.resnet.layers import (
    DenseMap,
    Opening,
    PaddedOpening,
    ResidualLayers,
    ResidualLayersAdjoint,
    TrainedOpening,
)

BIASES = ("vector", "scalar")


@dataclass(frozen=True)
class Regularisation:
    """Weights of the regularisers, all >= 0.

    ``tikhonov/2 sum dt |u_n|^2``, ``opening/2 |W_in, b_in|^2``, ``classification/2 |W, mu|^2`` and
    ``smooth/2 sum dt |(u_n - u_{n-1})/dt|^2`` with u_n = (K_n, b_n).
    """

    tikhonov: float = 0.0
    opening: float = 0.0
    classification: float = 0.0
    smooth: float = 0.0

    def regularisers(self, fields: Mapping[str, Any]) -> list[pint.Regulariser]:
        """Return the terms of positive weight; `fields` are those of a network.

        Raises
        ------
        ValueError
            If a weight is negative or not finite.
        """
        shared = [name for name, kind in fields.items() if isinstance(kind, pint.SharedControl)]
        layers = [name for name in fields if name not in shared]
        terms: Sequence[pint.Tikhonov | pint.Smoothness] = (
            pint.Tikhonov(self.tikhonov, layers),
            pint.Tikhonov(self.opening, [name for name in shared if name.startswith("opening")]),
            pint.Tikhonov(
                self.classification, [name for name in shared if name.startswith("classification")]
            ),
            pint.Smoothness(self.smooth, layers),
        )
        return [term for term in terms if term.gamma > 0]


class Network(ABC):
    """A residual network, apart from its depth and its data."""

    activation: str
    classes: int

    @property
    @abstractmethod
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example x."""

    @abstractmethod
    def fields(self, metric: Literal["time", "euclidean"] = "time") -> dict[str, Any]:
        """Return the fields of the control by name."""

    @abstractmethod
    def stepper(
        self, x: np.ndarray, examples: int | None = None, comm: Any = None
    ) -> ResidualLayers:
        """Return the layers for the examples `x`, shape (b, ...), whose opening holds a copy.

        They are this rank's share of `examples` ones, which `comm` divides among its ranks.
        """

    @abstractmethod
    def place(self, opening: Opening) -> np.ndarray:
        """Return the view of an opening that holds the examples, shape (b, ...)."""

    @property
    @abstractmethod
    def readout(self) -> Readout:
        """How the last state becomes the features that are classified."""

    @property
    @abstractmethod
    def deviations(self) -> dict[str, float]:
        """Standard deviations of the random weights to start from, zero for other fields."""

    def controls(
        self,
        grid: pint.TimeGrid,
        metric: Literal["time", "euclidean"] = "time",
        comm: Any = None,
    ) -> pint.ControlSpace:
        """Return the space of the network's weights, the layers being the steps of `grid`.

        It is the space of the controls of a `problem` with the same metric and communicator.
        """
        return pint.ControlSpace(grid, comm, **self.fields(metric))

    def problem(
        self,
        x: np.ndarray,
        labels: np.ndarray,
        regularisation: Regularisation | None = None,
        batch_size: int | None = None,
        metric: Literal["time", "euclidean"] = "time",
        comm: Any = None,
    ) -> pint.Problem:
        """Return the problem of fitting the examples `x` (M, ...) to `labels` (M, classes).

        The layers are the steps of the grid on which the problem is solved.

        Parameters
        ----------
        x, labels : ndarray
            All examples, the same on every rank.
        regularisation : Regularisation, optional
        batch_size : int, optional
            The objective is the mean over so many examples at a time, at first the first ones;
            `Problem.examples` selects others. By default it is the mean over all of them.
        metric : 'time' or 'euclidean'
            Of the layers' weights.
        comm : communicator, optional
            The space communicator of `pint.split`. Each of its ranks has all weights and works on
            its share of the examples.

        Raises
        ------
        ValueError
            If the shapes do not fit, a value is not finite, the labels are not one-hot, or the
            batch is larger than the data.
        """
        check_examples(x, labels, self.example_shape, self.classes)
        if regularisation is not None:
            check_kind("problem", "regularisation", regularisation, Regularisation, "such a value")
        size = len(x) if batch_size is None else batch_size
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if not whole or not 1 <= size <= len(x):
            raise ValueError(
                f"`problem(batch_size=...)` must be an integer from 1 to {len(x)}, the number of "
                f"examples, got {shown(batch_size)}."
            )
        comm = pint.SerialComm() if comm is None else comm
        own, fields = share(size, comm), self.fields(metric)
        stepper = self.stepper(x[own], size, comm)
        columns = labels[own].T.astype(float, order="C")
        objective = Classification(columns, size, comm, self.readout)
        batches = None
        if batch_size is not None:
            place = partial(self.place, stepper.opening)
            batches = Batches(x, labels, place, objective)
        return pint.Problem(
            stepper,
            ResidualLayersAdjoint(stepper),
            objective,
            fields,
            (regularisation or Regularisation()).regularisers(fields),
            batches,
            comm,
        )

    def random_control(self, controls: pint.ControlSpace, seed: int) -> pint.Control:
        """Return a random control to start from, the same for any number of ranks.

        Opening and classification are normal with deviation 1 over the root of the number of
        inputs of an output; layer weights are a tenth of that, the same for all layers, so that
        neighbouring layers, and the levels of a time grid, resemble each other.
        """
        random, deviations = np.random.default_rng(seed), self.deviations
        values = {
            name: deviations[name] * random.standard_normal(field.shape)
            for name, field in controls.fields.items()
            if name in deviations
        }
        return controls.control(**values)


@dataclass(frozen=True)
class DenseNetwork(Network):
    """What a dense residual network consists of, apart from its depth and its data.

    Parameters
    ----------
    features, width, classes : int
        Sizes of x, of the states, and of the labels.
    activation : 'tanh', 'relu' or 'smoothrelu'
    bias : 'vector' or 'scalar'
        One bias for each component of the state, or a single one a layer.
    opening : 'trained' or 'pad'

    Raises
    ------
    ValueError
        If a size is below 1, a choice is unknown, or padding would have to shorten x.
    """

    features: int
    width: int
    classes: int
    activation: str = "tanh"
    bias: Literal["vector", "scalar"] = "vector"
    opening: Literal["trained", "pad"] = "trained"

    def __post_init__(self) -> None:
        check_sizes({name: getattr(self, name) for name in ("features", "width", "classes")})
        check_choices(self, activation=ACTIVATIONS, bias=BIASES, opening=("trained", "pad"))
        if self.opening == "pad" and self.width < self.features:
            raise ValueError(
                f"`width` is {self.width}, but padding {self.features} features with zeros needs "
                "at least as many; raise it or use a trained opening."
            )

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.features,)

    def fields(self, metric: Literal["time", "euclidean"] = "time") -> dict[str, Any]:
        biases = self.width if self.bias == "vector" else 1
        fields: dict[str, Any] = {}
        if self.opening == "trained":
            fields["opening_weight"] = pint.SharedControl((self.width, self.features))
            fields["opening_bias"] = pint.SharedControl(biases)
        fields["weight"] = pint.TimeControl((self.width, self.width), metric=metric)
        fields["bias"] = pint.TimeControl(biases, metric=metric)
        fields["classification_weight"] = pint.SharedControl((self.classes, self.width))
        fields["classification_bias"] = pint.SharedControl(self.classes)
        return fields

    @property
    def readout(self) -> Readout:
        return WholeState()

    @property
    def deviations(self) -> dict[str, float]:
        return {
            "opening_weight": self.features**-0.5,
            "opening_bias": 1.0,
            "weight": 0.1 * self.width**-0.5,
            "classification_weight": self.width**-0.5,
        }

    def stepper(
        self, x: np.ndarray, examples: int | None = None, comm: Any = None
    ) -> ResidualLayers:
        # Residuals are measured by the Euclidean norm divided by the number of examples.
        weight = 1.0 / (examples or len(x))
        space = pint.ArraySpace((self.width, len(x)), weight=weight, comm=comm, axis=1)
        rows = np.zeros((self.features if self.opening == "trained" else self.width, len(x)))
        rows[: self.features] = x.T
        activation = ACTIVATIONS[self.activation]
        opening: Opening = PaddedOpening(rows)
        if self.opening == "trained":
            opening = TrainedOpening(rows, DenseMap(), activation)
        return ResidualLayers(space, DenseMap(), opening, activation)

    def place(self, opening: Opening) -> np.ndarray:
        return opening.x[: self.features].T


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise ValueError unless all sizes are positive integers."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
            raise ValueError(f"`{name}` must be an integer, got {shown(size)}.")
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}.")


def check_choices(network: object, **choices: Collection[str]) -> None:
    """Raise ValueError unless each named attribute is one of its choices."""
    for name, allowed in choices.items():
        value = getattr(network, name)
        if not (isinstance(value, str) and value in allowed):
            raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {shown(value)}.")


def check_examples(x: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], classes: int) -> None:
    """Raise ValueError unless `x` and `labels` are B >= 1 finite examples with one-hot labels.

    `shape` is that of an example.
    """
    for name, values in (("x", x), ("labels", labels)):
        check_kind("problem", name, values, np.ndarray, "an array of numpy")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"`x` must be real numbers, got {x.dtype}.")
    if x.ndim < 1 or x.shape[1:] != shape or len(x) < 1:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"`x` must have shape (B >= 1, {expected}), got {x.shape}.")
    if labels.shape != (len(x), classes):
        raise ValueError(f"`labels` must have shape ({len(x)}, {classes}), got {labels.shape}.")
    if not np.isfinite(x).all():
        raise ValueError("`x` contains NaN or infinity.")
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise ValueError("`labels` must be one-hot: a single 1 and zeros in each row.")
