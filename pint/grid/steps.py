"""One step of a level, or a batch of steps: which, from when to when, and of what size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class _Fields(NamedTuple):
    index: Any
    t0: Any
    t1: Any
    level: int = 0
    kept: Any = None
    guess: Any = None
    size: Any = None


class Steps(_Fields):
    """One time step, or a batch of B steps, of one level.

    Attributes
    ----------
    index : int or ndarray of int, shape (B,)
        Number of the *finest-level* step at which each step begins.
    t0, t1 : float or ndarray, shape (B, 1, ..., 1)
        Where the steps begin and end, in the unit of time; they broadcast against a batch of
        states.
    level : int
        Level, 0 is the finest.
    kept : ndarray or None
        Memory for what a step keeps for its transposes, an array of `TimeStepper.kept_shape` for
        each step of a batch. The step fills it and the transposes read it, unless it is None.
    guess : state, batch of states, or None
        Something near the state at ``t1``, for steps that solve their equation iteratively
        (`TimeStepper.uses_guess`). It is finite, and must not be changed.
    size : float, ndarray or None
        The size of each step on a uniform grid; None where sizes may differ. Batches of one that
        follow each other share one array, which cannot be written to.
    """

    __slots__ = ()

    @property
    def dt(self) -> Any:
        """Step size ``t1 - t0``; on a uniform grid the same number for all steps of a level."""
        size = self.size
        if size is None:
            return self.t1 - self.t0
        if type(size) is not float or type(self.index) is int:
            return size
        sizes = np.empty(self.t1.shape)
        sizes.fill(size)
        return sizes

    def _replace(self, **values: Any) -> Steps:
        """Return these steps with other values; with other times they have other sizes."""
        if "t0" in values or "t1" in values:
            values.setdefault("size", None)
        return super()._replace(**values)
