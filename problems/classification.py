"""Classification of a network's last states: objective, accuracy, batches of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

import pint
from pint.comm import SerialComm, reduce
from pint.interface import Fields


class Readout(ABC):
    """How a state becomes the features that are classified: a linear map p."""

    @abstractmethod
    def features(self, y: Any) -> Any:
        """Return the features of a state, shape (features, B)."""

    @abstractmethod
    def transposed(self, features: Any, shape: tuple[int, ...]) -> Any:
        """Return the transpose of `features`, of the shape of the state."""


class WholeState(Readout):
    """The state, a matrix of shape (features, B), is classified as it is."""

    def features(self, y: Any) -> Any:
        return y

    def transposed(self, features: Any, shape: tuple[int, ...]) -> Any:
        return features


class Classification(pint.Objective):
    """Softmax cross-entropy of ``z = W p(y_N) + mu``, averaged over the examples.

    Parameters
    ----------
    labels : ndarray, shape (classes, b)
        One-hot columns, those of this rank's examples; a column of zeros is no example.
    examples : int, optional
        Number of examples on all ranks; by default that of the columns.
    comm : communicator, optional
        The ranks that the examples are divided among.
    readout : Readout, optional
        p; by default the whole state is classified.
    """

    def __init__(
        self,
        labels: np.ndarray,
        examples: int | None = None,
        comm: Any = None,
        readout: Readout | None = None,
    ) -> None:
        self.labels = labels
        self.readout = WholeState() if readout is None else readout
        self.examples = labels.shape[1] if examples is None else examples
        self.comm = SerialComm() if comm is None else comm

    def terminal(self, y: Any, theta: Fields) -> Any:
        z, exp_z = self._logits(self.readout.features(y), theta)
        loss = (self.labels * (np.log(exp_z.sum(axis=0)) - z)).sum()
        if self.comm.size > 1:
            loss = reduce(self.comm, loss)[0]
        return loss / self.examples

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        features = self.readout.features(y)
        _, error = self._logits(features, theta)
        error /= error.sum(axis=0)
        error *= self.labels.sum(axis=0)
        error -= self.labels
        error /= self.examples
        of_features = theta["classification_weight"].T @ error
        return self.readout.transposed(of_features, y.shape), {
            "classification_weight": error @ features.T,
            "classification_bias": error.sum(axis=1),
        }

    @staticmethod
    def _logits(features: Any, theta: Fields) -> tuple[Any, Any]:
        """Return z, shifted so that exponentials cannot overflow, and exp z."""
        z = logits(features, theta)
        z -= z.real.max(axis=0)
        return z, np.exp(z)


def logits(features: np.ndarray, theta: Fields) -> np.ndarray:
    """Return ``W features + mu``, shape (classes, B)."""
    return theta["classification_weight"] @ features + theta["classification_bias"][:, None]


def accuracy(features: np.ndarray, theta: Fields, labels: np.ndarray, comm: Any = None) -> float:
    """Return the percentage of examples whose largest logit is that of their class.

    The examples, columns of `features` and one-hot columns of `labels`, are divided among the
    ranks of `comm`, by default on one rank; columns of zeros do not count. Collective on `comm`.
    """
    right = logits(features, theta).argmax(axis=0) == labels.argmax(axis=0)
    there = labels.any(axis=0)
    hits, examples = reduce(comm or SerialComm(), [(right & there).sum(), there.sum()])
    return 100.0 * float(hits / examples)


def confusion(given: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Return how many examples of each class (row) were found to be of each class (column)."""
    counts = np.bincount(given * classes + found, minlength=classes**2)
    return counts.reshape(classes, classes)


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
    place : callable
        Returns where the network reads this rank's share of the batch: a view with the examples
        first, shape (b, ...).
    objective : Classification
        Made with the size of the batch, and the communicator that shares it.
    """

    def __init__(
        self,
        x: np.ndarray,
        labels: np.ndarray,
        place: Callable[[], np.ndarray],
        objective: Classification,
    ) -> None:
        self.count, self.batch_size = len(x), objective.examples
        self.objective = objective
        self.share = share(self.batch_size, objective.comm)
        # Arrays that nobody can change need no copy, which might be as large as all else.
        self._x, self._labels = (
            values.copy() if values.flags.writeable else values for values in (x, labels)
        )
        self._place = place

    def select(self, indices: np.ndarray) -> None:
        indices = np.asarray(indices)
        if indices.ndim != 1 or not 1 <= len(indices) <= self.batch_size:
            raise ValueError(
                f"`select(indices)` must be 1 to {self.batch_size} numbers of examples, "
                f"got shape {indices.shape}."
            )
        whole = indices.dtype.kind in "iu"
        if not whole or indices.min() < 0 or indices.max() >= self.count:
            got = f"{indices.min()} to {indices.max()}" if whole else f"an array of {indices.dtype}"
            raise ValueError(
                f"`select(indices)` must be integers from 0 to {self.count - 1}, got {got}."
            )
        own = indices[self.share]
        # Views are made anew: copies of all parts together have arrays of their own.
        pairs = ((self._x, self._place()), (self._labels, self.objective.labels.T))
        for source, place in pairs:
            place[: len(own)] = source[own]
            place[len(own) :] = 0.0
        self.objective.examples = len(indices)
