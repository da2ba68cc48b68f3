"""Classify new data with a network that `train_resnet.py` has saved.

    python examples/train_resnet.py --data digits --network convolutional --save digits.npz
    python examples/classify.py digits.npz --data new.npz --output classes.csv
    python examples/classify.py digits.npz --data digits

FILE.npz holds the weights, FILE.json beside it describes their network. All examples of a file are
classified, with labels or without. Of the other data sets, the examples that were not used in the
training are classified, if options and seed are those of the training. If labels are known, the
program prints accuracy and confusion matrix.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from arguments import Classes, Parser, WeightsInput, integer, is_whole, run
from saved_network import SavedNetwork, load
from training_data import data_options, load_data

from pint.comm import on_root
from pint.report.files import write_atomically
from problems.classification import confusion
from problems.data import read_file


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("classify.py", description="Classify data with a network that has been trained.")
    new.comm = comm
    new.add_argument(
        "weights", type=WeightsInput, metavar="FILE.npz", help="of train_resnet.py --save"
    )
    option = new.add_argument_group("data").add_argument
    data_options(option)
    option("--seed", type=integer(0), default=0, help="of generated data, and of the split")
    option("--part", choices=["test", "training", "all"],
           help="what to classify (files: all, as they are; else: test)")  # fmt: skip
    option = new.add_argument_group("output").add_argument
    option(
        "--output",
        type=Classes,
        metavar="FILE.csv",
        help="class of each example: found and, if known, given",
    )
    option("--probabilities", action="store_true",
           help="also write the probability of each class to --output")  # fmt: skip
    return new


@dataclass(frozen=True)
class Setup:
    """The network, and the examples with the indices of their classes, where these are known."""

    saved: SavedNetwork
    x: np.ndarray
    given: np.ndarray | None
    comm: Any


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Read network and data; ValueError names the option that does not fit."""
    try:
        saved = on_root(comm, lambda: load(options.weights))
    except ValueError as error:
        raise ValueError(f"argument FILE.npz: {error}") from None
    read = read_whole if is_whole(options) else read_part
    x, given = on_root(comm, lambda: read(options, saved))
    return Setup(saved, saved.normalised(x), given, comm)


def read_whole(
    options: argparse.Namespace, saved: SavedNetwork
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all examples of a file, and the indices of their classes if it has labels."""
    try:
        return read_file(options.data, saved.network.example_shape, saved.classes, options.label)
    except ValueError as error:
        raise ValueError(f"argument --data: {error}") from None


def read_part(options: argparse.Namespace, saved: SavedNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Return a part of a data set, split as for the training, and the indices of the classes."""
    shape = saved.network.example_shape
    data = load_data(options, flat=len(shape) == 1, normalise=False)
    parts = {"training": [(data.x, data.labels)], "test": [(data.x_test, data.labels_test)]}
    chosen = parts.get(options.part or "test", parts["training"] + parts["test"])
    x, labels = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    if x.shape[1:] != shape:
        raise ValueError(
            f"argument --data: the network takes examples of shape {shape}, these have "
            f"{x.shape[1:]}"
        )
    if data.classes != saved.classes:
        raise ValueError(
            f"argument --data: the network knows the classes {', '.join(saved.classes)}, the data "
            f"has {', '.join(data.classes)}"
        )
    return x, labels.argmax(axis=1)


def work(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Classify, print and write; the first rank does it."""
    return on_root(setup.comm, lambda: classify(options, setup))


def classify(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Classify, print and write. Not collective."""
    warn_of_scale(setup)
    names, given = setup.saved.classes, setup.given
    found = setup.saved.classify(setup.x)
    numbers: dict[str, Any] = {"examples": len(found), "accuracy": None}
    print(f"{'examples':20s}{len(found)}")
    print(f"{'class':20s}" + "".join(f"{name[:6]:>7}" for name in names) + "   (found)")
    if given is None:
        print_row("all", np.bincount(found, minlength=len(names)))
    else:
        numbers["accuracy"] = 100.0 * float((found == given).mean())
        for name, counts in zip(names, confusion(given, found, len(names)), strict=True):
            print_row(name, counts)
        print(f"{'accuracy':20s}{numbers['accuracy']:.2f} %")
    if options.output:
        write_table(options, setup, found)
    return numbers


def write_table(options: argparse.Namespace, setup: Setup, found: np.ndarray) -> None:
    """Write a row for each example to ``--output``. Not collective."""
    names = setup.saved.classes
    columns: dict[str, list[Any]] = {"example": list(range(len(found)))}
    columns["found"] = [names[index] for index in found]
    if setup.given is not None:
        columns["given"] = [names[index] for index in setup.given]
    if options.probabilities:
        of_classes = setup.saved.probabilities(setup.x).T.tolist()
        columns |= {f"P({name})": one for name, one in zip(names, of_classes, strict=True)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values(), strict=True))
    write_atomically(options.output, lambda file: file.write(text.getvalue().encode()))


def print_row(name: str, counts: np.ndarray) -> None:
    """Print how many examples were found in each class."""
    print(f"{name[:19]:20s}" + "".join(f"{count:7d}" for count in counts))


def warn_of_scale(setup: Setup) -> None:
    """Print a warning if the examples are far outside of what the network was trained with."""
    least, most = setup.saved.inputs
    low, high = setup.x.min(), setup.x.max()
    if low < 2 * least - most or high > 2 * most - least:
        print(
            f"classify.py: warning: inputs from {low:.3g} to {high:.3g}, those of the training "
            f"are from {least:.3g} to {most:.3g}: are they scaled alike?",
            file=sys.stderr,
        )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, work, sizes="--examples")


if __name__ == "__main__":
    main()
