"""The result of all loaders, and their common parts: class indices, and stratified splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Normalisation:
    """``(x - mean) * factor``, for each feature or channel.

    Attributes
    ----------
    mean, factor : ndarray, shape (features,) or (channels, 1, 1)
    """

    mean: np.ndarray
    factor: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return examples `x`, shape (B, ...), normalised."""
        return (x - self.mean) * self.factor

    def flattened(self, shape: tuple[int, ...]) -> Normalisation:
        """Return the same for examples that have been flattened and were of `shape`."""
        mean, factor = (np.broadcast_to(part, shape).ravel() for part in (self.mean, self.factor))
        return Normalisation(mean, factor)


@dataclass(frozen=True)
class Dataset:
    """Examples with their classes, in a part to train on and one to test with.

    Attributes
    ----------
    x : ndarray of float64, shape (B, features) or (B, channels, height, width)
        Training examples; pixels of image files lie between 0 and 1.
    labels : ndarray of float64, shape (B, classes)
        One-hot rows.
    classes : tuple of str
        Names of the classes, in the order of the columns of `labels`.
    x_test, labels_test : ndarray
        Test examples, likewise; none of them is a training example.
    normalisation : Normalisation or None
        What the examples have been normalised with.
    """

    x: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    x_test: np.ndarray
    labels_test: np.ndarray
    normalisation: Normalisation | None = None

    def flattened(self) -> Dataset:
        """Return the same with x of shape (B, features), as dense networks take it."""
        parts = {name: getattr(self, name) for name in ("x", "x_test")}
        flat: dict[str, Any] = {name: x.reshape(len(x), -1) for name, x in parts.items()}
        if self.normalisation is not None:
            flat["normalisation"] = self.normalisation.flattened(self.x.shape[1:])
        return replace(self, **flat)

    def normalised(self) -> Dataset:
        """Return the same with each feature, or channel, of mean 0 and deviation 1 in `x`.

        The test part is normalised by the mean and deviation of the training part, too. A feature
        that is constant in the training part becomes 0 in both.
        """
        axes = (0, *range(2, self.x.ndim))
        mean = self.x.mean(axis=axes, keepdims=True)
        # Rounding can give a constant a deviation of 1e-17.
        constant = self.x.min(axis=axes, keepdims=True) == self.x.max(axis=axes, keepdims=True)
        factor = np.where(
            constant, 0.0, 1.0 / np.where(constant, 1.0, self.x.std(axis=axes, keepdims=True))
        )
        by = Normalisation(mean[0], factor[0])
        return replace(self, x=by(self.x), x_test=by(self.x_test), normalisation=by)


