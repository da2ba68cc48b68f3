"""How all ranks end when one fails: the others would wait for its messages for ever."""

from __future__ import annotations

import sys
import time
import traceback
from types import TracebackType
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)

_MARK = "_pint_raised_alike"


def alike(error: E) -> E:
    """Return an error, marked as one that every rank raises at this place.

    Write ``raise alike(error)`` where all ranks know the same: after a reduction, for example.
    """
    setattr(error, _MARK, True)
    return error


def is_alike(error: BaseException | None) -> bool:
    """Whether an error has been marked by `alike`."""
    return getattr(error, _MARK, False)


class ending_all_ranks:  # noqa: N801  (read as a phrase: `with ending_all_ranks(comm):`)
    """Context in which an exception on one rank ends the processes of all ranks.

    The other ranks wait for messages that will never come, so the exception is printed and the
    run is aborted with exit code 1. An exception that is marked by `alike` passes: the place where
    it was raised tells that all ranks raise it, and not its type, which may be the user's choice.
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
        if error is None or self.comm.size == 1 or is_alike(error):
            return
        _end(self.comm, error)


def all_arrive(comm: Any, seconds: float = 2.0) -> bool:
    """Return whether every rank arrives here within some seconds. Collective, if they do.

    For an error whose place does not tell whether all ranks raise it: those that do arrive. Where
    others wait elsewhere, in another call, `comm` cannot be used any more.
    """
    if comm.size == 1:
        return True
    request, end = comm.Ibarrier(), time.monotonic() + seconds
    while not (arrived := request.Test()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(arrived)


def install_hook(comm: Any) -> None:
    """Let an exception that a rank does not catch, anywhere in the program, end all ranks.

    Python would wait at its end for the other ranks, which wait for this one. Exceptions marked by
    `alike` end each rank on its own.
    """
    if getattr(sys.excepthook, _MARK, False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if is_alike(error):
            before(kind, error, trace)
        else:
            _end(comm, error)

    setattr(hook, _MARK, True)
    sys.excepthook = hook


def _end(comm: Any, error: BaseException) -> None:
    """Print an exception and end all ranks."""
    sys.stderr.write(f"rank {comm.rank} of {comm.size} ends all ranks:\n")
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    sys.stderr.flush()
    comm.Abort(1)
