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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import pint
from pint.comm import SerialComm, reduce
from pint.interface import Fields


@dataclass(frozen=True)
class Activation:
    """A function sigma and its derivative.

    ``value(z)`` and ``derivative(z)`` return them, and may change `z`. ``both(z, dt, out)`` writes
    ``dt sigma(z)`` to `out` and ``dt sigma'(z)`` to `z`.
    """

    value: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]
    both: Callable[[np.ndarray, Any, np.ndarray], None]


def _tanh(z: np.ndarray) -> np.ndarray:
    # 1 - 2 / (exp(2z) + 1): without AVX-512, numpy's exp takes 0.4 of the time of its tanh.
    z *= 2.0
    with np.errstate(over="ignore"):  # exp = inf gives tanh = 1
        np.exp(z, out=z)
    z += 1.0
    np.divide(-2.0, z, out=z)
    z += 1.0
    return z


def _tanh_derivative(z: np.ndarray) -> np.ndarray:
    _tanh(z)
    z *= z
    return np.subtract(1.0, z, out=z)


def _tanh_both(z: np.ndarray, dt: Any, out: np.ndarray) -> None:
    _tanh(z)
    np.multiply(z, dt, out=out)
    z *= out
    np.subtract(dt, z, out=z)


def _relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0, out=z)


def _relu_derivative(z: np.ndarray) -> np.ndarray:
    return (z.real > 0).astype(float)


def _relu_both(z: np.ndarray, dt: Any, out: np.ndarray) -> None:
    np.maximum(z, 0.0, out=out)
    out *= dt
    np.multiply(z > 0.0, dt, out=z)


def _smooth_relu(z: np.ndarray) -> np.ndarray:
    near = np.abs(z.real) < 0.1
    parabola = z[near] ** 2 / 0.4 + z[near] / 2 + 0.025
    np.maximum(z, 0.0, out=z)
    z[near] = parabola
    return z


def _smooth_relu_derivative(z: np.ndarray) -> np.ndarray:
    return np.clip(z / 0.2 + 0.5, 0.0, 1.0)


def _smooth_relu_both(z: np.ndarray, dt: Any, out: np.ndarray) -> None:
    out[...] = z
    _smooth_relu(out)
    out *= dt
    np.multiply(_smooth_relu_derivative(z), dt, out=z)


ACTIVATIONS = {
    "tanh": Activation(_tanh, _tanh_derivative, _tanh_both),
    "relu": Activation(_relu, _relu_derivative, _relu_both),
    "smoothrelu": Activation(_smooth_relu, _smooth_relu_derivative, _smooth_relu_both),
}
"""SmoothReLU is ``x^2/0.4 + x/2 + 0.025`` for ``|x| < 0.1`` and ReLU elsewhere."""


