"""The data sets of the example programs: built in, generated, and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from arguments import Folder, data_set, integer

from problems import data

OPTIONS = {
    "folder": "data-folder",
    "examples": "examples",
    "test_examples": "test-examples",
    "label": "label",
}
"""By the arguments of `problems.data.load`."""


def data_options(option: Callable[..., Any]) -> None:
    """Add the options that `load_data` reads, by the function `option`."""
    names = ", ".join(data.NAMES)
    option("--data", type=data_set, default="peaks", metavar="NAME|FILE",
           help=f"{names}, or FILE.npz, FILE.csv of examples and labels")  # fmt: skip
    option("--data-folder", type=Folder, metavar="DIR",
           help=f"where the files of {', '.join(data.FOLDERS)} are")  # fmt: skip
    option("--label", metavar="COLUMN", help="of a CSV file that holds the labels (the last)")
    option("--examples", type=integer(1), metavar="B",
           help="training examples (generated data: 2000)")  # fmt: skip
    option("--test-examples", type=integer(1), metavar="B",
           help="number of the examples that are not trained (all)")  # fmt: skip


def load_data(
    options: argparse.Namespace, flat: bool, normalise: bool | None = None
) -> data.Dataset:
    """Return the data set that the options name, with examples as vectors if `flat`.

    A ValueError says in one line what is wrong with it.
    """
    try:
        found = data.load(
            options.data,
            options.data_folder,
            examples=options.examples,
            test_examples=options.test_examples,
            seed=options.seed,
            label=options.label,
            normalise=normalise,
        )
    except ValueError as error:
        name = next((name for name in OPTIONS if str(error).startswith(f"`{name}`")), "data")
        raise ValueError(f"argument --{OPTIONS.get(name, name)}: {error}") from None
    return found.flattened() if flat else found
