"""Communicators, what is the same on all ranks, and how all ranks end when one fails."""

from pint.comm.chunks import broadcast, gather_rows, gather_rows_on_root
from pint.comm.communicators import (
    Reductions,
    SerialComm,
    ending_all_ranks,
    ends_all_ranks,
    on_root,
    reduce,
    split,
    world,
)
from pint.comm.fingerprint import fingerprint, fingerprints

__all__ = [
    "Reductions",
    "SerialComm",
    "broadcast",
    "ending_all_ranks",
    "ends_all_ranks",
    "fingerprint",
    "fingerprints",
    "gather_rows",
    "gather_rows_on_root",
    "on_root",
    "reduce",
    "split",
    "world",
]
