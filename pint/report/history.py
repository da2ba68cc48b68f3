"""The history of an optimisation as a table: columns of numbers, and a CSV file.

A row is a frozen dataclass, such as `pint.optimise.Iterate`. A field that is a dictionary or a
tuple becomes several columns, named after the field and the key or the position:
``terms={"cost": 1.0}`` is the column ``terms_cost``, ``steps_by_level=(12, 3)`` the columns
``steps_by_level_0`` and ``steps_by_level_1``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pint.errors import shown
from pint.report.files import write_atomically

Scalar = bool | int | float | str


def columns(row: Any) -> dict[str, Scalar]:
    """Return the columns of one row and their values, in the order of the fields.

    Raises
    ------
    TypeError
        If a value is no number and no string.
    ValueError
        If two columns have one name.
    """
    flat: dict[str, Scalar] = {}
    for field in fields(row):
        for name, value in _scalars(field.name, getattr(row, field.name)):
            if name in flat:
                raise ValueError(f"`{type(row).__name__}` has two columns `{name}`.")
            flat[name] = value
    return flat


def _scalars(name: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _scalars(f"{name}_{key}", part)
    elif isinstance(value, tuple):
        for position, part in enumerate(value):
            yield from _scalars(f"{name}_{position}", part)
    elif isinstance(value, (int, float, str)):
        yield name, value
    else:
        raise TypeError(f"`{name}` is {value!r}; a column holds numbers or strings.")


def as_arrays(history: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return each column as an array over the rows. Not collective.

    Raises
    ------
    TypeError
        If a value is no number and no string.
    ValueError
        If there is no row, or the rows have different columns.
    """
    names, table = _table(history)
    return {name: np.array([row[at] for row in table]) for at, name in enumerate(names)}


def write_csv(path: str | Path, history: Sequence[Any]) -> None:
    """Write a header and a line for each row, as a whole or not at all. Not collective.

    A number is written with as many digits as it takes to read the same number back.

    Raises
    ------
    TypeError
        If a value is no number and no string.
    ValueError
        If there is no row, or the rows have different columns.
    OSError
        If the folder cannot be written; `path` is then unchanged.
    """
    names, table = _table(history)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(table)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _table(history: Sequence[Any]) -> tuple[list[str], list[list[Scalar]]]:
    """Return the names of the columns, and the values row by row."""
    if not isinstance(history, Iterable) or isinstance(history, str):
        raise TypeError(f"`history` must be a sequence of rows, got {shown(history)}.")
    for row in (history := list(history)):
        if not is_dataclass(row) or isinstance(row, type):
            raise TypeError(
                f"`history` must hold rows such as `Result.history` has, got {shown(row)}."
            )
    rows = [columns(row) for row in history]
    if not rows:
        raise ValueError("`history` must have at least one row.")
    names = list(rows[0])
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            different = ", ".join(sorted(row.keys() ^ rows[0].keys()))
            raise ValueError(
                f"`history` must have the same columns in all rows: row {number} and row 0 differ "
                f"in {different}."
            )
    return names, [[row[name] for name in names] for row in rows]
