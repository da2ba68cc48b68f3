"""Communicators: those of mpi4py if it is installed, otherwise a stand-in of size one.

Everywhere else a communicator is used through the methods of `mpi4py.MPI.Comm` that
`SerialComm` has too, and through the functions below; this is the only module that imports mpi4py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np

from pint.comm.chunks import broadcast
from pint.comm.guards import alike, ending_all_ranks, install_hook

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
    if MPI.COMM_WORLD.size > 1:
        install_hook(MPI.COMM_WORLD)
    return MPI.COMM_WORLD


def mpi_version() -> str:
    """Return the name and version of the MPI library in use, and the number of its ranks.

    Initialises MPI, as `world` does; says why where there is none. Not collective.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return f"none ({error})"
    name, version = MPI.get_vendor()
    return f"{name} {'.'.join(map(str, version))}, ranks: {MPI.COMM_WORLD.size}"


class _Attribute:
    """What is cached on a communicator: our duplicate of it, and how it was split.

    Attributes
    ----------
    own : communicator or None
        The duplicate; None on a duplicate, which is our own already.
    splits : dict of int to (communicator, communicator)
        By the number of ranks in space.
    """

    def __init__(self, own: Any = None) -> None:
        self.own = own
        self.splits: dict[int, tuple[Any, Any]] = {}


@cache
def _key() -> int:
    """Return the key of our attribute of communicators."""
    from mpi4py import MPI

    def free(comm: Any, key: int, attribute: _Attribute) -> None:
        # The user frees a communicator: nothing uses its duplicate any more.
        if attribute.own is not None and not MPI.Is_finalized():
            attribute.own.Free()

    return int(MPI.Comm.Create_keyval(delete_fn=free))


def _is_mpi(comm: Any) -> bool:
    # Users derive classes from mpi4py's.
    return any(kind.__module__.partition(".")[0] == "mpi4py" for kind in type(comm).__mro__)


def is_alone(comm: Any) -> bool:
    """Whether a communicator has no other ranks: one that stands in for many has none, either."""
    return bool(comm.size == 1 or not _is_mpi(comm))


def private(comm: Any, argument: str) -> Any:
    """Return the framework's own duplicate of a communicator, made once. Collective.

    Messages of the user's on `comm` cannot meet ours. The duplicate is cached on `comm`, and is
    freed with it. A communicator of one rank, on which nothing is sent, is returned as it is.

    Parameters
    ----------
    comm : communicator or None
        None stands for one process.
    argument : str
        What the user calls it, for errors.

    Raises
    ------
    TypeError
        If it is no communicator.
    ValueError
        If it has been freed, or has no ranks of its own.
    """
    if comm is None:
        return SerialComm()
    if not _is_mpi(comm):
        # One that stands in for MPI's, such as `SerialComm`
        if not all(hasattr(comm, name) for name in ("rank", "size")):
            raise TypeError(
                f"`{argument}` must be a communicator such as `pint.world()`, got "
                f"{type(comm).__name__}."
            )
        return comm
    from mpi4py import MPI

    if not isinstance(comm, MPI.Comm):
        raise TypeError(f"`{argument}` must be a communicator, got {type(comm).__name__}.")
    if comm == MPI.COMM_NULL:
        raise ValueError(
            f"`{argument}` is MPI.COMM_NULL, a communicator without ranks, or has been freed."
        )
    if comm.Is_inter():
        raise ValueError(f"`{argument}` must not be an inter-communicator.")
    if comm.size == 1:
        return comm
    install_hook(comm)
    attribute = comm.Get_attr(_key())
    if attribute is None:
        own = comm.Dup()
        own.Set_attr(_key(), _Attribute())
        attribute = _Attribute(own)
        comm.Set_attr(_key(), attribute)
    return comm if attribute.own is None else attribute.own


def split(world: Any, space_size: int) -> tuple[Any, Any]:
    """Split the ranks into time x space; return this rank's (time, space) communicators.

    The ranks of one space communicator share each time point's state, those of one time
    communicator hold the same part of the states. Ranks that follow each other share states.
    Another call with the same arguments returns the same communicators. Collective.

    Raises
    ------
    TypeError
        If `world` is no communicator.
    ValueError
        If `space_size` does not divide the number of ranks, or the ranks differ in it.
    """
    own = private(world, "split(world=...)")
    if isinstance(own, SerialComm):
        world = own
    if not isinstance(space_size, (int, np.integer)) or isinstance(space_size, bool):
        raise ValueError(f"`split(space_size=...)` must be an integer, got {space_size!r}.")
    if space_size < 1 or world.size % space_size:
        raise ValueError(
            f"`split(space_size=...)` must divide the number of ranks, {world.size}, "
            f"got {space_size}."
        )
    if world.size == 1:
        return world, world
    least, most = reduce(own, [space_size, -space_size], "min")
    if least != -most:
        raise alike(
            ValueError(
                "`split(space_size=...)` must be the same on all ranks, but it is between "
                f"{least:.0f} and {-most:.0f}."
            )
        )
    splits = own.Get_attr(_key()).splits
    # A user may have freed them.
    if not all(splits.get(space_size, ())) or space_size not in splits:
        splits[space_size] = (
            own.Split(color=own.rank % space_size, key=own.rank),
            own.Split(color=own.rank // space_size, key=own.rank),
        )
    time, space = splits[space_size]
    return time, space


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
    raise alike(value)
