"""The filter of the line search: pairs of infeasibility and objective that must not come back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

MARGIN = 1e-5
"""By which an iterate must be better than those of the filter, relative."""

SUFFICIENT = 1e-8
"""Of the decrease that the slope promises."""


@dataclass
class Filter:
    """Wächter & Biegler's filter, with dimensionless measures [1]_. Changes in place.

    Attributes
    ----------
    infeasibility, objective : float
        What one unit of each measure is.
    least, most : float
        Iterates below the first count as feasible, those above the second are refused.

    References
    ----------
    .. [1] A. Wächter, L. T. Biegler, Math. Program. 106 (2006), section 2.3.
    """

    infeasibility: float
    objective: float
    least: float
    most: float
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def clear(self) -> None:
        """Forget all pairs, in place."""
        self.pairs = []

    def accepts(
        self,
        now: tuple[float, float],
        trial: tuple[float, float],
        slope: float,
        step: float,
    ) -> tuple[bool, bool]:
        """Return whether a trial is accepted, and whether as a step of descent.

        Parameters
        ----------
        now, trial : (float, float)
            Infeasibility and objective.
        slope : float
            Of the objective along the step.
        step : float
            Its length.
        """
        theta, phi = now[0] / self.infeasibility, now[1] / self.objective
        theta_t, phi_t = trial[0] / self.infeasibility, trial[1] / self.objective
        if not (math.isfinite(theta_t) and math.isfinite(phi_t)) or theta_t > self.most:
            return False, False
        if any(theta_t >= a and phi_t >= b for a, b in self.pairs):
            return False, False
        rounding = 1e-14 * abs(phi)
        m = slope / self.objective
        # Powers of numpy: those of Python raise an error where they are too large.
        descends = m < 0 and bool(step * np.power(-m, 2.3) > np.power(theta, 1.1))
        if theta <= self.least and descends:
            return phi_t - phi - rounding <= SUFFICIENT * step * m, True
        better = theta_t <= (1 - MARGIN) * theta or phi_t - rounding <= phi - MARGIN * theta
        return better, False

    def add(self, now: tuple[float, float]) -> None:
        """Let nothing be worse than this from now on, in place."""
        theta, phi = now[0] / self.infeasibility, now[1] / self.objective
        self.pairs.append(((1 - MARGIN) * theta, phi - MARGIN * theta))
