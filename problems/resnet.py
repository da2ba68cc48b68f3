"""Dense residual networks as optimal-control problems: the layers are the time steps.

A batch of B examples is one state, a matrix of shape (width, B):

    y_0     = sigma(W_in x + b_in), or x padded with zeros
    y_{n+1} = y_n + dt sigma(K_n y_n + b_n),   n = 0..N-1,   dt = T / N
    J       = mean of the softmax cross-entropy of z = W y_N + mu, plus regularisers

The control consists of the time-dependent fields ``weight`` (K) and ``bias`` (b) and the shared
fields ``opening_weight``, ``opening_bias``, ``classification_weight`` (W), ``classification_bias``
(mu). Haber & Ruthotto, Inverse Problems 34 (2018) 014004, doi:10.1088/1361-6420/aa9a90.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

import pint
from pint.errors import check_kind, integer, shown
from pint.interface import Fields
from problems.activations import ACTIVATIONS, Activation
from problems.classification import Batches, Classification, Readout, WholeState, logits, share

BIASES = ("vector", "scalar")


class AffineMap(ABC):
    """The argument of a layer's activation, ``K y + b``, and its transposes, for S layers at once.

    K and b are the control's ``weight`` and ``bias``, with a leading axis of length S as y has it.
    """

    @abstractmethod
    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        """Return ``K y + b``, written to `out` if that is given."""

    @abstractmethod
    def gather(self, slope: Any) -> Any:
        """Return `slope`, shaped as ``K y``, in the form that the transposes take.

        Valid until the next call of `apply` or `gather`.
        """

    @abstractmethod
    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        """Write ``lam + K^T slope`` to `out`, in place."""

    @abstractmethod
    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        """Return the derivatives of ``slope . (K y + b)`` with respect to K and b."""


class DenseMap(AffineMap):
    """Matrices K, shape (S, width, features), and biases, (S, width) or (S, 1)."""

    def apply(self, y: Any, u: Fields, out: Any = None) -> Any:
        z = np.matmul(u["weight"], y, out=out)
        z += u["bias"][..., None]
        return z

    def gather(self, slope: Any) -> Any:
        return slope

    def transposed(self, out: Any, u: Fields, gathered: Any, lam: Any) -> None:
        np.matmul(u["weight"].swapaxes(-1, -2), gathered, out=out)
        out += lam

    def derivative(self, y: Any, u: Fields, gathered: Any) -> Fields:
        sums = gathered.sum(axis=-1)
        return {
            "weight": np.matmul(gathered, y.swapaxes(-1, -2)),
            "bias": sums if u["bias"].shape == sums.shape else sums.sum(axis=-1, keepdims=True),
        }


class Opening(ABC):
    """How the examples become y_0.

    Attributes
    ----------
    x : ndarray, shape (..., B)
        The examples.
    """

    x: np.ndarray

    @abstractmethod
    def initial(self, theta: Fields) -> np.ndarray:
        """Return y_0."""

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing is trained."""
        return {}


@dataclass(frozen=True)
class TrainedOpening(Opening):
    """``y_0 = sigma(W_in x + b_in)``, `affine` being that of W_in and b_in."""

    x: np.ndarray
    affine: AffineMap
    activation: Activation

    @staticmethod
    def _batch(theta: Fields) -> Fields:
        return {name: theta[f"opening_{name}"][None] for name in ("weight", "bias")}

    def _argument(self, theta: Fields) -> np.ndarray:
        return self.affine.apply(self.x[None], self._batch(theta))[0]

    def initial(self, theta: Fields) -> np.ndarray:
        return self.activation.value(self._argument(theta))

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        slope = self.activation.derivative(self._argument(theta)) * lam0
        gathered = self.affine.gather(slope[None])
        batch = self.affine.derivative(self.x[None], self._batch(theta), gathered)
        return {f"opening_{name}": values[0] for name, values in batch.items()}


@dataclass(frozen=True)
class PaddedOpening(Opening):
    """``y_0 = x``, the features followed by zeros; nothing is trained."""

    x: np.ndarray

    def initial(self, theta: Fields) -> np.ndarray:
        return self.x


class ResidualLayers(pint.TimeStepper):
    """Forward Euler steps ``y + dt sigma(K y + b)`` for a batch of examples.

    Parameters
    ----------
    space : ArraySpace
        Of the states.
    affine : AffineMap
        Of the layers.
    opening : Opening
    activation : Activation
    coarse : sequence of AffineMap
        Of the layers of coarse levels, from level 1 on; the last one serves all coarser levels. By
        default they are those of level 0.
    """

    batched = in_place = True

    def __init__(
        self,
        space: pint.ArraySpace,
        affine: AffineMap,
        opening: Opening,
        activation: Activation,
        coarse: Sequence[AffineMap] = (),
    ) -> None:
        self.affine = affine
        self.opening = opening
        self.activation = activation
        self.kept_shape = space.shape
        self._space, self._coarse = space, tuple(coarse)

    def coarsen(self, level: int) -> ResidualLayers:
        some = self._coarse[:level]
        return (
            ResidualLayers(self._space, some[-1], self.opening, self.activation) if some else self
        )

    @property
    def space(self) -> pint.ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> np.ndarray:
        return self.opening.initial(theta)

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, out: Any = None) -> Any:
        if out is None:
            out = np.empty(np.shape(y), np.result_type(y, *u.values()))
        if s.kept is None:
            np.multiply(self.activation.value(self.affine.apply(y, u, out)), s.dt, out=out)
        else:
            self.activation.both(self.affine.apply(y, u, s.kept), s.dt, out)
        out += y
        return out


