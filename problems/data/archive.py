"""Data sets in `.npz` archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pint.report.archives import load_arrays
from problems.data.dataset import Content, check_finite, class_indices, class_labels

KEYS = {
    "x": ("x", "x_train"),
    "y": ("y", "labels", "y_train"),
    "x_test": ("x_test", "x_valid"),
    "y_test": ("y_test", "labels_test", "y_valid"),
}


def read(path: str | Path) -> Content:
    """Return the examples of an archive, with a test part if it holds one.

    Parameters
    ----------
    path : str or Path
        Holds ``x`` (or ``x_train``), shape (B, features), (B, height, width) or (B, channels,
        height, width), and ``y`` (or ``labels``, ``y_train``): a whole number or a name for each
        example, or one-hot rows. The test part is ``x_test`` and ``y_test`` (or ``x_valid``,
        ``labels_test``, ``y_valid``). Unsigned bytes are pixels, and 255 is white.

    Raises
    ------
    ValueError
        If the file cannot be read, arrays are missing, or do not fit together.
    """
    arrays, keys = _load(path)
    _require(path, arrays, keys, "x", "y")
    if (keys["x_test"] is None) != (keys["y_test"] is None):
        there, missing = ("x_test", "y_test") if keys["x_test"] else ("y_test", "x_test")
        raise ValueError(
            f"{path} has {keys[there]}, but no array {' or '.join(KEYS[missing])}; expected both "
            "or none."
        )
    x = _examples(path, str(keys["x"]), arrays)
    labels = _labels(path, str(keys["y"]), arrays, len(x))
    largest = _largest(x)
    if keys["x_test"] is None:
        indices, names = _classes(path, str(keys["y"]), labels)
        return Content(str(path), x, indices, names, largest=largest)
    x_test = _examples(path, str(keys["x_test"]), arrays)
    labels_test = _labels(path, str(keys["y_test"]), arrays, len(x_test))
    for name, one, other in (
        (keys["x_test"], x_test.shape[1:], x.shape[1:]),
        (keys["x_test"], x_test.dtype == np.uint8, x.dtype == np.uint8),
        (keys["y_test"], labels_test.shape[1:], labels.shape[1:]),
        (keys["y_test"], labels_test.dtype.kind == "U", labels.dtype.kind == "U"),
    ):
        if one != other:
            first = keys["x"] if name == keys["x_test"] else keys["y"]
            raise ValueError(
                f"{path}: {name} is {_kind(arrays[str(name)])}, but {first} "
                f"{_kind(arrays[str(first)])}; expected examples of one kind."
            )
    both, names = _classes(path, str(keys["y"]), np.concatenate([labels, labels_test]))
    indices, indices_test = both[: len(x)], both[len(x) :]
    unknown = np.setdiff1d(indices_test, indices)
    if unknown.size and labels.ndim == 1:
        raise ValueError(
            f"{path}: {keys['y_test']} has the class {names[unknown[0]]}, which {keys['y']} has "
            "not; expected examples to train on of each class."
        )
    return Content(str(path), x, indices, names, x_test, indices_test, largest)


def read_unsplit(
    path: str | Path, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all examples of an archive, those of a test part last, with or without labels.

    Parameters
    ----------
    path : str or Path
        As for `read`, but the labels may be missing.
    classes : tuple of str
        Names for the columns of one-hot labels.

    Returns
    -------
    x : ndarray of float64, shape (B, features) or (B, channels, height, width)
    labels : ndarray, shape (B,), or None
        Whole numbers or names; None if some have none.

    Raises
    ------
    ValueError
        If the file cannot be read, has no examples, or arrays do not fit together.
    """
    arrays, keys = _load(path)
    parts = [part for part in ("", "_test") if keys["x" + part] is not None]
    if not parts:
        _require(path, arrays, keys, "x")
    x, labels = [], []
    for part in parts:
        x.append(_examples(path, str(keys["x" + part]), arrays))
        key = keys["y" + part]
        if key is not None:
            found = _labels(path, key, arrays, len(x[-1]))
            if found.ndim == 2 and found.shape[1] != len(classes):
                raise ValueError(
                    f"{path}: {key} has one-hot rows of {found.shape[1]} classes; expected those "
                    f"of the network, {len(classes)}."
                )
            names = found if found.ndim == 1 else np.array(classes)[found.argmax(axis=1)]
            labels.append(class_labels(names, f"{path}: {key}"))
    if x[0].shape[1:] != x[-1].shape[1:]:
        raise ValueError(
            f"{path}: {keys['x_test']} is {_kind(arrays[str(keys['x_test'])])}, but {keys['x']} "
            f"{_kind(arrays[str(keys['x'])])}; expected examples of one kind."
        )
    scaled = [np.divide(part, _largest(part), dtype=float) for part in x]
    return np.concatenate(scaled), np.concatenate(labels) if len(labels) == len(x) else None


def _load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str | None]]:
    """Return all arrays, and the name of that for each part."""
    try:
        arrays = load_arrays(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from None
    return arrays, {part: _key(path, arrays, names) for part, names in KEYS.items()}


def _require(
    path: str | Path, arrays: dict[str, np.ndarray], keys: dict[str, str | None], *parts: str
) -> None:
    for part in parts:
        if keys[part] is None:
            raise ValueError(
                f"{path} has no array {' or '.join(KEYS[part])}, but "
                f"{', '.join(arrays) or 'none at all'}."
            )


def _largest(x: np.ndarray) -> float:
    return 255.0 if x.dtype == np.uint8 else 1.0


def _key(path: str | Path, arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise ValueError(f"{path} has arrays {' and '.join(found)}; expected one of them.")
    return found[0] if found else None


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _examples(path: str | Path, key: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    x = arrays[key]
    if x.ndim not in (2, 3, 4) or not x.size or x.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: {key} is {_kind(x)}; expected real numbers of shape (B, features), "
            "(B, height, width) or (B, channels, height, width)."
        )
    check_finite(x, f"{path}: {key}")
    return x[:, None] if x.ndim == 3 else x


def _labels(path: str | Path, key: str, arrays: dict[str, np.ndarray], count: int) -> np.ndarray:
    labels = arrays[key]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in {1: "iufU", 2: "iufb"}.get(labels.ndim, ""):
        raise ValueError(
            f"{path}: {key} is {_kind(labels)}; expected a whole number or a name for each "
            "example, or one-hot rows."
        )
    if len(labels) != count:
        raise ValueError(
            f"{path}: {key} has {len(labels)} labels for {count} examples; expected as many."
        )
    ones = labels == 1
    if labels.ndim == 2 and ((labels != ones).any() or (ones.sum(axis=1) != 1).any()):
        raise ValueError(f"{path}: {key} is not one-hot; expected a 1 and zeros in each row.")
    return labels


def _classes(path: str | Path, key: str, labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    if labels.ndim == 1:
        return class_indices(labels, f"{path}: {key}")
    return labels.argmax(axis=1), tuple(str(index) for index in range(labels.shape[1]))
