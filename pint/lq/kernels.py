"""The loops of `pint.lq.riccati` in machine code; the only module of `pint.lq` that needs numba.

The sizes of the matrices are constants of the compiled code, one for each triple of them, which
makes it three times faster for small ones. What is compiled is kept on disk by numba.
"""

from __future__ import annotations

import logging
import math
import pickle
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from pint.lq.elements import Element, Steps
from pint.lq.riccati import LEAST_PIVOT, Backward

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_inner = njit(**_OPTIONS, inline="always")

_READ = types.Array(types.float64, 3, "C", readonly=True)
_BLOCKS, _MATRIX = (types.Array(types.float64, n, "C") for n in (3, 2))

_NO_FILES = (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError)
"""What numba raises where it can neither write nor read, and for damaged files."""

logger = logging.getLogger(__name__)


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
    forward_kernel(steps.n, e, m)(steps.F, K, z, u)
    return z, u


def _pass(steps: Steps, end: np.ndarray, element: Element | None) -> Backward:
    N, e, z = steps.F.shape
    V, K = np.empty((N + 1, e, e)), np.empty((N, z - e, e))
    V[N] = end
    A, C = (np.empty((0, 0)),) * 2 if element is None else (element.A, element.C)
    kernel = backward_kernel(steps.n, e, z - e, element is not None)
    pivot, failed = kernel(steps.F, steps.H, V, K, A, C)
    return Backward(V, K, pivot, failed)


@cache
def backward_kernel(n: int, e: int, m: int, condensing: bool) -> Any:
    """Return the pass backward for the sizes of states, of z = (x, 1, theta) and of controls."""
    z = e + m

    def kernel(F, H, V, K, A, C):  # type: ignore[no-untyped-def]
        T, G, L = np.empty((n, z)), np.empty((z, z)), np.empty((m, m))
        reached, smallest = np.empty((n, m)), np.inf
        for k in range(len(F) - 1, -1, -1):
            _upper_product(V[k + 1], F[k], n, e, z, T)
            _hessian(V[k + 1], F[k], H[k], T, n, e, z, G)
            pivot = _cholesky(G, e, m, L)
            if not pivot > 0.0:
                return pivot, k
            smallest = min(smallest, pivot)
            _gains(G, L, e, m, K[k])
            _complement(G, K[k], e, m, V[k])
            if condensing:
                _upper_product(A, F[k], n, e, z, T)
                _reach(T, L, n, e, m, reached, C)
                _closed(T, K[k], n, e, m, A)
        return smallest, -1

    found = types.Tuple((types.float64, types.int64))
    return _compiled(kernel, found(_READ, _READ, _BLOCKS, _BLOCKS, _MATRIX, _MATRIX))


# Parts of a step: what is multiplied is F = [[A, d, C, B], [0, 1, 0]], whose lower rows are known.


@_inner
def _upper_product(P, f, n, e, z, T):  # type: ignore[no-untyped-def]
    """Write the upper n rows of ``P F``."""
    for i in range(n):
        for j in range(z):
            total = P[i, j] if n <= j < e else 0.0
            for a in range(n):
                total += P[i, a] * f[a, j]
            T[i, j] = total


@_inner
def _hessian(P, f, h, T, n, e, z, G):  # type: ignore[no-untyped-def]
    """Write the lower half of ``F^T P F + H``, from the upper rows of ``P F``."""
    for i in range(z):
        for j in range(i + 1):
            total = h[i, j]
            for a in range(n):
                total += f[a, i] * T[a, j]
            if n <= i < e:
                for a in range(n):
                    total += P[i, a] * f[a, j]
                if n <= j:
                    total += P[i, j]
            G[i, j] = total


@_inner
def _cholesky(G, e, m, L):  # type: ignore[no-untyped-def]
    """Factorise the last m rows and columns; return the smallest pivot, or one <= 0 or NaN."""
    smallest = np.inf
    for j in range(m):
        pivot = G[e + j, e + j]
        for a in range(j):
            pivot -= L[j, a] * L[j, a]
        if not pivot > LEAST_PIVOT * G[e + j, e + j]:
            return min(pivot, 0.0) if pivot == pivot else pivot
        smallest = min(smallest, pivot)
        L[j, j] = math.sqrt(pivot)
        for i in range(j + 1, m):
            total = G[e + i, e + j]
            for a in range(j):
                total -= L[i, a] * L[j, a]
            L[i, j] = total / L[j, j]
    return smallest


@_inner
def _gains(G, L, e, m, gain):  # type: ignore[no-untyped-def]
    """Solve for the gains."""
    for j in range(e):
        for i in range(m):
            total = -G[e + i, j]
            for a in range(i):
                total -= L[i, a] * gain[a, j]
            gain[i, j] = total / L[i, i]
        for i in range(m - 1, -1, -1):
            total = gain[i, j]
            for a in range(i + 1, m):
                total -= L[a, i] * gain[a, j]
            gain[i, j] = total / L[i, i]


@_inner
def _complement(G, gain, e, m, out):  # type: ignore[no-untyped-def]
    """Write the value function with the controls minimised out."""
    for i in range(e):
        for j in range(i + 1):
            total = G[i, j]
            for a in range(m):
                total += G[e + a, i] * gain[a, j]
            out[i, j] = total
            out[j, i] = total


@_inner
def _reach(moved, L, n, e, m, reached, C):  # type: ignore[no-untyped-def]
    """Add what the controls of a step reach at the end of the run to `C`."""
    for i in range(n):
        for j in range(m):
            total = moved[i, e + j]
            for a in range(j):
                total -= reached[i, a] * L[j, a]
            reached[i, j] = total / L[j, j]
        for j in range(i + 1):
            total = C[i, j]
            for a in range(m):
                total += reached[i, a] * reached[j, a]
            C[i, j] = total
            C[j, i] = total


@_inner
def _closed(moved, gain, n, e, m, A):  # type: ignore[no-untyped-def]
    """Write the upper rows of A with the feedback of a step."""
    for i in range(n):
        for j in range(e):
            total = moved[i, j]
            for a in range(m):
                total += moved[i, e + a] * gain[a, j]
            A[i, j] = total


@cache
def forward_kernel(n: int, e: int, m: int) -> Any:
    """Return the pass forward for the sizes of states, of z = (x, 1, theta) and of controls."""

    def kernel(F, K, z, u):  # type: ignore[no-untyped-def]
        for k in range(len(F)):
            f, gain, old, new, control = F[k], K[k], z[k], z[k + 1], u[k]
            for i in range(m):
                total = 0.0
                for a in range(e):
                    total += gain[i, a] * old[a]
                control[i] = total
            for i in range(n):
                total = 0.0
                for a in range(e):
                    total += f[i, a] * old[a]
                for a in range(m):
                    total += f[i, e + a] * control[a]
                new[i] = total

    return _compiled(kernel, types.void(_READ, _READ, _MATRIX, _MATRIX))


def _compiled(function: Any, signature: Any) -> Any:
    """Return machine code, which is kept in files if that is possible."""
    try:
        return njit(signature, cache=True, **_OPTIONS)(function)
    except _NO_FILES as error:
        logger.warning("compiled code is not kept for the next run: %s", error)
        return njit(signature, **_OPTIONS)(function)
