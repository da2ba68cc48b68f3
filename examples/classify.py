"""Classify new data with a network that `train_resnet.py` has saved.

    python examples/train_resnet.py --data digits --network convolutional --save digits.npz
    python examples/classify.py digits.npz --data digits --output classes.csv

The weights are in FILE.npz, what they are the weights of in FILE.json beside it. Data is read as by
`train_resnet.py`; with the same options and seed, the examples that were not trained are classified
(`--part test`). Where labels are known, accuracy and confusion matrix are printed.
"""

from __future__ import annotations

import argparse
import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from arguments import Parser, check_outputs, integer, run
from saved_network import SavedNetwork, load
from training_data import data_options, load_data

from pint.comm import on_root
from pint.files import write_atomically
from problems.resnet import confusion


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("classify.py", description="Classify data with a network that has been trained.")
    new.comm = comm
    new.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    new.add_argument("weights", metavar="FILE.npz", help="of train_resnet.py --save")
    option = new.add_argument_group("data").add_argument
    data_options(option)
    option("--seed", type=integer(0), default=0, help="of generated data, and of the split")
    option("--part", choices=["test", "training", "all"], default="test", help="what to classify")
    option = new.add_argument_group("output").add_argument
    option("--output", metavar="FILE.csv", help="class found and class given of each example")
    new.set_defaults(plot=None)
    return new


@dataclass(frozen=True)
class Setup:
    """The network, and the examples with their labels."""

    saved: SavedNetwork
    x: np.ndarray
    labels: np.ndarray
    comm: Any


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Read network and data; ValueError names the option that does not fit."""
    on_root(comm, lambda: check_outputs(options, "output"))
    try:
        saved = load(options.weights)
    except ValueError as error:
        raise ValueError(f"argument FILE.npz: {error}") from None
    shape = saved.network.example_shape
    data = on_root(comm, lambda: load_data(options, flat=len(shape) == 1))
    parts = {
        "test": (data.x_valid, data.y_valid),
        "training": (data.x_train, data.y_train),
        "all": tuple(
            np.concatenate(both)
            for both in ((data.x_train, data.x_valid), (data.y_train, data.y_valid))
        ),
    }
    x, y = parts[options.part]
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
    return Setup(saved, x, y.argmax(axis=1), comm)


def work(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Classify, print and write; the first rank does it."""

    def on_first_rank() -> dict[str, Any]:
        names = setup.saved.classes
        found = setup.saved.classify(setup.x)
        right = 100.0 * float((found == setup.labels).mean())
        print(f"{'examples':20s}{len(found)}")
        print(f"{'accuracy':20s}{right:.2f} %")
        print(f"{'class':20s}" + "".join(f"{name[:6]:>7}" for name in names) + "   (found)")
        counts = confusion(setup.labels, found, len(names))
        for name, row in zip(names, counts, strict=True):
            print(f"{name[:19]:20s}" + "".join(f"{count:7d}" for count in row))
        if options.output:
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["example", "found", "given"])
            for index, (mine, given) in enumerate(zip(found, setup.labels, strict=True)):
                table.writerow([index, names[mine], names[given]])
            write_atomically(options.output, lambda file: file.write(text.getvalue().encode()))
        return {"examples": len(found), "accuracy": right}

    return on_root(setup.comm, on_first_rank)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, work, sizes="--examples")


if __name__ == "__main__":
    main()