class ResidualLayersAdjoint(pint.Adjoint):
    """Transposes of `ResidualLayers`; dt sigma'(K y + b) is kept by the step or computed again."""

    in_place = leaves_out = True

    def __init__(self, stepper: ResidualLayers) -> None:
        self._stepper = stepper
        self.affine = stepper.affine
        self.opening = stepper.opening
        self.activation = stepper.activation

    def _gathered(self, s: pint.Steps, y: Any, u: Fields, lam: Any) -> Any:
        """Return ``dt sigma'(K y + b) lam``, entry by entry, as the map takes it."""
        if s.kept is not None:
            return self.affine.gather(s.kept * lam)
        slope = self.activation.derivative(self.affine.apply(y, u))
        slope *= lam
        slope *= s.dt
        return self.affine.gather(slope)

    def _transposed(self, y: Any, u: Fields, gathered: Any, lam: Any, out: Any) -> Any:
        if out is None:
            out = np.empty(np.shape(lam), np.result_type(y, lam, *u.values()))
        self.affine.transposed(out, u, gathered, lam)
        return out

    def vjp(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> tuple[Any, Fields, Fields]:
        gathered = self._gathered(s, y, u, lam)
        dy = None if out is False else self._transposed(y, u, gathered, lam, out)
        return dy, self.affine.derivative(y, u, gathered), {}

    def step(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> Any:
        return self._transposed(y, u, self._gathered(s, y, u, lam), lam, out)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.opening.derivative(theta, lam0)

    def coarsen(self, level: int) -> ResidualLayersAdjoint:
        stepper = self._stepper.coarsen(level)
        return self if stepper is self._stepper else ResidualLayersAdjoint(stepper)


def classify(
    network: Network, weights: pint.Control, x: np.ndarray, at_once: int = 1000
) -> np.ndarray:
    """Return the class that a network finds for each example of `x`, integers of shape (B,).

    Sequential propagation of `at_once` examples at a time, of which one layer is held in memory.
    Not collective.

    Parameters
    ----------
    network : Network
    weights : Control
        On a grid of one rank.
    x : ndarray, shape (B, ...)
    at_once : int
    """
    return _propagated("classify", network, weights, x, at_once).argmax(axis=1)


def probabilities(
    network: Network, weights: pint.Control, x: np.ndarray, at_once: int = 1000
) -> np.ndarray:
    """Return the probability of each class for each example of `x`, shape (B, classes).

    The softmax of ``W p(y_N) + mu``; each row has the sum 1, and its largest number is that of the
    class that `classify` finds. Parameters, memory and errors are those of `classify`. Not
    collective.
    """
    z = _propagated("probabilities", network, weights, x, at_once)
    exp_z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(exp_z / exp_z.sum(axis=1, keepdims=True))


def _propagated(
    owner: str, network: Network, weights: pint.Control, x: np.ndarray, at_once: int
) -> np.ndarray:
    """Return ``W p(y_N) + mu`` for each example, shape (B, classes); errors name `owner`."""
    check_kind(owner, "network", network, Network, "a Network")
    check_kind(owner, "weights", weights, pint.Control, "a pint.Control")
    check_kind(owner, "x", x, np.ndarray, "an array of numpy")
    if x.ndim < 1 or x.shape[1:] != network.example_shape:
        raise ValueError(
            f"`{owner}(x=...)` must have shape (B, {', '.join(map(str, network.example_shape))}),"
            f" got {x.shape}."
        )
    at_once = integer(owner, "at_once", at_once, 1)
    grid, theta, u = weights.space.grid, weights.shared, weights.time
    found = np.empty((len(x), network.classes))
    for begin in range(0, len(x), at_once):
        stepper = network.stepper(x[begin : begin + at_once])
        y = stepper.initial(theta)[None].copy()
        new = np.empty_like(y)
        for n in range(grid.steps):
            s = grid.batch(0, range(n, n + 1), y.ndim - 1)
            layer = {name: values[n : n + 1] for name, values in u.items()}
            stepper.step(s, y, layer, theta, out=new)
            y, new = new, y
        features = network.readout.features(y[0])
        found[begin : begin + at_once] = logits(features, theta).T
    return found


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
