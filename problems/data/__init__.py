"""Data sets to train networks with: built in, generated, and in files of the usual formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from problems import peaks
from problems.data import archive, digits, idx, indian_pines, spectra, table
from problems.data.dataset import Dataset, Examples

__all__ = ["FOLDERS", "GENERATED", "NAMES", "Dataset", "load"]

GENERATED: dict[str, Any] = {"peaks": peaks.generate, "spectra": spectra.generate}
FOLDERS: dict[str, Any] = {
    "mnist": lambda folder: idx.read_folder(folder, idx.DIGITS),
    "fashion-mnist": lambda folder: idx.read_folder(folder, idx.CLOTHES),
    "indian-pines": indian_pines.read_folder,
}
NAMES = (*GENERATED, "digits", *FOLDERS)
"""What `load` takes beside names of files."""
NORMALISED = ("spectra", "indian-pines")
TEST_SEED = 1_000_000  # is added to the seed


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    examples: int | None = None,
    test_examples: int | None = None,
    test_fraction: float = 0.25,
    seed: int = 0,
    label: str | None = None,
) -> Dataset:
    """Return a data set with a part to train on and one to test with.

    The same arguments give the same data, so that every rank of a parallel run may load them. Not
    collective.

    Parameters
    ----------
    name : str
        ``'peaks'``, ``'spectra'``: generated. ``'digits'``: needs scikit-learn. ``'mnist'``,
        ``'fashion-mnist'``, ``'indian-pines'``: their usual files, in `folder`. Else the name of a
        file, ``.npz`` (see `problems.data.archive`) or ``.csv`` (see `problems.data.table`). The
        bands of spectra and Indian Pines are normalised, see `Dataset.normalised`.
    folder : str or Path, optional
        Where the files of a named set are.
    examples, test_examples : int, optional
        How many to train on and to test with, chosen at random in proportion to the classes. By
        default all; of generated sets 2000, and a quarter as many for the test but at least 500.
    test_fraction : float
        The part of the examples that is for the test, where the files do not say.
    seed : int
        Of the choice, or of generated examples.
    label : str, optional
        The column of a CSV file that holds the labels; by default the last.

    Raises
    ------
    ValueError
        If there is no such data set, a file is missing, broken or not what it should be, or has
        too few examples. The message is one line that names the file.
    """
    for argument, count in (("examples", examples), ("test_examples", test_examples)):
        if count is not None and count < 1:
            raise ValueError(f"`{argument}` must be at least 1, got {count}.")
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be between 0 and 1, got {test_fraction}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    if label is not None and Path(name).suffix.lower() != ".csv":
        raise ValueError(f"`label` names a column of a CSV file, and {name!r} is none.")
    if folder is not None and name not in FOLDERS:
        raise ValueError(
            f"`folder` is for {', '.join(FOLDERS)}, and not for {name!r}; give the path of a file "
            "as its name."
        )
    if name in GENERATED:
        data = _generated(name, examples or 2000, test_examples, seed)
    else:
        content = _content(name, folder, label)
        data = content.dataset(examples, test_examples, test_fraction, seed)
    return data.normalised() if name in NORMALISED else data


def _generated(name: str, examples: int, test_examples: int | None, seed: int) -> Dataset:
    generate = GENERATED[name]
    x, labels = generate(examples, seed)
    x_test, labels_test = generate(test_examples or max(500, examples // 4), seed + TEST_SEED)
    classes = tuple(str(index) for index in range(labels.shape[1]))
    return Dataset(x, labels, classes, x_test, labels_test)


def _content(name: str, folder: str | Path | None, label: str | None) -> Examples:
    if name in FOLDERS:
        if folder is None or not Path(folder).is_dir():
            raise ValueError(
                f"{name} is read from a folder that holds its files, and "
                + ("none is given." if folder is None else f"{folder} is no folder.")
            )
        return FOLDERS[name](folder)
    if name == "digits":
        return digits.read()
    suffix = Path(name).suffix.lower()
    if suffix == ".npz":
        return archive.read(name)
    if suffix == ".csv":
        return table.read(name, label)
    raise ValueError(
        f"there is no data set {name!r}; expected {', '.join(NAMES)} or a file .npz or .csv."
    )
