"""Residuals from cycle to cycle, and how many cycles they need to a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Residuals:
    """The residual norms of a solve's cycles, measured or predicted.

    Attributes
    ----------
    norms : tuple of float
        Cycle by cycle, as in `pint.Convergence`; infinite in place of NaN.
    bound : float
        The residual norm that meets the tolerance.
    most : int
        Cycles after which a solve is exact, whatever their factor.
    """

    norms: tuple[float, ...]
    bound: float
    most: int

    def __post_init__(self) -> None:
        norms = tuple(math.inf if math.isnan(norm) else norm for norm in self.norms)
        object.__setattr__(self, "norms", norms)
        object.__setattr__(self, "bound", self.bound if math.isfinite(self.bound) else 0.0)

    @property
    def met(self) -> bool:
        """Whether the last norm meets the tolerance."""
        return bool(self.norms) and self.norms[-1] <= self.bound

    @property
    def factor(self) -> float:
        """The mean factor a cycle, from the first norm to the last one above the bound.

        The norm that meets the tolerance is left out unless it is the second one, since it may
        be zero: cycles are exact in the end. It is 0 of one norm.
        """
        above = [norm for norm in self.norms if norm > self.bound]
        return mean_factor(above if len(above) > 1 else self.norms)

    @property
    def last(self) -> float:
        """The factor of the last cycle; 0 of one norm."""
        return mean_factor(self.norms[-2:])

    @property
    def cycles(self) -> int | None:
        """Cycles to the tolerance, beyond the norms by their last factor; None if they grow."""
        count, last = len(self.norms), self.last
        if self.met:
            return count
        # After growth nobody knows what rounding leaves, though cycles are exact in the end.
        grown = not self.norms or not self.norms[-1] < self.norms[0]
        if grown or not 0 < last < 1 or self.bound <= 0:
            return None
        more = math.log(self.bound / self.norms[-1]) / math.log(last)
        return min(count + math.ceil(more), self.most)


def mean_factor(norms: Sequence[float]) -> float:
    """Return the factor by which norms change from one to the next, the geometric mean."""
    if len(norms) < 2 or norms[0] <= 0 or norms[-1] <= 0:
        return 0.0
    if math.isinf(norms[-1]):
        return math.inf
    return float((norms[-1] / norms[0]) ** (1 / (len(norms) - 1)))
