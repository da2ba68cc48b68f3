"""The history as one array of floats: what a checkpoint saves of it, row after row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np

from pint.optimise.result import Iterate
from pint.optimise.rules import COLUMNS, COUNT, MOST, REAL
from pint.report.history import columns

GROWING = (
    "state_cycles",
    "adjoint_cycles",
    "state_steps",
    "adjoint_steps",
    "steps_by_level",
    "solves",
    "converged_solves",
    "seconds",
)
"""Columns that count from the start of the run."""


class HistoryTable:
    """The rows of a history so far. Each row is converted once, however often it is saved.

    Attributes
    ----------
    names : list of str
        Of the columns, as `pint.report.history.columns` has them.
    values : ndarray of float, shape (rows, columns)
        Integers up to 2^53 are exact.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values = np.empty((0, 0))

    def extend(self, history: Sequence[Iterate]) -> None:
        """Add the rows of `history` that are not in the table yet, in place."""
        new = [columns(row) for row in history[len(self.values) :]]
        if new:
            self.names = list(new[0])
            rows = np.array([list(row.values()) for row in new], dtype=float)
            self.values = np.concatenate([self.values.reshape(-1, len(self.names)), rows])


def rows_of(names: Sequence[str], values: np.ndarray) -> list[Iterate]:
    """Return the rows of a table; every number is checked.

    Raises
    ------
    ValueError
        If a column is unknown or missing, or a number cannot be one of a run.
    """
    parts, kinds = _parts(names), get_type_hints(Iterate)
    for name, places in parts.items():
        is_whole = kinds[name] is int or kinds[name] == tuple[int, ...]
        _check_column(name, values[:, list(places.values())], is_whole)
    if not np.array_equal(values[:, parts["iteration"][""]], np.arange(len(values))):
        raise ValueError("`history.iteration` must be 0, 1, 2, ...")
    numbers = values.tolist()
    return [_row(row, parts, kinds) for row in numbers]


def _parts(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return where the numbers of each field are, by key or position; '' is the only one."""
    parts: dict[str, dict[str, int]] = {field.name: {} for field in fields(Iterate)}
    kinds = get_type_hints(Iterate)
    single = {name for name, kind in kinds.items() if kind in (int, float)}
    for place, name in enumerate(names):
        if name in single:
            parts[name][""] = place
            continue
        owner = next((n for n in parts if n not in single and name.startswith(f"{n}_")), None)
        if owner is None:
            raise ValueError(f"`history` has an unknown column {name!r}")
        parts[owner][name[len(owner) + 1 :]] = place
    missing = [name for name in single if not parts[name]]
    if missing:
        raise ValueError(f"`history` has no column {', '.join(sorted(missing))}")
    if len(names) != sum(map(len, parts.values())):
        raise ValueError("`history` has two columns of one name")
    return parts


def _check_column(name: str, values: np.ndarray, is_whole: bool) -> None:
    rule = COUNT if is_whole else COLUMNS.get(name, REAL)
    if is_whole:
        wrong = ~((values >= 0) & (values <= MOST) & (values == np.floor(values)))
    else:
        accepted = [rule.accepts(value) for value in values.ravel().tolist()]
        wrong = ~np.array(accepted, dtype=bool).reshape(values.shape)
    if wrong.any():
        raise ValueError(f"`history.{name}` must be {rule.text}, got {float(values[wrong][0])}")
    if name in GROWING and (np.diff(values, axis=0) < 0).any():
        raise ValueError(f"`history.{name}` must not decrease")


def _row(numbers: list[float], parts: dict[str, dict[str, int]], kinds: dict[str, Any]) -> Iterate:
    content: dict[str, Any] = {}
    for name, places in parts.items():
        kind = kinds[name]
        if kind in (int, float):
            content[name] = kind(numbers[places[""]])
        elif kind == dict[str, float]:
            content[name] = {key: numbers[place] for key, place in places.items()}
        else:
            number = int if kind == tuple[int, ...] else float
            content[name] = tuple(number(numbers[place]) for place in places.values())
    return Iterate(**content)
