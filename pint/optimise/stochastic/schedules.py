"""Factors of the learning rate, by update and epoch; the numbers are those of PyTorch.

A schedule is called with the number of the update and that of its epoch, both from 0, and returns
what the learning rate is multiplied by. Any function of the two will do; these are the usual ones.
With ``by="update"`` they count updates in place of epochs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pint.errors import check_choice, integer, number

Unit = Literal["epoch", "update"]


@dataclass(frozen=True)
class Schedule(ABC):
    """A factor that depends on one count.

    Attributes
    ----------
    by : 'epoch' or 'update'
        What is counted.
    """

    by: Unit

    def __call__(self, update: int, epoch: int) -> float:
        """Return the factor of an update; dimensionless."""
        return self.factor(update if self.by == "update" else epoch)

    @abstractmethod
    def factor(self, count: int) -> float:
        """Return the factor after some epochs or updates."""


@dataclass(frozen=True)
class Step(Schedule):
    """``factor^floor(count / every)``."""

    every: int
    decay: float

    def factor(self, count: int) -> float:
        return self.decay ** (count // self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """``least + (1 - least) (1 + cos(pi count / total)) / 2``."""

    total: int
    least: float

    def factor(self, count: int) -> float:
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * count / self.total)) / 2


@dataclass(frozen=True)
class WarmUp(Schedule):
    """``start + (1 - start) count / total``, and from `total` on another schedule."""

    total: int
    start: float
    then: Callable[[int, int], float] | None

    def __call__(self, update: int, epoch: int) -> float:
        count = update if self.by == "update" else epoch
        if count < self.total or self.then is None:
            return self.factor(count)
        if self.by == "update":
            return self.then(update - self.total, epoch)
        return self.then(update, epoch - self.total)

    def factor(self, count: int) -> float:
        return self.start + (1 - self.start) * min(count, self.total) / self.total


def step(every: int, factor: float = 0.1, *, by: Unit = "epoch") -> Schedule:
    """Return the factor that is multiplied by `factor` after so many epochs each time.

    The numbers are those of ``torch.optim.lr_scheduler.StepLR(step_size=every, gamma=factor)``.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    owner = "schedules.step"
    check_choice(owner, "by", by, ("epoch", "update"))
    every = integer(owner, "every", every, 1)
    return Step(by, every, number(owner, "factor", factor, positive=True))


def cosine(total: int, least: float = 0.0, *, by: Unit = "epoch") -> Schedule:
    """Return the factor that falls from 1 to `least` along half a cosine, in `total` epochs.

    The numbers are those of ``torch.optim.lr_scheduler.CosineAnnealingLR(T_max=total,
    eta_min=least * learning_rate)``: after `total` the factor rises again.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    owner = "schedules.cosine"
    check_choice(owner, "by", by, ("epoch", "update"))
    total = integer(owner, "total", total, 1)
    return Cosine(by, total, number(owner, "least", least))


def warm_up(
    total: int,
    then: Callable[[int, int], float] | None = None,
    *,
    start: float = 1 / 3,
    by: Unit = "epoch",
) -> Schedule:
    """Return the factor that rises from `start` to 1 in `total` epochs, and then is another one's.

    The numbers are those of ``torch.optim.lr_scheduler.LinearLR(start_factor=start,
    total_iters=total)``, followed in a ``SequentialLR`` by `then`, which counts from the end of the
    warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or `then` counts something else.
    """
    owner = "schedules.warm_up"
    check_choice(owner, "by", by, ("epoch", "update"))
    total = integer(owner, "total", total, 1)
    if then is not None and not callable(then):
        raise TypeError(f"`{owner}(then=...)` must be a schedule, got {type(then).__name__}.")
    if isinstance(then, Schedule) and then.by != by:
        raise ValueError(f"`{owner}(then=...)` counts by {then.by}, and the warm-up by {by}.")
    return WarmUp(by, total, number(owner, "start", start), then)
