"""Runs of steps, condensed: their composition, and the value function that they hand on.

Everything is a matrix of z = (x, 1, theta), so that linear terms, offsets and shared parameters
need no formulas of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Steps(NamedTuple):
    """The steps of a problem as matrices.

    Attributes
    ----------
    F : numpy.ndarray of shape (N, e, e + m)
        Make the next z of (z, u).
    H : numpy.ndarray of shape (N, e + m, e + m)
        Make the cost of (z, u), as quadratic forms.
    n : int
        Length of a state; z has e numbers.
    """

    F: np.ndarray
    H: np.ndarray
    n: int


class Element(NamedTuple):
    r"""A run of steps from z to the state at its end, condensed [1]_.

    With the best controls for the cost :math:`\tfrac12 z^T V z` of its end, the run has the cost
    :math:`\tfrac12 z_0^T (J + A^T V (I + C V)^{-1} A) z_0` and ends at
    :math:`(I + C V)^{-1} A z_0`. The arrays have the shape (..., e, e).

    Attributes
    ----------
    A : numpy.ndarray
        The end of the run for V = 0.
    C : numpy.ndarray
        How far the controls reach, weighed by their cost: semidefinite.
    J : numpy.ndarray
        The cost of the run for V = 0.

    References
    ----------
    .. [1] S. Särkkä, Á. F. García-Fernández, arXiv:2104.03186 (2021), eq. 25 to 29.
    """

    A: np.ndarray
    C: np.ndarray
    J: np.ndarray


def after(element: Element, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the value function at the begin of a run, and the end of the run for each z.

    Parameters
    ----------
    element : Element
    V : numpy.ndarray of shape (..., e, e)
        The value function at its end.

    Raises
    ------
    numpy.linalg.LinAlgError
        If no minimum exists.
    """
    A, C, J = element
    ends = np.linalg.solve(np.eye(A.shape[-1]) + C @ V, A)
    return symmetrised(J + _t(A) @ (V @ ends)), ends


def combined(first: Element, second: Element) -> Element:
    """Return the run of two runs, one after the other; LinAlgError if it has no minimum."""
    e = first.A.shape[-1]
    both = np.concatenate([first.A, first.C], axis=-1)
    both = np.linalg.solve(np.eye(e) + first.C @ second.J, both)
    reached = both[..., :e]
    return Element(
        second.A @ reached,
        symmetrised(second.A @ both[..., e:] @ _t(second.A) + second.C),
        symmetrised(_t(first.A) @ (second.J @ reached) + first.J),
    )


def symmetrised(matrices: np.ndarray) -> np.ndarray:
    """Return the symmetric part."""
    return (matrices + _t(matrices)) / 2


def _t(matrices: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrices, -1, -2)
