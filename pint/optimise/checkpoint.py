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
from pint.optimise.run import Run
from pint.optimise.saved_run import FORMAT, SavedRun, arrays_of, difference, random_difference
from pint.reduced_functional import ReducedFunctional
from pint.report.files import check_writable, load_arrays, remove_leftovers, write_atomically

T = TypeVar("T")


@dataclass
class Checkpoint:
    """Saves a run, and resumes a saved one.

    The file is an `.npz` archive with control, L-BFGS pairs, the C-points of state and adjoint
    (of lagged solves their right-hand sides of level 1, too), the state of a random generator, and
    the history. It is replaced as a whole, so that a process that is killed at any moment leaves
    the last one intact. A resumed run continues with the iterates of an uninterrupted one, on any
    number of ranks in time; states distributed in space need as many ranks in space. It is also
    written when the run has converged or reached its iteration limit. With a checkpoint, SIGTERM
    and SIGINT save the run after the current update and end it, with the status INTERRUPTED.

    Parameters
    ----------
    path : str or Path
        Of the `.npz` file.
    interval : float
        Least time between two files, seconds; 0 for one after every update.
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
        self._saved = time.monotonic()

    def begin(self, run: Run) -> bool:
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
        functional = run.point.functional
        self._saved = time.monotonic()
        arrays = _on_root(functional, self._open)
        if arrays is not None:
            with self._naming_damage():
                # `read` makes sense only of the arrays of such a run.
                other = difference(arrays, run) or random_difference(arrays, self.random)
                saved = None if other else SavedRun.read(arrays, run)
            if saved is None:
                raise ValueError(f"{self.path} {other}.")
            with ending_all_ranks(functional.ranks_to_end):
                saved.restore(run)
            self._check_objective(run)
            if self.random is not None and saved.random is not None:
                self.random.bit_generator.state = saved.random
        _on_root(functional, lambda: remove_leftovers(self.path))
        return arrays is not None

    def save_if_due(self, run: Run, at_once: bool = False) -> None:
        """Save `at_once`, or if the last file is older than the interval. Collective."""
        # One clock decides for all ranks: saving is collective.
        due = _on_root(
            run.point.functional, lambda: time.monotonic() - self._saved >= self.interval
        )
        if due or at_once:
            self.save(run)

    def save(self, run: Run) -> None:
        """Write the file. Collective.

        Raises
        ------
        OSError
            On every rank, if it cannot be written; the last file is then intact.
        """
        arrays = arrays_of(run, None if self.random is None else self.random.bit_generator.state)

        def write() -> None:
            with self._naming_file("What was saved there before is intact."):
                write_atomically(self.path, lambda file: np.savez(file, **arrays))

        _on_root(run.point.functional, write)
        self._saved = time.monotonic()

    def _open(self) -> dict[str, np.ndarray] | None:
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
        arrays = load_arrays(path) if self.resume else None
        if arrays is not None and str(arrays.get("format")) != FORMAT:
            raise ValueError(f"{path} is no checkpoint of this version of pint.")
        with self._naming_file("Choose another `Checkpoint(path=...)`."):
            check_writable(path)
        return arrays

    @contextmanager
    def _naming_file(self, advice: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot write the checkpoint {self.path}: {reason}. {advice}") from None

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Name the file in errors of its content."""
        try:
            yield
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{self.path} is damaged, or a checkpoint of another version of pint ({error!r})."
            ) from None

    def _check_objective(self, run: Run) -> None:
        """Refuse the run of a problem that differs in its equation or its cost. Collective."""
        found, saved = run.point.value.objective, run.history[-1].objective
        # Sums of other ranks and inner solvers of the steps leave differences, far smaller ones.
        largest = max(abs(row.objective) for row in run.history)
        if not abs(found - saved) <= 1e-3 * abs(saved) + 1e-6 * largest:
            raise ValueError(
                f"{self.path} belongs to another problem: its objective is {saved:.10g}, here the "
                f"same control and state have {found:.10g}."
            )


def resume(run: Run, checkpoint: Checkpoint | None) -> bool:
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
