"""Communicators, what is the same on all ranks, and how all ranks end when one fails."""

from pint.comm.agreement import agreeing
from pint.comm.communicators import (
    Reductions,
    SerialComm,
    on_root,
    private,
    reduce,
    split,
    world,
)
from pint.comm.fingerprint import fingerprint, fingerprints
from pint.comm.guards import alike, ending_all_ranks, ends_all_ranks

__all__ = [
    "Reductions",
    "SerialComm",
    "agreeing",
    "alike",
    "ending_all_ranks",
    "ends_all_ranks",
    "fingerprint",
    "fingerprints",
    "on_root",
    "private",
    "reduce",
    "split",
    "world",
]
