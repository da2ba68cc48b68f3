"""The Riccati recursion step by step, by LAPACK."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv, dpotrs

from pint.lq.elements import Element, Steps, symmetrised

LEAST_PIVOT = 1e-15
"""A pivot counts as positive above this fraction of the diagonal entry that it is left of."""


class Backward(NamedTuple):
    """What a pass backward in time has found.

    Attributes
    ----------
    V : numpy.ndarray of shape (N + 1, e, e)
        The value functions as quadratic forms of z = (x, 1, theta).
    K : numpy.ndarray of shape (N, m, e)
        The optimal control of each step is ``K[n] z``.
    pivot : float
        The smallest one of the Cholesky factorisations of R + B^T P B, not positive if one fails.
    failed : int
        The step whose matrix is not positive definite, where the pass has ended; -1 if none.
    """

    V: np.ndarray
    K: np.ndarray
    pivot: float
    failed: int


def backward(steps: Steps, end: np.ndarray) -> Backward:
    """Return value functions and gains of steps, from the value function at their end.

    Parameters
    ----------
    steps : Steps
    end : numpy.ndarray of shape (e, e)
    """
    return _pass(steps, end, None)


def condensed(steps: Steps, end: np.ndarray) -> tuple[Element, float, int]:
    """Return steps as one element for value functions less `end`; pivot and step as `Backward`.

    The controls are those that are optimal for `end`. Unstable dynamics are stable with them,
    where controls can make them so: products of many A do not occur.
    """
    e = len(end)
    element = Element(np.eye(e), np.zeros((e, e)), end)
    found = _pass(steps, end, element)
    return element._replace(J=found.V[0]), found.pivot, found.failed


def _pass(steps: Steps, end: np.ndarray, element: Element | None) -> Backward:
    """Pass backward over the steps; write `A` and `C` of an element in place."""
    F, H, _ = steps
    N, e, z = F.shape
    V, K = np.empty((N + 1, e, e)), np.empty((N, z - e, e))
    pivots, failed = np.ones((N, z - e)), -1
    V[N] = P = end
    for k in range(N - 1, -1, -1):
        G = F[k].T @ (P @ F[k]) + H[k]
        M = G[e:, e:]
        factor, gain, info = dposv(M, -G[e:, :e], lower=1)
        pivots[k] = factor.diagonal() ** 2
        if info or not (pivots[k] > LEAST_PIVOT * M.diagonal()).all():
            failed = k
            pivots[k] = np.linalg.eigvalsh(M)[0] if np.isfinite(M).all() else np.nan
            break
        P = G[:e, :e] + G[:e, e:] @ gain
        P = (P + P.T) / 2
        V[k], K[k] = P, gain
        if element is not None:
            moved = element.A @ F[k]
            reached = moved[:, e:]
            element.C[:] += reached @ dpotrs(factor, reached.T, lower=1)[0]
            element.A[:] = moved[:, :e] + reached @ gain
    if element is not None:
        element.C[:] = symmetrised(element.C)
    smallest = pivots[failed].min() if failed >= 0 else pivots.min(initial=np.inf)
    return Backward(V, K, float(smallest), failed)


def forward(steps: Steps, K: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all z = (x, 1, theta) of shape (N + 1, e), and the controls of shape (N, m).

    Parameters
    ----------
    steps : Steps
    K : numpy.ndarray of shape (N, m, e)
        Gains of `Backward`.
    start : numpy.ndarray of shape (e,)
        The first z = (x, 1, theta).
    """
    N, _, e = K.shape
    z = np.empty((N + 1, e))
    z[0] = start
    F = steps.F
    closed = F[:, :, :e] + F[:, :, e:] @ K
    for k in range(N):
        z[k + 1] = closed[k] @ z[k]
    return z, (K @ z[:-1, :, None])[:, :, 0]