@dataclass(frozen=True)
class TrainedOpening:
    """``y_0 = sigma(W_in x + b_in)``; a bias for each feature of the state, or a single one."""

    x: np.ndarray
    activation: Activation

    def _argument(self, theta: Fields) -> np.ndarray:
        return theta["opening_weight"] @ self.x + theta["opening_bias"][:, None]

    def initial(self, theta: Fields) -> np.ndarray:
        """Return y_0, shape (width, B)."""
        return self.activation.value(self._argument(theta))

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0``."""
        slope = self.activation.derivative(self._argument(theta)) * lam0
        return {
            "opening_weight": slope @ self.x.T,
            "opening_bias": _sum_to(slope, theta["opening_bias"].shape),
        }


@dataclass(frozen=True)
class PaddedOpening:
    """``y_0 = x``, the features followed by zeros; nothing is trained."""

    x: np.ndarray

    def initial(self, theta: Fields) -> np.ndarray:
        """Return y_0, shape (width, B)."""
        return self.x

    def derivative(self, theta: Fields, lam0: np.ndarray) -> Fields:
        """Return no derivatives."""
        return {}


Opening = TrainedOpening | PaddedOpening


class ResidualLayers(pint.TimeStepper):
    """Forward Euler steps ``y + dt sigma(K y + b)`` for a batch of examples.

    Parameters
    ----------
    space : ArraySpace
        Of matrices, shape (width, B).
    opening : TrainedOpening or PaddedOpening
    activation : Activation
    """

    batched = True

    def __init__(self, space: pint.ArraySpace, opening: Opening, activation: Activation) -> None:
        self.opening = opening
        self.activation = activation
        self.kept_shape = space.shape
        self._space = space

    @property
    def space(self) -> pint.ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> np.ndarray:
        return self.opening.initial(theta)

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, *, guess: Any = None) -> Any:
        out = np.empty(np.shape(y), np.result_type(y, *u.values()))
        self._write(out, s, y, u)
        return out

    def step_into(self, out: Any, s: pint.Steps, y: Any, u: Fields, theta: Fields) -> None:
        self._write(out, s, y, u)

    def _write(self, out: Any, s: pint.Steps, y: Any, u: Fields) -> None:
        if s.kept is None:
            out[...] = self.activation.value(_pre_activation(y, u, out))
            out *= s.dt
        else:
            self.activation.both(_pre_activation(y, u, s.kept), s.dt, out)
        out += y


class ResidualLayersAdjoint(pint.Adjoint):
    """Transposes of `ResidualLayers`; dt sigma'(K y + b) is kept by the step or computed again."""

    derivative_from_kept = True

    def __init__(self, stepper: ResidualLayers) -> None:
        self.opening = stepper.opening
        self.activation = stepper.activation

    def _weighted(self, s: pint.Steps, y: Any, u: Fields, lam: Any) -> Any:
        """Return ``dt sigma'(K y + b) lam``, entry by entry."""
        if s.kept is not None:
            return s.kept * lam
        weighted = self.activation.derivative(_pre_activation(y, u))
        weighted *= lam
        weighted *= s.dt
        return weighted

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        out = np.empty(np.shape(lam), np.result_type(y, lam, *u.values()))
        _transposed(out, u, self._weighted(s, y, u, lam), lam)
        return out

    def step_into(
        self, out: Any, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> None:
        _transposed(out, u, self._weighted(s, y, u, lam), lam)

    def control_derivative(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Fields, Fields]:
        return _derivative(y, u, self._weighted(s, y, u, lam)), {}

    def step_with_derivative(
        self, out: Any, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Fields, Fields]:
        weighted = self._weighted(s, y, u, lam)
        _transposed(out, u, weighted, lam)
        return _derivative(y, u, weighted), {}

    def initial_derivative(self, theta: Fields, lam0: Any) -> Fields:
        return self.opening.derivative(theta, lam0)


def _transposed(out: Any, u: Fields, weighted: Any, lam: Any) -> None:
    """Write ``lam + K^T weighted`` to `out`."""
    np.matmul(u["weight"].swapaxes(-1, -2), weighted, out=out)
    out += lam


def _derivative(y: Any, u: Fields, weighted: Any) -> Fields:
    return {
        "weight": np.matmul(weighted, y.swapaxes(-1, -2)),
        "bias": _sum_to(weighted, u["bias"].shape),
    }


def _pre_activation(y: np.ndarray, u: Fields, out: np.ndarray | None = None) -> np.ndarray:
    z = np.matmul(u["weight"], y, out=out)
    z += u["bias"][..., None]
    return z


def _sum_to(slope: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the examples, and over the features too where `shape` ends with a single bias."""
    sums = slope.sum(axis=-1)
    return sums if shape[-1] == sums.shape[-1] else sums.sum(axis=-1, keepdims=True)


class Classification(pint.Objective):
    """Softmax cross-entropy of ``z = W y_N + mu``, averaged over the examples.

    Parameters
    ----------
    labels : ndarray, shape (classes, b)
        One-hot columns, those of this rank's examples; a column of zeros is no example.
    examples : int, optional
        Number of examples on all ranks; by default that of the columns.
    comm : communicator, optional
        The ranks that the examples are divided among.
    """

    def __init__(self, labels: np.ndarray, examples: int | None = None, comm: Any = None) -> None:
        self.labels = labels
        self.examples = labels.shape[1] if examples is None else examples
        self.comm = SerialComm() if comm is None else comm

    def terminal(self, y: Any, theta: Fields) -> Any:
        z, exp_z = self._logits(y, theta)
        losses = self.labels * (np.log(exp_z.sum(axis=0)) - z)
        return reduce(self.comm, losses.sum())[0] / self.examples

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        _, error = self._logits(y, theta)
        error /= error.sum(axis=0)
        error *= self.labels.sum(axis=0)
        error -= self.labels
        error /= self.examples
        return theta["classification_weight"].T @ error, {
            "classification_weight": error @ y.T,
            "classification_bias": error.sum(axis=1),
        }

    @staticmethod
    def _logits(y: Any, theta: Fields) -> tuple[Any, Any]:
        """Return z, shifted so that exponentials cannot overflow, and exp z."""
        z = logits(y, theta)
        z -= z.real.max(axis=0)
        return z, np.exp(z)


def logits(y: np.ndarray, theta: Fields) -> np.ndarray:
    """Return ``W y + mu``, shape (classes, B)."""
    return theta["classification_weight"] @ y + theta["classification_bias"][:, None]


def accuracy(y: np.ndarray, theta: Fields, labels: np.ndarray, comm: Any = None) -> float:
    """Return the percentage of examples whose largest logit is that of their class.

    The examples, states in `y` and one-hot columns in `labels`, are divided among the ranks of
    `comm`, by default on one rank; columns of zeros do not count. Collective on `comm`.
    """
    right = logits(y, theta).argmax(axis=0) == labels.argmax(axis=0)
    there = labels.any(axis=0)
    hits, examples = reduce(comm or SerialComm(), [(right & there).sum(), there.sum()])
    return 100.0 * float(hits / examples)


def share(examples: int, comm: Any) -> slice:
    """Return which of some examples the rank of a communicator works on; there may be none."""
    return slice(comm.rank * examples // comm.size, (comm.rank + 1) * examples // comm.size)


class Batches(pint.Examples):
    """Writes a batch of examples to where a network reads them; this rank's share of it.

    The places of a batch that is not full hold zeros, which are no examples.

    Parameters
    ----------
    x : ndarray, shape (M, ...)
        All examples.
    labels : ndarray, shape (M, classes)
        Their one-hot labels.
    place : ndarray, shape (b, ...)
        Where the network reads this rank's share of the batch: a view with the examples first.
    objective : Classification
        Made with the size of the batch, and the communicator that shares it.
    """

    def __init__(
        self, x: np.ndarray, labels: np.ndarray, place: np.ndarray, objective: Classification
    ) -> None:
        self.count, self.batch_size = len(x), objective.examples
        self.objective = objective
        self.share = share(self.batch_size, objective.comm)
        self._pairs = ((x, place), (labels, objective.labels.T))

    def select(self, indices: np.ndarray) -> None:
        indices = np.asarray(indices)
        if indices.ndim != 1 or not 1 <= len(indices) <= self.batch_size:
            raise ValueError(
                f"`select(indices)` must be 1 to {self.batch_size} numbers of examples, "
                f"got shape {indices.shape}."
            )
        if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= self.count:
            raise ValueError(
                f"`select(indices)` must be integers from 0 to {self.count - 1}, got "
                f"{indices.min()} to {indices.max()}."
            )
        own = indices[self.share]
        for source, place in self._pairs:
            place[: len(own)] = source[own]
            place[len(own) :] = 0.0
        self.objective.examples = len(indices)


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


@dataclass(frozen=True)
class DenseNetwork:
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
        for name in ("features", "width", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        choices = {
            "activation": ACTIVATIONS,
            "bias": ("vector", "scalar"),
            "opening": ("trained", "pad"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )
        if self.opening == "pad" and self.width < self.features:
            raise ValueError(
                f"`width` is {self.width}, but padding {self.features} features with zeros needs "
                "at least as many; raise it or use a trained opening."
            )

    def controls(
        self,
        grid: pint.TimeGrid,
        metric: Literal["time", "euclidean"] = "time",
        comm: Any = None,
    ) -> pint.ControlSpace:
        """Return the space of the network's controls, the layers being the steps of `grid`.

        A `problem` of these controls divides its examples among the ranks of `comm`, the space
        communicator of `pint.split`; every one of them has all controls.
        """
        biases = self.width if self.bias == "vector" else 1
        fields: dict[str, Any] = {}
        if self.opening == "trained":
            fields["opening_weight"] = pint.SharedControl((self.width, self.features))
            fields["opening_bias"] = pint.SharedControl(biases)
        fields["weight"] = pint.TimeControl((self.width, self.width), metric=metric)
        fields["bias"] = pint.TimeControl(biases, metric=metric)
        fields["classification_weight"] = pint.SharedControl((self.classes, self.width))
        fields["classification_bias"] = pint.SharedControl(self.classes)
        return pint.ControlSpace(grid, comm, **fields)

    def stepper(
        self, x: np.ndarray, examples: int | None = None, comm: Any = None
    ) -> ResidualLayers:
        """Return the layers for the examples `x`, shape (b, features).

        They are this rank's share of `examples` ones, which `comm` divides among its ranks.
        """
        # Residuals are measured by the Euclidean norm divided by the number of examples.
        weight = 1.0 / (examples or len(x))
        space = pint.ArraySpace((self.width, len(x)), weight=weight, comm=comm, axis=1)
        rows = np.zeros((self.features if self.opening == "trained" else self.width, len(x)))
        rows[: self.features] = x.T
        activation = ACTIVATIONS[self.activation]
        opening = (
            TrainedOpening(rows, activation) if self.opening == "trained" else PaddedOpening(rows)
        )
        return ResidualLayers(space, opening, activation)

    def problem(
        self,
        controls: pint.ControlSpace,
        x: np.ndarray,
        labels: np.ndarray,
        regularisation: Regularisation | None = None,
        batch_size: int | None = None,
    ) -> pint.Problem:
        """Return the problem of fitting the examples `x` (M, features) to `labels` (M, classes).

        Every rank is given all examples, and works on its share of them.

        Parameters
        ----------
        controls : ControlSpace
            From `controls`.
        x, labels : ndarray
        regularisation : Regularisation, optional
        batch_size : int, optional
            The objective is the mean over so many examples at a time, at first the first ones;
            `Problem.examples` selects others. By default it is the mean over all of them.

        Raises
        ------
        ValueError
            If the shapes do not fit, a value is not finite, the labels are not one-hot, or the
            batch is larger than the data.
        """
        check_examples(x, labels, self.features, self.classes)
        size = len(x) if batch_size is None else batch_size
        if not isinstance(size, (int, np.integer)) or not 1 <= size <= len(x):
            raise ValueError(
                f"`problem(batch_size=...)` must be an integer from 1 to {len(x)}, the number of "
                f"examples, got {batch_size}."
            )
        weights = regularisation or Regularisation()
        openings = ["opening_weight", "opening_bias"] if self.opening == "trained" else []
        layers = ["weight", "bias"]
        closings = ["classification_weight", "classification_bias"]
        regularisers = (
            pint.Tikhonov(weights.tikhonov, layers),
            pint.Tikhonov(weights.opening, openings),
            pint.Tikhonov(weights.classification, closings),
            pint.Smoothness(weights.smooth, layers),
        )
        comm = controls.part_comm
        own = share(size, comm)
        stepper = self.stepper(x[own], size, comm)
        objective = Classification(labels[own].T.astype(float, order="C"), size, comm)
        batches = None
        if batch_size is not None:
            place = stepper.opening.x[: self.features].T
            batches = Batches(x, labels, place, objective)
        return pint.Problem(
            controls.grid,
            stepper,
            ResidualLayersAdjoint(stepper),
            objective,
            controls,
            [regulariser for regulariser in regularisers if regulariser.gamma > 0],
            batches,
        )

    def random_control(self, controls: pint.ControlSpace, seed: int) -> pint.Control:
        """Return a random control to start from, the same for any number of ranks.

        Opening and classification are normal with deviation 1 over the root of the number of
        inputs; layer weights are a tenth of that, the same for all layers, so that neighbouring
        layers, and the levels of a time grid, resemble each other.
        """
        random = np.random.default_rng(seed)
        deviations = {
            "opening_weight": self.features**-0.5,
            "opening_bias": 1.0,
            "weight": 0.1 * self.width**-0.5,
            "classification_weight": self.width**-0.5,
        }
        values = {
            name: deviations[name] * random.standard_normal(field.shape)
            for name, field in controls.fields.items()
            if name in deviations
        }
        return controls.control(**values)


def check_examples(x: np.ndarray, labels: np.ndarray, features: int, classes: int) -> None:
    """Raise ValueError unless `x` and `labels` are B >= 1 finite examples with one-hot labels."""
    if x.ndim != 2 or x.shape[1] != features or len(x) < 1:
        raise ValueError(f"`x` must have shape (B >= 1, {features}), got {x.shape}.")
    if labels.shape != (len(x), classes):
        raise ValueError(f"`labels` must have shape ({len(x)}, {classes}), got {labels.shape}.")
    if not np.isfinite(x).all():
        raise ValueError("`x` contains NaN or infinity.")
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise ValueError("`labels` must be one-hot: a single 1 and zeros in each row.")
