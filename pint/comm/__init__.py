"""Communicators, what is the same on all ranks, and how all ranks end when one fails."""

from pint.comm.agreement import agreeing, sums_and_means
from pint.comm.chunks import broadcast, gather_rows, gather_rows_on_root
from pint.comm.communicators import (
    Reductions,
    SerialComm,
    mpi_version,
    on_root,
    private,
    reduce,
    split,
    world,
)
from pint.comm.fingerprint import fingerprint, fingerprints, leaves
from pint.comm.guards import alike, all_arrive, ending_all_ranks, is_alike

__all__ = [
    "Reductions",
    "SerialComm",
    "agreeing",
    "alike",
    "all_arrive",
    "broadcast",
    "ending_all_ranks",
    "fingerprint",
    "fingerprints",
    "gather_rows",
    "gather_rows_on_root",
    "is_alike",
    "leaves",
    "mpi_version",
    "on_root",
    "private",
    "reduce",
    "split",
    "sums_and_means",
    "world",
]
