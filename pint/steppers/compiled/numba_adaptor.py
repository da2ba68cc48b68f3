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

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# A third of the compiler's time would go into ways to call functions that nobody calls that way.
_NOT_FROM_C: Any = {"no_cfunc_wrapper": True}
_FROM_CODE_ALONE: Any = {"no_cpython_wrapper": True, **_NOT_FROM_C}

_NUMBERS, _BLOCK = (types.Array(types.float64, n, "A") for n in (1, 2))
_TIMES, _READ = (types.Array(types.float64, n, "A", readonly=True) for n in (1, 2))
_SHARED = types.Array(types.float64, 1, "C")


def versions() -> str:
    """Return what compiled code depends on besides its source: versions and processor."""
    host = llvmlite.binding
    features = host.get_host_cpu_features().flatten()
    parts = (sys.version, numba.__version__, np.__version__, host.get_host_cpu_name(), features)
    return "\n".join(parts)


def is_compiled(function: Any) -> bool:
    """Return whether a function is one of numba's."""
    return isinstance(function, numba.core.dispatcher.Dispatcher)


def jitted(function: Any) -> Any:
    """Return a function of Python's as one of numba's."""
    return function if is_compiled(function) else njit(**_OPTIONS)(function)


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
    times, weights = (_TIMES, _TIMES), (types.float64,) * 3
    signatures = {
        "advance": (
            *times, _READ, read_fields, _SHARED, _BLOCK, _READ, _READ, _BLOCK, *integers
        ),
        "transpose": (
            *times, _READ, _READ, read_fields, _SHARED, _BLOCK, _READ, _READ, _READ,
            into, _SHARED, types.boolean, *integers,
        ),
        "costs": (*times, _READ, _READ, read_fields, _SHARED, *weights, _NUMBERS),
        "cost_slopes": (
            *times, _READ, _READ, read_fields, _SHARED, *weights, types.float64,
            _BLOCK, _BLOCK, into, _SHARED, types.int64,
        ),
    }  # fmt: skip
    return {
        "math": __import__("math"),
        "numpy": np,
        "inner": njit(**_OPTIONS, **_FROM_CODE_ALONE),
        "outer": lambda name: njit(signatures[name], cache=to_file, **_OPTIONS, **_NOT_FROM_C),
    }
