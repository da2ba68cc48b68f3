"""States over time as tables, for one dimension."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pint.report.files import write_atomically


def write_npz(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name to a file that `numpy.load` reads, as a whole or not at all.

    Not collective.
    """
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def write_csv(path: str | Path, times: np.ndarray, states: np.ndarray, x: Any = None) -> None:
    """Write a row for each time: t, then the numbers of its state. Not collective.

    Parameters
    ----------
    path : str or Path
    times : array of shape (N + 1,)
    states : array of shape (N + 1, ...)
    x : array, optional
        The coordinates of the numbers, for the names of the columns; by default ``y[0]``, ...
    """
    rows = states.reshape(len(times), -1)
    names = [f"y[{i}]" if x is None else f"y({x[i]!s})" for i in range(rows.shape[1])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["t", *names])
    for time, row in zip(times.tolist(), rows.tolist(), strict=True):
        writer.writerow([time, *row])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
