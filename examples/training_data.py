"""The data sets of the example programs: built in, generated, and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from arguments import integer

from pint.files import load_arrays
from problems import data
from problems.resnet import check_examples

TRAINING_FILE = ("x_train", "y_train", "x_valid", "y_valid")


@dataclass(frozen=True)
class Data:
    """Examples along the first axis, labels one-hot, and the names of the classes."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    classes: tuple[str, ...]


def data_options(option: Callable[..., Any]) -> None:
    """Add the options that `load_data` reads, by the function `option`."""
    names = ", ".join(data.NAMES)
    option("--data", default="peaks", metavar="NAME|FILE",
           help=f"{names}, FILE.npz with x_train, y_train (one-hot), x_valid, y_valid, or any "
           "other FILE.npz or FILE.csv of examples and labels")  # fmt: skip
    option("--data-folder", metavar="DIR",
           help=f"where the files of {', '.join(data.FOLDERS)} are")  # fmt: skip
    option("--examples", type=integer(1), metavar="B",
           help="training examples (generated data: 2000)")  # fmt: skip
    option("--test-examples", type=integer(1), metavar="B", help="of those that are not trained")


def load_data(options: argparse.Namespace, flat: bool) -> Data:
    """Return the data set that the options name, with examples as vectors if `flat`.

    A ValueError says in one line what is wrong with it.
    """
    if options.data.endswith(".npz"):
        arrays = _arrays(options)
        if flat and any(name in arrays for name in TRAINING_FILE):
            return _training_file(options, arrays)
    try:
        found = data.load(
            options.data,
            options.data_folder,
            examples=options.examples,
            test_examples=options.test_examples,
            seed=options.seed,
        )
    except ValueError as error:
        generated = options.data in data.GENERATED
        name = "--examples" if generated else "--data"
        raise ValueError(f"argument {name}: {error}") from None
    found = found.flattened() if flat else found
    return Data(found.x, found.labels, found.x_test, found.labels_test, found.classes)


def _arrays(options: argparse.Namespace) -> dict[str, np.ndarray]:
    try:
        return load_arrays(options.data)
    except OSError as error:
        raise ValueError(
            f"argument --data: cannot read {options.data!r}: {error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ValueError(f"argument --data: {error}") from None


def _training_file(options: argparse.Namespace, arrays: dict[str, np.ndarray]) -> Data:
    """Return the first examples of a file that has been split into two parts already."""
    missing = [name for name in TRAINING_FILE if name not in arrays]
    if missing:
        raise ValueError(f"argument --data: {options.data!r} has no array {', '.join(missing)}")
    for name in TRAINING_FILE:
        if arrays[name].ndim != 2 or not arrays[name].size or arrays[name].dtype.kind not in "iuf":
            raise ValueError(
                f"argument --data: {name} must be a matrix of real numbers, not empty, "
                f"got shape {arrays[name].shape} of {arrays[name].dtype}"
            )
    with np.errstate(over="ignore"):  # infinity is reported below
        x_train, y_train, x_valid, y_valid = (arrays[name].astype(float) for name in TRAINING_FILE)
    if options.examples and options.examples > len(x_train):
        raise ValueError(
            f"argument --examples: {options.data!r} has {len(x_train)}, not {options.examples}"
        )
    count = options.examples or len(x_train)
    for x, y, part in ((x_train, y_train, "train"), (x_valid, y_valid, "valid")):
        try:
            check_examples(x, y, x_train.shape[1], y_train.shape[1])
        except ValueError as error:
            message = str(error).replace("`x`", f"x_{part}").replace("`labels`", f"y_{part}")
            raise ValueError(f"argument --data: {options.data!r}: {message}") from None
    classes = tuple(str(index) for index in range(y_train.shape[1]))
    chosen = slice(options.test_examples)
    return Data(x_train[:count], y_train[:count], x_valid[chosen], y_valid[chosen], classes)
