"""Data sets to train networks with: built in, generated, and in files of the usual formats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from problems import peaks
from problems.data import archive, digits, idx, indian_pines, spectra, table
from problems.data.dataset import Content, Dataset, Normalisation

__all__ = ["FOLDERS", "GENERATED", "NAMES", "Dataset", "Normalisation", "load", "read_file"]

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
    normalise: bool | None = None,
) -> Dataset:
    """Return a data set with a part to train on and one to test with.

    The same arguments give the same data, so that every rank of a parallel run may load them. Not
    collective.

    Parameters
    ----------
    name : str
        ``'peaks'``, ``'spectra'``: generated. ``'digits'``: needs scikit-learn. ``'mnist'``,
        ``'fashion-mnist'``, ``'indian-pines'``: their usual files, in `folder`. Else the name of a
        file, ``.npz`` (see `problems.data.archive`) or ``.csv`` (see `problems.data.table`).
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
    normalise : bool, optional
        Whether each feature, or channel, is normalised, see `Dataset.normalised`; by default the
        bands of spectra and of Indian Pines are.

    Raises
    ------
    ValueError
        If there is no such data set, a file is missing, damaged or of another kind, or it has
        too few examples. The message is one line that names the file.
    """
    for argument, count in (("examples", examples), ("test_examples", test_examples)):
        if count is not None and count < 1:
            raise ValueError(f"`{argument}` must be at least 1, got {count}.")
    if not 0 < test_fraction < 1:
        raise ValueError(f"`test_fraction` must be between 0 and 1, got {test_fraction}.")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0, got {seed}.")
    _check_label(label, name)
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
    normalise = name in NORMALISED if normalise is None else normalise
    return data.normalised() if normalise else data


def read_file(
    path: str | Path,
    shape: tuple[int, ...],
    classes: tuple[str, ...],
    label: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all examples of a file, labelled or not, for a trained network.

    Not collective.

    Parameters
    ----------
    path : str or Path
        ``.npz`` or ``.csv``, as for `load`, but the labels may be missing.
    shape : tuple of int
        Of one example. Features may be stored as images and the other way round.
    classes : tuple of str
        Names of the network's classes.
    label : str, optional
        The column of a CSV file that holds the labels.

    Returns
    -------
    x : ndarray of float64, shape (B, ...)
    labels : ndarray of int, shape (B,), or None
        Indices into `classes`. In the file, labels are their names, or all are numbers from 0.

    Raises
    ------
    ValueError
        If the file is missing, broken, or has examples of another shape or unknown classes.
    """
    if Path(path).suffix.lower() == ".csv":
        x, labels = table.read_unsplit(path, math.prod(shape), label)
    else:
        _check_label(label, path)
        x, labels = archive.read_unsplit(path, classes)
    images = x.ndim > 2 and len(shape) > 1
    if x[0].size != math.prod(shape) or (images and x.shape[1:] != shape):
        raise ValueError(
            f"{path} has examples of shape {x.shape[1:]}; expected {shape}, as the network was "
            "trained with."
        )
    known = None if labels is None else _indices(path, labels, classes)
    return x.reshape(len(x), *shape), known


def _indices(path: str | Path, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    names, places = np.unique(labels.astype(str), return_inverse=True)
    for known in (classes, tuple(str(number) for number in range(len(classes)))):
        if set(names) <= set(known):
            return np.array([known.index(name) for name in names])[places.reshape(-1)]
    unknown = next(name for name in names if name not in classes)
    raise ValueError(
        f"{path} has the label {str(unknown)!r}; expected names of the network's classes, "
        f"{', '.join(classes)}, or their numbers from 0."
    )


def _check_label(label: str | None, name: str | Path) -> None:
    if label is not None and Path(name).suffix.lower() != ".csv":
        raise ValueError(f"`label` names a column of a CSV file, and {str(name)!r} is none.")


def _generated(name: str, examples: int, test_examples: int | None, seed: int) -> Dataset:
    generate = GENERATED[name]
    x, labels = generate(examples, seed)
    x_test, labels_test = generate(test_examples or max(500, examples // 4), seed + TEST_SEED)
    classes = tuple(str(index) for index in range(labels.shape[1]))
    return Dataset(x, labels, classes, x_test, labels_test)


def _content(name: str, folder: str | Path | None, label: str | None) -> Content:
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
