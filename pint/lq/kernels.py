"""The passes of `pint.lq.riccati` in machine code."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from functools import lru_cache
from importlib.resources import files
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit, types

from pint.lq.elements import Element, Steps
from pint.lq.riccati import LEAST_PIVOT, Backward
from pint.steppers.compiled import cache
from pint.steppers.compiled.numba_adaptor import versions

_READ = types.Array(types.float64, 3, "C", readonly=True)
_BLOCKS, _MATRIX = (types.Array(types.float64, n, "C") for n in (3, 2))
_SIGNATURES = {
    "backward": types.Tuple((types.float64, types.int64))(
        _READ, _READ, _BLOCKS, _BLOCKS, _MATRIX, _MATRIX, types.boolean
    ),
    "forward": types.void(_READ, _READ, _MATRIX, _MATRIX),
}
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def backward(steps: Steps, end: np.ndarray) -> Backward:
    """Return what `riccati.backward` returns."""
    return _pass(steps, end, None)


def condensed(steps: Steps, end: np.ndarray) -> tuple[Element, float, int]:
    """Return what `riccati.condensed` returns."""
    e = len(end)
    element = Element(np.eye(e), np.zeros((e, e)), end)
    found = _pass(steps, end, element)
    return element._replace(J=found.V[0]), found.pivot, found.failed


def forward(steps: Steps, K: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `riccati.forward` returns."""
    N, m, e = K.shape
    z, u = np.empty((N + 1, e)), np.empty((N, m))
    z[0] = start
    z[:, steps.n :] = start[steps.n :]
    loops(steps.n, e, m)["forward"](steps.F, K, z, u)
    return z, u


def _pass(steps: Steps, end: np.ndarray, element: Element | None) -> Backward:
    N, e, z = steps.F.shape
    V, K = np.empty((N + 1, e, e)), np.empty((N, z - e, e))
    V[N] = end
    A, C = (np.empty((0, 0)),) * 2 if element is None else (element.A, element.C)
    loop = loops(steps.n, e, z - e)["backward"]
    pivot, failed = loop(steps.F, steps.H, V, K, A, C, element is not None)
    return Backward(V, K, pivot, failed)


@lru_cache(None)
def loops(n: int, e: int, m: int) -> dict[str, Any]:
    """Return the loops for the lengths of states, of z = (x, 1, theta) and of controls."""
    text = files(__package__).joinpath("loops.py").read_text().partition("# Parts of a step\n")[2]
    text = re.sub(r"^def _", "@inner\ndef _", text, flags=re.MULTILINE)
    for name in _SIGNATURES:
        text = text.replace(f"\ndef {name}(", f"\n@outer({name!r})\ndef {name}(")
    text = f"n, e, m, z, least = {n}, {e}, {m}, {e + m}, {LEAST_PIVOT!r}\n{text}"

    def compiled(path: str | None) -> dict[str, Any]:
        # What is kept in files looks for its module by name.
        module = ModuleType(f"pint_{hashlib.sha256(text.encode()).hexdigest()}")
        sys.modules[module.__name__] = module
        names = vars(module)
        names |= {"math": math, "np": np, "inner": njit(inline="always", **_OPTIONS)}
        names["outer"] = lambda name: njit(_SIGNATURES[name], cache=path is not None, **_OPTIONS)
        exec(compile(text, path or "<loops>", "exec"), names)
        return {name: names[name] for name in _SIGNATURES}

    return cache.kept(text, versions(), compiled)
