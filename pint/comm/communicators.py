"""Communicators: those of mpi4py if it is installed, otherwise a stand-in of size one.

Everywhere else a communicator is used through the methods of `mpi4py.MPI.Comm` that
`SerialComm` has too, and through the functions below; this is the only module that imports mpi4py.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np

from pint.comm.chunks import broadcast
from pint.errors import CheckpointError, NumericalError

T = TypeVar("T")

# What the launchers of Open MPI, MPICH (Hydra), Intel MPI and Slurm tell their processes.
_LAUNCHER_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")


class SerialComm:
    """Communicator of one process: the same calls as mpi4py's, and no MPI needed."""

    rank = 0
    size = 1

    def Allreduce(self, send: np.ndarray, receive: np.ndarray, op: Any = None) -> None:  # noqa: N802  (mpi4py's name)
        """Copy `send` to `receive`."""
        receive[...] = send

    def Bcast(self, buffer: np.ndarray, root: int = 0) -> None:  # noqa: N802  (mpi4py's name)
        """Leave `buffer` as it is."""

    def bcast(self, value: T, root: int = 0) -> T:
        """Return `value`."""
        return value

    def allgather(self, value: T) -> list[T]:
        """Return the list of the one value."""
        return [value]

    def gather(self, value: T, root: int = 0) -> list[T]:
        """Return the list of the one value."""
        return [value]

    def Barrier(self) -> None:  # noqa: N802  (mpi4py's name)
        """Return at once."""


def world() -> Any:
    """Return all processes of this run: `MPI.COMM_WORLD`, or `SerialComm` without mpi4py.

    Collective in the sense that every rank must call it (mpi4py initialises MPI at import).

    Raises
    ------
    RuntimeError
        If a launcher started several processes that cannot see each other, because mpi4py is
        missing or was built with another MPI than the launcher's.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        _check_launcher(1, f"mpi4py cannot be used ({error})")
        return SerialComm()
    _check_launcher(MPI.COMM_WORLD.size, f"mpi4py uses another MPI ({MPI.get_vendor()[0]})")
    return MPI.COMM_WORLD


def split(world: Any, space_size: int) -> tuple[Any, Any]:
    """Split the ranks into time x space; return this rank's (time, space) communicators.

    The ranks of one space communicator share each time point's state, those of one time
    communicator hold the same part of the states. Ranks that follow each other share states.
    Collective.

    Raises
    ------
    ValueError
        If `space_size` does not divide the number of ranks.
    """
    if space_size < 1 or world.size % space_size:
        raise ValueError(
            f"`split(space_size=...)` must divide the number of ranks, {world.size}, "
            f"got {space_size}."
        )
    if world.size == 1:
        return world, world
    return (
        world.Split(color=world.rank % space_size, key=world.rank),
        world.Split(color=world.rank // space_size, key=world.rank),
    )


def _check_launcher(size: int, why: str) -> None:
    launched = max((int(os.environ.get(name) or 1) for name in _LAUNCHER_SIZES), default=1)
    if size == 1 and launched > 1:
        raise RuntimeError(
            f"the launcher started {launched} processes, but each sees only itself: {why}. "
            "Install mpi4py for the launcher's MPI, or use the mpiexec that belongs to mpi4py."
        )


class Reductions:
    """The context in which ranks wait for sums: a place for the clock of a phase."""

    clock: Any = nullcontext()


def reduce(comm: Any, values: Any, operation: Literal["sum", "min", "max"] = "sum") -> np.ndarray:
    """Combine an array over all ranks, entry by entry; every rank gets the result. Collective.

    It is an array of floats; complex numbers stay complex, for derivatives by a complex step.
    """
    array = np.asarray(values)
    send = np.atleast_1d(np.ascontiguousarray(array, dtype=np.result_type(array.dtype, float)))
    if comm.size == 1:
        return send
    receive = np.empty_like(send)
    # A stand-in for several ranks brings its own: importing mpi4py starts MPI.
    operations = getattr(comm, "operations", None) or _mpi_operations()
    with Reductions.clock:
        comm.Allreduce(send, receive, op=operations[operation])
    return receive


def _mpi_operations() -> dict[str, Any]:
    from mpi4py import MPI

    return {"sum": MPI.SUM, "min": MPI.MIN, "max": MPI.MAX}


def on_root(comm: Any, function: Callable[[], T]) -> T:
    """Call `function` on rank 0 and give every rank its result, or its exception. Collective.

    An exception of a kind that is not expected of files and arguments ends all ranks.
    """
    outcome: tuple[bool, Any] = (False, None)
    with ending_all_ranks(comm):
        if comm.rank == 0:
            try:
                outcome = (True, function())
            except (OSError, ValueError, TypeError, KeyError, MemoryError) as error:
                outcome = (False, error)
        done, value = broadcast(comm, outcome)
    if done:
        return value
    raise value


class ending_all_ranks:  # noqa: N801  (read as a phrase: `with ending_all_ranks(comm):`)
    """Context in which an exception on one rank ends the processes of all ranks.

    The other ranks wait for messages that will never come, so the exception is printed and the
    run is aborted with exit code 1. A `NumericalError` or `CheckpointError` is raised
    identically on every rank, and passes.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        alike = isinstance(error, (NumericalError, CheckpointError))
        if error is None or self.comm.size == 1 or alike:
            return
        sys.stderr.write(f"rank {self.comm.rank} of {self.comm.size} ends all ranks:\n")
        traceback.print_exception(kind, error, trace, file=sys.stderr)
        sys.stderr.flush()
        self.comm.Abort(1)


def ends_all_ranks(method: Callable[..., T]) -> Callable[..., T]:
    """Decorate a collective method of an object with `ranks_to_end`: see `ending_all_ranks`."""

    @wraps(method)
    def guarded(self: Any, *arguments: Any, **options: Any) -> T:
        with ending_all_ranks(self.ranks_to_end):
            return method(self, *arguments, **options)

    return guarded
