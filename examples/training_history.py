"""What a training run reports as it goes: the table on the terminal and the history file."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pint.report.files import write_atomically
from pint.report.reading import read_regular

HISTORY_COLUMNS = (
    "iteration,objective,loss,gradient_norm,state_residual,adjoint_residual,step,"
    "line_search_trials,train_accuracy,validation_accuracy,state_steps,adjoint_steps,seconds,"
    "gradient_error"
).split(",")
TABLE_HEAD = "  iter   objective    gradient  state res.  adj. res.      step  train%  valid%"


def load_history(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of the run that is resumed, none if it has no history file."""
    if not (options.resume and options.history and Path(options.history).exists()):
        return []
    try:
        text = read_regular(options.history).decode("utf-8")
        # A killed run may have left half of its last line.
        names, *rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
        if names != HISTORY_COLUMNS:
            raise ValueError("other columns")
        table = [dict(zip(names, map(_number, row), strict=True)) for row in rows]
        numbers = [row["iteration"] for row in table]
        ascending = numbers == sorted(set(numbers)) and min(numbers, default=0) >= 0
        if not ascending or not all(isinstance(number, int) for number in numbers):
            raise ValueError("its iterations do not ascend")
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"argument --history: {options.history!r} is no history to continue ({error})"
        ) from None
    return table


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


@dataclass
class Progress:
    """Callback: writes a row for each iterate, to the terminal and to the history file.

    New rows are appended to the file at most every `interval` seconds. At the beginning and at
    the end it is written as a whole.

    Parameters
    ----------
    options : Namespace
        ``history`` and ``quiet``.
    comm : communicator
        All ranks; the first one writes.
    accuracies : callable
        ``accuracies(control, state)``: training and validation accuracy in per cent. Collective.
    every : int
        Updates between two evaluations of the accuracies: those of an epoch with mini-batches.
    rows : list of dict
        Of the run that is resumed.
    interval : float
        In seconds.
    """

    options: argparse.Namespace
    comm: Any
    accuracies: Callable[[Any, Any], tuple[float, float]]
    every: int = 1
    rows: list[dict[str, Any]] = field(default_factory=list)
    interval: float = 1.0
    written: float = -math.inf
    size: int = -1  # of the file, as it was left
    appended: int = 0  # rows in it
    known: tuple[float, float] = (math.nan, math.nan)

    def keep(self, iterations: int) -> None:
        """Drop later rows: the file of a killed run may be ahead of its checkpoint."""
        while self.rows and self.rows[-1]["iteration"] > iterations:
            self.rows.pop()
            self.size = -1

    def __call__(self, iterate: Any, control: Any, state: Any) -> None:
        row = {name: getattr(iterate, name, None) for name in HISTORY_COLUMNS}
        row["loss"] = iterate.cost
        if iterate.iteration % self.every == 0:
            self.known = self.accuracies(control, state)
        row["train_accuracy"], row["validation_accuracy"] = self.known
        self.keep(iterate.iteration - 1)
        self.rows.append(row)
        if self.comm.rank > 0:
            return
        if not self.options.quiet:
            if self.written < 0:  # the first call
                print(TABLE_HEAD)
            print(
                f"{iterate.iteration:6d}  {iterate.objective:10.6f}  {iterate.gradient_norm:10.3e}"
                f"  {iterate.state_residual:10.3e}  {iterate.adjoint_residual:9.2e}"
                f"  {iterate.step:8.2e}  {row['train_accuracy']:6.2f}"
                f"  {row['validation_accuracy']:6.2f}",
                flush=True,
            )
        if iterate.seconds > self.written + self.interval:
            # A full disk ends no training; it is reported at the end.
            with contextlib.suppress(OSError):
                self.append_history()
            self.written = iterate.seconds

    def append_history(self) -> None:
        """Add the new rows to the history file; write it as a whole if it is not as it was left."""
        path = self.options.history
        if path is None or self.comm.rank > 0:
            return
        if not os.path.isfile(path) or os.path.getsize(path) != self.size:
            self.write_history()
            return
        with open(path, "ab") as file:
            file.write(_lines(self.rows[self.appended :]))
            file.flush()
            os.fsync(file.fileno())
            self.size, self.appended = file.tell(), len(self.rows)

    def write_history(self) -> None:
        """Write all rows so far to the history file."""
        if self.options.history is None or self.comm.rank > 0:
            return
        content = (",".join(HISTORY_COLUMNS) + "\n").encode() + _lines(self.rows)
        write_atomically(self.options.history, lambda file: file.write(content))
        self.size, self.appended = len(content), len(self.rows)


def _lines(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
