"""Checkpoints: one file from which a run is resumed, on any number of ranks in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pint.comm import alike, ending_all_ranks, on_root
from pint.errors import CheckpointError
from pint.optimise.history_table import HistoryTable
from pint.optimise.identity import content_of
from pint.optimise.opened_run import Expected, read
from pint.optimise.resumable import Resumable
from pint.optimise.saved_run import SavedRun, arrays_of, sealed
from pint.reduced_functional import ReducedFunctional
from pint.report.files import check_writable, remove_leftovers, write_atomically

T = TypeVar("T")

MOST_TIMES = 20
"""Least time between two files, in times of the time that the last one took."""


@dataclass
class Checkpoint:
    """Saves a run, and resumes a saved one.

    The file is an `.npz` archive with control, L-BFGS pairs and their inner products, the C-points
    of state and adjoint (of lagged solves their right-hand sides of level 1, too), the state of a
    random generator, and the history; of `GaussNewton` with states, multipliers, barrier and filter
    in place of pairs and C-points, of `Stochastic` with moments, the best control and what is known
    of its cycles. It is replaced as a whole, so that a process that is killed
    at any moment leaves the last one intact. A resumed run continues with the iterates of an
    uninterrupted one, on any number of ranks in time; states distributed in space need as many
    ranks in space. It is also written when the run has converged or reached its iteration limit.
    With a checkpoint, SIGTERM and SIGINT save the run after the current update and end it, with
    the status INTERRUPTED.

    Parameters
    ----------
    path : str or Path
        Of the `.npz` file.
    interval : float
        Least time between two files, seconds, or twenty times the time that saving takes; 0 for
        one after every update.
    resume : bool
        Continue the run in the file. Otherwise there must be no file at `path` yet.
    random : numpy.random.Generator, optional
        The caller's generator, the same on every rank, restored in place.

    Raises
    ------
    ValueError
        If `interval` is negative or NaN.
    """

    path: str | Path
    interval: float = 60.0
    resume: bool = False
    random: np.random.Generator | None = None

    def __post_init__(self) -> None:
        if not self.interval >= 0:
            raise ValueError(f"`Checkpoint(interval=...)` must be >= 0, got {self.interval}.")
        self._saved, self._took = time.monotonic(), 0.0
        self._content: dict[str, int] = {}
        self._table = HistoryTable()

    def begin(self, run: Resumable) -> bool:
        """Restore `run` in place, and return True, if a run is to be resumed. Collective.

        Errors are raised identically on every rank, and the file stays as it is.

        Raises
        ------
        OSError
            If the file cannot be read, or cannot be written later.
        ValueError
            If there is a file although no run is to be resumed, or it is no checkpoint, or not
            one of this problem.
        """
        # The interval counts from the begin of the run, not from when the object was made.
        functional = run.functional
        self._saved, self._took, self._table = time.monotonic(), 0.0, HistoryTable()
        # As the run finds it: users' objects may count or keep something as they are used.
        self._content = content_of(functional)
        # Rank 0 decides: it alone looks for the file.
        resume = _on_root(functional, lambda: self.resume)
        expected = Expected.of(run, self._content, self.random) if resume else None
        saved = _on_root(functional, lambda: self._open(expected))
        if saved is not None:
            with ending_all_ranks(functional.ranks_to_end):
                wrong = self._restore(saved, run)
            if wrong is not None:
                raise ValueError(f"{self.path} {wrong}.")
            if self.random is not None and saved.random is not None:
                self.random.bit_generator.state = saved.random
        _on_root(functional, lambda: remove_leftovers(self.path))
        return saved is not None

    def save_if_due(self, run: Resumable, at_once: bool = False) -> None:
        """Save `at_once`, or if the last file is older than the interval. Collective.

        A run that is not finite is about to end, and is not saved.
        """
        if not run.is_finite:
            return
        # The files of a long run grow: saving takes no more than a twentieth of the time.
        least = max(self.interval, MOST_TIMES * self._took) if self.interval else 0.0
        # One clock decides for all ranks: saving is collective.
        due = _on_root(run.functional, lambda: time.monotonic() - self._saved >= least)
        if due or at_once:
            self.save(run)

    def save(self, run: Resumable) -> None:
        """Write the file. Collective.

        Raises
        ------
        OSError
            On every rank, if it cannot be written; the last file is then intact.
        """
        began = time.monotonic()
        state = None if self.random is None else self.random.bit_generator.state
        arrays = arrays_of(run, self._content, self._table, state)

        def write() -> None:
            with self._naming_file("What was saved there before is intact."):
                write_atomically(self.path, lambda file: np.savez(file, **sealed(arrays)))

        _on_root(run.functional, write)
        self._saved = time.monotonic()
        self._took = self._saved - began

    def _open(self, expected: Expected | None) -> SavedRun | None:
        """Return the content of the file, None if no run is to be resumed. On one rank."""
        path = Path(self.path)
        if path.is_dir():
            raise IsADirectoryError(f"`Checkpoint(path=...)`: {path} is a folder.")
        if not self.resume and path.exists():
            raise ValueError(
                f"`Checkpoint(path=...)`: {path} exists. Continue its run by `resume=True`, or "
                "remove it."
            )
        if self.resume and not path.exists():
            raise FileNotFoundError(
                f"`Checkpoint(resume=True)`: there is no file {path}; begin without `resume`."
            )
        saved = None
        if expected is not None:
            try:
                saved = read(path, expected)
            except OSError as error:
                reason = error.strerror or error
                raise OSError(f"cannot read the checkpoint {path}: {reason}.") from None
        with self._naming_file("Choose another `Checkpoint(path=...)`."):
            check_writable(path)
        return saved

    def _restore(self, saved: SavedRun, run: Resumable) -> str | None:
        """Make `run` the saved one, in place; return what tells their problems apart. Collective.

        What is computed here of the numbers in the file must be what was computed before.
        """
        try:
            run.restore(saved.arrays, saved.numbers, saved.history)
        except ValueError as error:
            return f"is damaged: {error}"
        for name, before, now, scale in run.compared(saved.arrays):
            # Sums of other ranks and inner solvers of the steps leave differences.
            if not abs(now - before) <= 1e-6 * abs(before) + 1e-9 * scale:
                return (
                    f"belongs to another problem: its {name} is {before:.10g}, here the same "
                    f"control and state have {now:.10g}"
                )
        return None

    @contextmanager
    def _naming_file(self, advice: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write the checkpoint {self.path}: {reason}. {advice}") from None


def resume(run: Resumable, checkpoint: Checkpoint | None) -> bool:
    """Restore `run`, in place, if a checkpoint asks for it; return whether. Collective.

    Raises
    ------
    CheckpointError
        Identically on every rank, if the run cannot begin with the checkpoint.
    """
    if checkpoint is None:
        return False
    try:
        return checkpoint.begin(run)
    except (OSError, ValueError) as error:
        raise alike(CheckpointError(str(error))) from None


def _on_root(functional: ReducedFunctional, function: Callable[[], T]) -> T:
    """Call `function` on the first rank in time and space, for all ranks. Collective."""
    return on_root(functional.space.comm, lambda: on_root(functional.comm, function))
