"""What the operations of a run cost: measured, or assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import NoneType
from typing import Any

import numpy as np

from pint.mgrit.hierarchy import CHUNK_BYTES


@dataclass(frozen=True)
class CallCost:
    """Seconds of a call by the number of things that it handles, piecewise linear.

    The line goes through (0, 0) and the given points; it is extrapolated linearly.

    Parameters
    ----------
    sizes : sequence of int
        Increasing, >= 1.
    seconds : sequence of float
        For each size, >= 0.

    Raises
    ------
    ValueError
        If the two do not fit, or a value is out of range.

    Examples
    --------
    >>> step = CallCost.linear(call=1e-5, each=2e-6)
    >>> round(float(step(5)) * 1e6, 6)
    20.0
    """

    sizes: Sequence[int]
    seconds: Sequence[float]

    def __post_init__(self) -> None:
        sizes, seconds = tuple(self.sizes), tuple(float(value) for value in self.seconds)
        if not sizes or sizes[0] < 1 or any(b <= a for a, b in pairwise(sizes)):
            raise ValueError(f"`CallCost(sizes=...)` must increase from 1 or more, got {sizes}.")
        if len(seconds) != len(sizes) or not all(0 <= value < math.inf for value in seconds):
            raise ValueError(
                "`CallCost(seconds=...)` must be finite, not negative, and one for each size, "
                f"got {seconds} for {sizes}."
            )
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "seconds", seconds)

    @classmethod
    def linear(cls, call: float, each: float) -> CallCost:
        """Return ``call + each * size`` seconds; an empty call is free."""
        return cls((1, 2), (call + each, call + 2 * each))

    def __call__(self, size: Any) -> np.ndarray:
        """Return the seconds of calls of the given sizes, an array like `size`."""
        sizes, seconds = (0, *self.sizes), (0.0, *self.seconds)
        slope = (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2])
        beyond = np.maximum(np.asarray(size) - sizes[-1], 0)
        return np.asarray(np.interp(size, sizes, seconds) + max(slope, 0.0) * beyond)


FREE = CallCost((1,), (0.0,))
"""An operation that takes no time."""


@dataclass(frozen=True)
class Costs:
    """What each operation costs on one rank, in seconds, and what messages cost.

    Attributes
    ----------
    state, adjoint : sequence of CallCost
        By level, a call that advances a batch of states (adjoints) by one step. Levels beyond the
        last one given cost as much as the last one.
    derivative : CallCost
        What the derivative with respect to the control adds to a number of adjoint steps.
    derivative_apart : CallCost or None
        The derivative of a number of steps that the adjoint solve has not formed it for; None if
        it costs as much as `derivative`.
    state_bytes : int
        Storage of this rank's part of a state in bytes; it determines the size of batches.
    copy, norm : float
        Copying a state from one block to another, or adding it there; its squared norm.
    objective, linearise : CallCost
        The step cost, and its derivatives, of a number of steps.
    terminal, terminal_derivative, initial, initial_derivative : float
        On the rank that owns the last point, or point 0.
    bind : CallCost
        Handing a control over a number of steps to the levels, before each solve begins.
    vector : CallCost
        An inner product of controls over a number of steps, and adding a multiple of one, without
        the sum over the ranks.
    latency, bandwidth : float
        Of messages between neighbours, in seconds and bytes/s.
    reduction_call, reduction_stage : float
        A sum over all ranks takes ``reduction_call + ceil(log2(ranks)) * reduction_stage``.
    runs : bool
        Whether steppers and adjoints make runs of steps (`TimeStepper.advance`): a relaxation then
        takes all its steps at the cost of a call for one.

    Raises
    ------
    ValueError
        If a value is negative or not finite (a bandwidth may be infinite), or no level is given.
    """

    state: Sequence[CallCost]
    adjoint: Sequence[CallCost]
    derivative: CallCost = FREE
    derivative_apart: CallCost | None = None
    state_bytes: int = 8
    copy: float = 0.0
    norm: float = 0.0
    objective: CallCost = FREE
    linearise: CallCost = FREE
    terminal: float = 0.0
    terminal_derivative: float = 0.0
    initial: float = 0.0
    initial_derivative: float = 0.0
    bind: CallCost = FREE
    vector: CallCost = FREE
    latency: float = 2e-6
    bandwidth: float = 1e10
    reduction_call: float = 0.0
    reduction_stage: float = 2e-6
    runs: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("state", "adjoint"):
                object.__setattr__(self, name, tuple(value))
                if not value:
                    raise ValueError(f"`Costs({name}=...)` needs the cost of at least one level.")
            elif name in ("bandwidth", "state_bytes"):
                if not value > 0:
                    raise ValueError(f"`Costs({name}=...)` must be positive, got {value}.")
            elif not isinstance(value, (CallCost, NoneType)) and not 0 <= value < math.inf:
                raise ValueError(f"`Costs({name}=...)` must be finite and >= 0, got {value}.")

    @property
    def batch(self) -> int:
        """The number of states that fit together into a chunk of the engine."""
        return max(1, CHUNK_BYTES // int(self.state_bytes))

    @property
    def message(self) -> float:
        """Seconds from sending a state to a neighbour until it arrives."""
        return self.latency + self.state_bytes / self.bandwidth

    def reduction(self, ranks: int) -> float:
        """Return the seconds of a sum of a few numbers over `ranks` ranks."""
        return self.reduction_call + math.ceil(math.log2(ranks)) * self.reduction_stage

    def step(self, level: int, adjoint: bool) -> CallCost:
        """Return the cost of a step of `level`."""
        steps = self.adjoint if adjoint else self.state
        return steps[min(level, len(steps) - 1)]

    def with_network(self, latency: float, bandwidth: float) -> Costs:
        """Return the same work with another network; a stage of a sum takes one latency."""
        return replace(self, latency=latency, bandwidth=bandwidth, reduction_stage=latency)