@dataclass(frozen=True)
class Content:
    """The content of a data set's files, with or without a test part of its own.

    Attributes
    ----------
    origin : str
        What messages call the data set.
    x : ndarray of real numbers, shape (B, features) or (B, channels, height, width)
    indices : ndarray of int, shape (B,)
        The class of each example, an index into `names`.
    names : tuple of str
    x_test, indices_test : ndarray or None
    largest : float
        x is divided by it: the value of a white pixel.
    """

    origin: str
    x: np.ndarray
    indices: np.ndarray
    names: tuple[str, ...]
    x_test: np.ndarray | None = None
    indices_test: np.ndarray | None = None
    largest: float = 1.0

    def dataset(
        self, examples: int | None, test_examples: int | None, test_fraction: float, seed: int
    ) -> Dataset:
        """Return the requested numbers of training and test examples, in proportion to the classes.

        Parameters
        ----------
        examples, test_examples : int or None
            None takes all, of a data set without a test part `test_fraction` for the tests.
        test_fraction : float
        seed : int
            Of the random choice.

        Raises
        ------
        ValueError
            If there are too few examples, in all or of one class.
        """
        if self.x_test is None or self.indices_test is None:
            x_test, indices_test = self.x, self.indices
            count = test_examples or round(test_fraction * len(self.indices))
            argument = "test_examples" if test_examples else "test_fraction"
            test, train = self._chosen(self.indices, count, seed, argument, True)
        else:
            x_test, indices_test = self.x_test, self.indices_test
            train, test = np.arange(len(self.indices)), np.arange(len(indices_test))
            if test_examples and test_examples != len(test):
                test, _ = self._chosen(indices_test, test_examples, seed, "test_examples", False)
        if examples and examples != len(train):
            part, _ = self._chosen(self.indices[train], examples, seed, "examples", False)
            train = train[part]
        one_hot = np.eye(len(self.names))
        return Dataset(
            np.divide(self.x[train], self.largest, dtype=float),
            one_hot[self.indices[train]],
            self.names,
            np.divide(x_test[test], self.largest, dtype=float),
            one_hot[indices_test[test]],
        )

    def _chosen(
        self, indices: np.ndarray, count: int, seed: int, argument: str, split: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            return stratified(indices, count, seed, split)
        except ValueError as error:
            asked = "asks for" if argument == "test_fraction" else "is"
            raise ValueError(f"`{argument}` {asked} {count}, but {self.origin} {error}.") from None


def stratified(
    indices: np.ndarray, count: int, seed: int, split: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Choose examples at random, of each class in proportion to its size, and at least one.

    With `split`, the other examples are used as well, and contain at least one of each class. The
    counts by class are those of the Sainte-Laguë apportionment; example number k = 0, 1, ... of the
    n in a class, in random order, has rank (k + 1/2)/n, and the lowest ranks are chosen. The choice
    is the same on every rank of a parallel run.

    Parameters
    ----------
    indices : ndarray of int, shape (B,)
        The class of each example.
    count : int
    seed : int
    split : bool

    Returns
    -------
    chosen, remaining : ndarray of int
        Positions in `indices`, ascending, `count` and B - count of them.

    Raises
    ------
    ValueError
        If a class has too few examples, or `count` leaves a class without a chosen or a remaining
        example.
    """
    _, classes, sizes = np.unique(indices, return_inverse=True, return_counts=True)
    if sizes.size == 0 or (split and sizes.min() < 2):
        raise ValueError("has a class with fewer than two examples, too few to split it")
    most = len(classes) - (len(sizes) if split else 0)
    if not len(sizes) <= count <= most:
        raise ValueError(
            f"has {len(classes)} examples in {len(sizes)} classes: from {len(sizes)} to {most} "
            "can be chosen so that some of each class are" + (" and some are not" if split else "")
        )
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    size = sizes[classes[by_class]]
    position = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = (position + 0.5) / size
    rank[position == 0] = 0.0
    if split:
        rank[position == size - 1] = 1.0
    order = by_class[np.argsort(rank, kind="stable")]
    return np.sort(order[:count]), np.sort(order[count:])


def class_labels(labels: np.ndarray, origin: str) -> np.ndarray:
    """Return the labels as integers, or as names of classes.

    Parameters
    ----------
    labels : ndarray, shape (B,)
        Whole numbers, also as text, or names.
    origin : str
        What messages call the labels.

    Raises
    ------
    ValueError
        If the labels are numbers that are not whole, or names are empty.
    """
    if labels.dtype.kind == "U":
        labels = np.char.strip(labels)
        try:
            labels = labels.astype(float)
        except ValueError:
            bad = [name for name in np.unique(labels) if not name or not name.isprintable()]
            if bad:
                kind = f"the label {str(bad[0])!r}" if bad[0] else "an empty label"
                raise ValueError(
                    f"{origin} has {kind}; expected a name in one line for each example."
                ) from None
    if labels.dtype.kind == "f":
        exact = (np.abs(labels) < 2.0**53) & (labels == np.round(labels))  # NaN is not
        if not exact.all():
            raise ValueError(
                f"{origin} has the label {labels[~exact][0]:g}; expected whole numbers below 2^53, "
                "or names of classes."
            )
        labels = labels.astype(int)
    return labels


def class_indices(labels: np.ndarray, origin: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the class of each example and the names of the classes, in ascending order.

    `labels` and `origin` are those of `class_labels`.

    Raises
    ------
    ValueError
        Like `class_labels`, or if all labels are the same.
    """
    found, indices = np.unique(class_labels(labels, origin), return_inverse=True)
    if len(found) < 2:
        raise ValueError(f"{origin} has labels of one class only; expected two classes or more.")
    return indices.reshape(-1), tuple(str(name) for name in found)


def check_finite(x: np.ndarray, origin: str) -> None:
    """Raise ValueError if `x` contains NaN or infinity, or will as float64."""
    with np.errstate(over="ignore"):
        finite = x.dtype.kind in "iu" or np.isfinite(x.astype(float, copy=False)).all()
    if not finite:
        raise ValueError(f"{origin} contains NaN or infinity; expected finite numbers.")
