"""Fields of a control: one block for each time step, or shared by all of them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from pint.comm import SerialComm

BlockRestriction = Callable[[np.ndarray, np.ndarray], Any]
"""Gives the block of a coarse step from those of the fine steps and their sizes."""


class ControlField(ABC):
    """What time-dependent and shared fields have in common: a shape and bounds."""

    kind: str

    def __init__(
        self,
        shape: int | Sequence[int],
        lower: Any = None,
        upper: Any = None,
        weight: float = 1.0,
        comm: Any = None,
    ) -> None:
        self.shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        self.comm: Any = SerialComm() if comm is None else comm
        least = 0 if self.distributed else 1
        if any(length < least for length in self.shape):
            raise ValueError(f"`{self.kind}(shape=...)` must have lengths >= {least}, got {shape}.")
        if not 0 < weight < np.inf:
            raise ValueError(f"`{self.kind}(weight=...)` must be positive, got {weight}.")
        self.weight = float(weight)
        self.lower = self._bound("lower", lower, -np.inf)
        self.upper = self._bound("upper", upper, np.inf)
        if not (self.lower <= self.upper).all():
            raise ValueError(
                f"`{self.kind}(lower=..., upper=...)`: a lower bound exceeds its upper."
            )

    @property
    def bounded(self) -> bool:
        """Whether a bound is finite."""
        return bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())

    @property
    def distributed(self) -> bool:
        """Whether a block is distributed over more than one rank in space."""
        return bool(self.comm.size > 1)

    def _bound(self, name: str, value: Any, default: float) -> np.ndarray:
        bound = np.asarray(default if value is None else value, dtype=float)
        if np.isnan(bound).any():
            raise ValueError(f"`{self.kind}({name}=...)` contains NaN.")
        try:
            return np.broadcast_to(bound, self.shape)
        except ValueError:
            raise ValueError(
                f"`{self.kind}({name}=...)` has shape {bound.shape}, the control {self.shape}."
            ) from None


class TimeControl(ControlField):
    r"""A control with one block for each time step, constant over the step.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of one block.
    lower, upper : array_like, optional
        Bounds, broadcast to `shape`.
    metric : 'time' or 'euclidean'
        Inner product: ``sum_n dt_n <u_n, v_n>``, which does not depend on the number of steps,
        or ``sum_n <u_n, v_n>``.
    restrict : 'inject', 'mean' or callable
        The block of a coarse step: that of the first fine step it covers, the mean over the
        covered interval, or ``restrict(blocks, dt)``: it receives the blocks of the m covered
        fine steps, shape (m, \*shape), and their sizes, shape (m,), and returns a block.
    weight : float
        Factor of the inner product, dimensionless; for example a cell volume.
    comm : communicator, optional
        The ranks in space that a block is distributed over, along its first axis; `shape` is then
        this rank's part. By default each of these ranks has all of it.
    every : int
        Steps for each coefficient of a control on a coarser time mesh.
    interpolate : 'constant' or 'linear'
        With `every` > 1: blocks that hold for `every` steps, or hat functions in time with nodes
        at every `every`-th point, taken at the steps' midpoints. The control still has a block
        for every step; gradients lie in the subspace of such blocks.

    Raises
    ------
    ValueError
        If bounds do not fit or cross, a choice is unknown, or hat functions have bounds.
    """

    kind = "TimeControl"

    def __init__(
        self,
        shape: int | Sequence[int],
        lower: Any = None,
        upper: Any = None,
        metric: Literal["time", "euclidean"] = "time",
        restrict: Literal["inject", "mean"] | BlockRestriction = "inject",
        weight: float = 1.0,
        comm: Any = None,
        every: int = 1,
        interpolate: Literal["constant", "linear"] = "constant",
    ) -> None:
        super().__init__(shape, lower, upper, weight, comm)
        if not isinstance(every, (int, np.integer)) or every < 1:
            raise ValueError(f"`TimeControl(every=...)` must be an integer >= 1, got {every}.")
        if interpolate not in ("constant", "linear"):
            raise ValueError(
                f"`TimeControl(interpolate=...)` is 'constant' or 'linear', got {interpolate!r}."
            )
        if interpolate == "linear" and every == 1:
            raise ValueError("`TimeControl(interpolate='linear')` needs `every` >= 2.")
        if interpolate == "linear" and self.bounded:
            raise ValueError(
                "`TimeControl(lower=..., upper=...)`: hat functions cannot have bounds; use "
                "interpolate='constant'."
            )
        self.every = int(every)
        self.interpolate = interpolate
        if metric not in ("time", "euclidean"):
            raise ValueError(f"`TimeControl(metric=...)` is 'time' or 'euclidean', got {metric!r}.")
        if restrict not in ("inject", "mean") and not callable(restrict):
            raise ValueError(
                f"`TimeControl(restrict=...)` is 'inject', 'mean' or a function, got {restrict!r}."
            )
        self.metric = metric
        self.restrict = restrict


class SharedControl(ControlField):
    """Parameters that all time steps share (theta), the same on every rank in time.

    The inner product is ``weight <a, b>``.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the parameters.
    lower, upper : array_like, optional
        Bounds, broadcast to `shape`.
    weight : float
        Factor of the inner product, dimensionless; for example a cell volume.
    comm : communicator, optional
        The ranks in space that the parameters are distributed over, along their first axis;
        `shape` is then this rank's part. By default each of these ranks has all of them.
    """

    kind = "SharedControl"
