"""What the next iterations depend on: a value that can be kept, saved and gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pint.controls import Control
from pint.optimise.gauss_newton.barrier import Side
from pint.optimise.gauss_newton.search import Filter

COUNTS = ("since", "rejected", "evaluations", "restarts", "polished")
SIZES = ("mu", "unit", "weight", "worst", "step")
"""Numbers of an `Iteration` by the names of its attributes."""


@dataclass(frozen=True, eq=False)
class Memory:
    """An `Iteration` between two steps, without what follows from states and control.

    Attributes
    ----------
    y, lam : ndarray of shape (N + 1, n)
        This rank's states and multipliers; the first row is the last one of the rank before.
    control : Control
    sides : (Side, Side)
    typical : ndarray of shape (n + m,)
    gains : ndarray of shape (N, m, n), or None
        Of the last step; None before the first one.
    filter : Filter
    numbers : dict of str to int or float
        `COUNTS` and `SIZES`.
    """

    y: np.ndarray
    lam: np.ndarray
    control: Control
    sides: tuple[Side, Side]
    typical: np.ndarray
    gains: np.ndarray | None
    filter: Filter
    numbers: Mapping[str, int | float]
