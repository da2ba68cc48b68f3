"""Peak memory: what the process of each rank has held at most."""

from __future__ import annotations

import sys
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STATUS = "/proc/self/status"


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes. Not collective.

    It counts the interpreter and all libraries, shared pages included. It is 0 if the
    operating system does not report it.
    """
    # The resource usage that Linux reports may be that of the program which started this one.
    try:
        with open(STATUS, encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_memory_of_ranks(time_comm: Any, space_comm: Any) -> tuple[int, ...]:
    """Return `peak_memory` of every rank, on every rank. Collective.

    The ranks are those of time x space, in the order that `pint.comm.split` deals them out: those
    that share a time point follow each other.
    """
    columns = time_comm.allgather(space_comm.allgather(peak_memory()))
    return tuple(peak for column in columns for peak in column)
