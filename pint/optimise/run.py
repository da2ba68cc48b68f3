"""A run between two updates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pint.controls import Control
from pint.optimise.lbfgs import InverseHessian
from pint.optimise.point import Point
from pint.optimise.result import Iterate
from pint.optimise.safeguard import Safeguard


@dataclass
class Run:
    """Everything that the next updates depend on. Changes in place.

    Attributes
    ----------
    point : Point
    strategy : Safeguard
    hessian : InverseHessian
    step : float
        Of the last update; before the first one that of its first trial.
    slope : float
        Of the objective along the last update's direction, where it began; 0 before the first one.
    rejected : int
        Trials of the last update besides the one that it ended with.
    history : list of Iterate
    evaluations : int
        Objectives evaluated so far.
    best : tuple of float and Control, or None
        The least objective since the run began or was resumed, and its control.
    cause : str
        Why the run met NaN or infinity, where that has ended it.
    """

    point: Point
    strategy: Safeguard
    hessian: InverseHessian
    step: float = 1.0
    slope: float = 0.0
    rejected: int = 0
    history: list[Iterate] = field(default_factory=list)
    evaluations: int = 0
    best: tuple[float, Control] | None = None
    cause: str = ""

    def note_best(self) -> None:
        """Keep the control of the least objective, its error included, in place."""
        row = self.history[-1]
        bound = row.objective + (0.0 if math.isnan(row.objective_error) else row.objective_error)
        if self.best is None or not self.best[0] <= bound:
            self.best = bound, self.point.control

    def rivals(self, start: Control, objective: float) -> list[Control]:
        """Return the controls whose exact objectives may be less than an exact `objective`."""
        first, rivals = self.history[0], []
        # An exact start that is no better need not be solved again.
        if self.history[-1].iteration and not (
            first.objective_error == 0 and objective <= first.objective
        ):
            rivals.append(start)
        if self.best is not None and self.best[1] is not self.point.control:
            if not objective <= self.best[0]:
                rivals.append(self.best[1])
        return rivals

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from update to update, apart from arrays and the history."""
        return {
            "step": self.step,
            "slope": self.slope,
            "rejected": self.rejected,
            "strategy": self.strategy.state_dict(),
            "point": self.point.state_dict(),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place; KeyError or TypeError if damaged."""
        self.step, self.slope = float(values["step"]), float(values["slope"])
        self.rejected = int(values["rejected"])
        self.strategy.load_state_dict(values["strategy"])
        self.point.load_state_dict(values["point"])
