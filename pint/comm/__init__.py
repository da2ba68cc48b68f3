"""Communicators, what is the same on all ranks, and how all ranks end when one fails."""

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
    "ending_all_ranks",
    "ends_all_ranks",
    "fingerprint",
    "fingerprints",
    "on_root",
    "reduce",
    "split",
    "world",
]
