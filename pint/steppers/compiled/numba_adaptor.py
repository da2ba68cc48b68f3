"""The compiler of the loops; no other module imports numba."""

from __future__ import annotations

import sys
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import njit, types

ERRORS = (numba.core.errors.NumbaError, NotImplementedError)
"""What the compiler raises for code that it cannot compile."""

_OPTIONS = {"nogil": True, "error_model": "numpy"}

_NUMBERS, _BLOCK = (types.Array(types.float64, n, "A") for n in (1, 2))
_READ_NUMBERS, _READ = (types.Array(types.float64, n, "A", readonly=True) for n in (1, 2))


def versions() -> str:
    """Return what compiled code depends on besides its source: versions and processor."""
    host = llvmlite.binding
    features = host.get_host_cpu_features().flatten()
    parts = (sys.version, numba.__version__, np.__version__, host.get_host_cpu_name(), features)
    return "\n".join(parts)


def names(fields: int, to_file: bool) -> dict[str, Any]:
    """Return what the source of the loops expects to find.

    Parameters
    ----------
    fields : int
        Number of time-dependent fields, at least one.
    to_file : bool
        Whether the machine code is written to files beside the source, or read from there.
    """
    integers = (types.int64,) * 4
    read_fields, into = types.UniTuple(_READ, fields), types.UniTuple(_BLOCK, fields)
    times, weights = (_READ_NUMBERS, _READ_NUMBERS), (types.float64,) * 3
    signatures = {
        "advance": (
            *times, _READ, read_fields, _READ_NUMBERS, _BLOCK, _READ, _READ, _BLOCK, *integers
        ),
        "transpose": (
            *times, _READ, _READ, read_fields, _READ_NUMBERS, _BLOCK, _READ, _READ, _READ,
            into, _NUMBERS, types.boolean, *integers,
        ),
        "costs": (*times, _READ, _READ, read_fields, _READ_NUMBERS, *weights, _NUMBERS),
        "cost_slopes": (
            *times, _READ, _READ, read_fields, _READ_NUMBERS, *weights, types.float64,
            _BLOCK, _BLOCK, into, _NUMBERS, types.int64,
        ),
    }  # fmt: skip
    return {
        "math": __import__("math"),
        "numpy": np,
        "inner": njit(**_OPTIONS),
        "outer": lambda name: njit(signatures[name], cache=to_file, **_OPTIONS),
    }
