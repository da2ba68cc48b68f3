"""A run between two updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pint.optimise.lbfgs import InverseHessian
from pint.optimise.point import Point
from pint.optimise.result import Iterate
from pint.optimise.strategy import Strategy


@dataclass
class Run:
    """Everything that the next updates depend on. Changes in place.

    Attributes
    ----------
    point : Point
    strategy : Strategy
    hessian : InverseHessian
    step : float
        Of the last update; before the first one that of its first trial.
    rejected : int
        Trials of the last update besides the one that it ended with.
    history : list of Iterate
    """

    point: Point
    strategy: Strategy
    hessian: InverseHessian
    step: float = 1.0
    rejected: int = 0
    history: list[Iterate] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from update to update, apart from arrays and the history."""
        return {
            "step": self.step,
            "rejected": self.rejected,
            "strategy": self.strategy.state_dict(),
            "point": self.point.state_dict(),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place; KeyError or TypeError if damaged."""
        self.step, self.rejected = float(values["step"]), int(values["rejected"])
        self.strategy.load_state_dict(values["strategy"])
        self.point.load_state_dict(values["point"])
