"""A run between two updates."""

from __future__ import annotations

from dataclasses import dataclass, field

from pint.optimise.lbfgs import InverseHessian
from pint.optimise.point import Point
from pint.optimise.result import Iterate
from pint.optimise.solves import Solves


@dataclass
class Run:
    """Everything that the next updates depend on. Changes in place.

    Attributes
    ----------
    point : Point
    solves : Solves
    hessian : InverseHessian
    step : float
        Of the last update.
    rejected : int
        Trials that it rejected.
    history : list of Iterate
    """

    point: Point
    solves: Solves
    hessian: InverseHessian
    step: float
    rejected: int = 0
    history: list[Iterate] = field(default_factory=list)
