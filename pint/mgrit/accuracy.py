"""When a solve ends, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pint.errors import integer, number


@dataclass(frozen=True)
class Accuracy:
    """When a solve ends: after `cycles`, or before, once its residual meets every tolerance given.

    Parameters
    ----------
    cycles : int
        Largest number of cycles, >= 1.
    absolute : float, optional
        Largest residual norm.
    relative : float, optional
        Largest ratio of the residual norm to the norm of the trajectory, both over the C-points;
        dimensionless, and so the same for states and adjoints of any size. Both norms are those
        of the space, of all components together: where some are small beside others, give states
        in units in which they are alike, or a smaller tolerance.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    cycles: int = 30
    absolute: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cycles", integer("Accuracy", "cycles", self.cycles, 1))
        for name in ("absolute", "relative"):
            if getattr(self, name) is not None:
                tolerance = number("Accuracy", name, getattr(self, name))
                object.__setattr__(self, name, tolerance)

    def require_reachable(self, option: str, precision: float) -> None:
        """Raise ValueError, which begins with `option`, if rounding keeps residuals above it.

        `precision` is the relative rounding error of the states.
        """
        if self.relative is not None and 0 < self.relative < 4 * precision and precision > 1e-10:
            raise ValueError(
                f"`{option}`: rounding of the states, {precision:.1g}, keeps residuals above "
                f"relative={self.relative:g}; use at least {10 * precision:.1g}, or float64 states."
            )

    @property
    def has_tolerance(self) -> bool:
        """Whether a solve can end before `cycles`."""
        return self.absolute is not None or self.relative is not None

    def bound(self, norm: float) -> float:
        """Return the largest residual norm that meets the tolerances; -inf without any."""
        bounds = [] if self.absolute is None else [self.absolute]
        bounds += [] if self.relative is None else [self.relative * norm]
        return min(bounds, default=-math.inf)


@dataclass(frozen=True)
class Convergence:
    """What a solve did.

    Attributes
    ----------
    residuals : tuple of float
        For each cycle the 2-norm over the C-points of the residual's state norm, on level 0,
        after relaxation and before the coarse correction; empty for sequential stepping.
    converged : bool
        Whether the tolerances were met; sequential stepping always meets them.
    bound : float
        The largest last residual norm that would have met them; zero without a tolerance.
    """

    residuals: tuple[float, ...]
    converged: bool
    bound: float = 0.0

    @property
    def residual(self) -> float:
        """The last residual norm; zero for sequential stepping."""
        return self.residuals[-1] if self.residuals else 0.0
