"""Value functions and states of all steps at once, by O(log N) operations of whole arrays.

Where a step has no minimum of its own, or the scan loses too many digits, the Riccati recursion of
`pint.lq.riccati` does the same step by step.
"""

from __future__ import annotations

import numpy as np

from pint.lq import riccati
from pint.lq.elements import Element, Steps, after, combined, symmetrised
from pint.lq.riccati import LEAST_PIVOT, Backward

_DEFECT = 2e-13
"""Largest difference of a value function from a Riccati step, relative to its largest entry."""

_POLISHES = 3
"""Most Riccati steps of all value functions at once."""


def backward(steps: Steps, end: np.ndarray) -> Backward:
    """Return what `riccati.backward` returns, by an associative scan."""
    F, H, _ = steps
    e = F.shape[1]
    elements = _elements(steps)
    if elements is None:
        return riccati.backward(steps, end)
    try:
        V = _values(elements, end)
    except np.linalg.LinAlgError:
        return riccati.backward(steps, end)
    for _ in range(_POLISHES):
        # A step of the recursion for all n: the gains, and better value functions
        G = _t(F) @ (V[1:] @ F) + H
        pivots = _pivots(G[:, e:, e:])
        if pivots is None:
            break
        K = -np.linalg.solve(G[:, e:, e:], G[:, e:, :e])
        better = symmetrised(G[:, :e, :e] + G[:, :e, e:] @ K)
        defects, sizes = (
            np.abs(part).max(axis=(1, 2), initial=0.0) for part in (better - V[:-1], better)
        )
        V[:-1] = better
        if (defects <= _DEFECT * sizes).all():
            return Backward(V, K, float(pivots.min(initial=np.inf)), -1)
    return riccati.backward(steps, end)


def condensed(steps: Steps, end: np.ndarray) -> tuple[Element, float, int]:
    """Return what `riccati.condensed` returns, by pairs of elements."""
    elements = None if end.any() else _elements(steps)
    if elements is None:
        return riccati.condensed(steps, end)
    try:
        while (N := len(elements.A)) > 1:
            pairs = combined(_some(elements, 0, N - 1), _some(elements, 1, N))
            last = _some(elements, N - N % 2, N)
            elements = Element(*map(np.concatenate, zip(pairs, last, strict=True)))
    except np.linalg.LinAlgError:
        return riccati.condensed(steps, end)
    return Element(*(part[0] for part in elements)), np.inf, -1


def forward(steps: Steps, K: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `riccati.forward` returns, by a scan over affine maps."""
    F, e = steps.F, steps.F.shape[1]
    z = _states(F[:, :, :e] + F[:, :, e:] @ K, start)
    return z, (K @ z[:-1, :, None])[:, :, 0]


def _elements(steps: Steps) -> Element | None:
    """Return each step as an element; None unless each R is positive definite."""
    F, H, _ = steps
    e = F.shape[1]
    R, B = H[:, e:, e:], F[:, :, e:]
    if _pivots(R) is None:
        return None
    weighed = np.linalg.solve(R, np.concatenate([_t(B), H[:, e:, :e]], axis=2))
    K = -weighed[:, :, e:]
    return Element(
        F[:, :, :e] + B @ K,
        symmetrised(B @ weighed[:, :, :e]),
        symmetrised(H[:, :e, :e] + H[:, :e, e:] @ K),
    )


def _pivots(matrices: np.ndarray) -> np.ndarray | None:
    """Return the pivots of each matrix; None unless all are positive definite."""
    try:
        factors = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(factors, axis1=1, axis2=2) ** 2
    enough = pivots > LEAST_PIVOT * np.diagonal(matrices, axis1=1, axis2=2)
    return pivots if enough.all() else None


def _values(steps: Element, end: np.ndarray) -> np.ndarray:
    """Return the value functions at all points: of pairs of steps first, then between them."""
    N, e, _ = steps.A.shape
    V = np.empty((N + 1, e, e))
    V[N] = end
    if N % 2:
        V[N - 1], _ = after(Element(*(part[N - 1] for part in steps)), end)
    even = N - N % 2
    if even:
        first, second = _some(steps, 0, even), _some(steps, 1, even)
        V[0 : even + 1 : 2] = _values(combined(first, second), V[even])
        V[1:even:2], _ = after(second, V[2 : even + 1 : 2])
    return V


def _states(maps: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return ``z_{n+1} = maps_n z_n`` at all points: after pairs of maps first, then between."""
    N = len(maps)
    z = np.empty((N + 1, len(start)))
    z[0] = start
    even = N - N % 2
    if even:
        first, second = maps[0:even:2], maps[1:even:2]
        z[0 : even + 1 : 2] = _states(second @ first, start)
        z[1:even:2] = (first @ z[0:even:2, :, None])[:, :, 0]
    if N % 2:
        z[N] = maps[N - 1] @ z[N - 1]
    return z


def _some(elements: Element, start: int, stop: int) -> Element:
    """Return every second element."""
    return Element(*(part[start:stop:2] for part in elements))


def _t(matrices: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrices, -1, -2)
