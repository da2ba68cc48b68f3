"""Data sets in CSV files: one example a row, one of the columns its label."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from pint.report.reading import open_regular, size_of
from problems.data.dataset import Content, check_finite, class_indices, class_labels

LONGEST_LABEL = 80


def read(path: str | Path, label: str | None = None) -> Content:
    """Return the examples of a CSV file, x of shape (B, columns - 1), without a test part.

    Parameters
    ----------
    path : str or Path
        Cells are separated by commas. The first row is a header if no feature in it is a number,
        or if its label is not a number while that of the second row is.
    label : str, optional
        The column of the labels, whole numbers or names; the file then has a header. By default
        the last column.

    Raises
    ------
    ValueError
        If the file cannot be read, has rows of different lengths, or a feature that is no finite
        number.
    """
    x, labels = _read(path, label)
    indices, names = class_indices(labels, str(path))
    return Content(str(path), x, indices, names)


def read_unsplit(
    path: str | Path, features: int, label: str | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all examples of a CSV file, with or without labels.

    Parameters
    ----------
    path, label
        As for `read`. Without `label`, a file of as many columns as features has no labels; its
        first row is a header if no cell is a number.
    features : int

    Returns
    -------
    x : ndarray of float64, shape (B, features)
    labels : ndarray, shape (B,), or None
        Whole numbers or names.

    Raises
    ------
    ValueError
        Like `read`, or if the file has another number of features.
    """
    x, labels = _read(path, label, features)
    return x, class_labels(labels, str(path)) if labels.size else None


def _read(
    path: str | Path, label: str | None, features: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels, text; no labels if there are as many columns as `features`."""
    try:
        text = _text(path)
        columns, column, lines = _layout(text, label, features)
        table = _table(text, columns, column, lines)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no CSV file: not UTF-8 text ({error.reason}).") from None
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is no CSV file of numbers and labels: {error}.") from None
    held = [table[name] for name in ("before", "after") if name in (table.dtype.names or ())]
    x = np.concatenate(held, axis=1)
    check_finite(x, str(path))
    return x, table["label"] if column < columns else np.empty(0)


def _text(path: str | Path) -> str:
    with open_regular(path) as file:
        # A file may be a gigabyte of nothing.
        if b"\0" in file.peek(1):
            raise ValueError("it is not UTF-8 text")
        content = file.read(size_of(file))
    return content.decode("utf-8-sig")


def _layout(text: str, label: str | None, features: int | None) -> tuple[int, int, int]:
    """Return the number of columns, the index of that of the labels, and the lines of a header.

    The index is the number of columns if there are no labels.
    """
    reader = csv.reader(io.StringIO(text))
    first = next(filter(None, reader), [])
    lines = reader.line_num
    second = next(filter(None, reader), [])
    if features is not None and len(first) - features not in ((0, 1) if label is None else (1,)):
        expected = f"{features} numbers" + (" and a label" if label else ", and perhaps a label")
        raise ValueError(f"line {lines} has {len(first)} cell(s), expected {expected}")
    if label is None and len(first) == features:
        return features, features, 0 if any(map(_is_number, first)) else lines
    if len(first) < 2:
        raise ValueError(f"line {lines} has {len(first)} cell(s), expected at least 2 with commas")
    if label is not None:
        names = [name.strip() for name in first]
        if names.count(label) != 1:
            raise ValueError(
                f"its header names {names.count(label)} columns {label!r}, expected one "
                f"(line {lines}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
            )
        return len(first), names.index(label), lines
    *numbers, last = first
    header = not any(map(_is_number, numbers)) or (
        not _is_number(last) and _is_number(second[-1] if second else "")
    )
    return len(first), len(first) - 1, lines if header else 0


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _table(text: str, columns: int, column: int, lines: int) -> np.ndarray:
    """Return the rows below the header, with fields `before` and `after` of the field `label`."""
    rows = io.StringIO(text)
    for _ in range(lines):
        rows.readline()
    start = rows.tell()
    if not text[start:].strip():
        raise ValueError("there is no row below its header")
    fields: list[Any] = [
        ("before", float, (column,)),
        ("label", f"U{_longest_label(text) + 1}"),
        ("after", float, (columns - column - 1,)),
    ]
    if column == columns:
        fields = fields[:1]
    kept = [field for field in fields if field[0] == "label" or field[2] != (0,)]
    try:
        table = np.loadtxt(
            rows, np.dtype(kept), comments=None, delimiter=",", quotechar='"', ndmin=1
        )
    except ValueError as error:
        raise ValueError(_fault(text, columns, column, lines) or error) from None
    if column < columns and np.char.str_len(table["label"]).max() > LONGEST_LABEL:
        raise ValueError(f"a label is longer than {LONGEST_LABEL} characters")
    return table


def _longest_label(text: str) -> int:
    """Return how many characters are kept of labels; a short row takes little memory."""
    # A quoted label may have several lines.
    longest = LONGEST_LABEL if '"' in text else max(map(len, io.StringIO(text)))
    return min(longest, LONGEST_LABEL)


def _fault(text: str, columns: int, column: int, lines: int) -> str | None:
    """Return what is wrong with the first row that numpy cannot have read."""
    reader = csv.reader(io.StringIO(text))
    for row in reader:
        if row and len(row) != columns:
            return f"line {reader.line_num} has {len(row)} cells, expected {columns}"
        if reader.line_num > lines:
            for number, cell in enumerate(row):
                if number != column and not _is_number(cell):
                    return f"line {reader.line_num}, column {number + 1}: {cell!r} is no number"
    return None
