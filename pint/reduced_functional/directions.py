"""Derivatives along directions of the control: what they need, and what they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pint.comm import agreeing
from pint.controls import Control
from pint.equations import StateEquation
from pint.states import Block, StateSpace, gathered


def require_direction(equation: StateEquation, method: str, direction: Control) -> None:
    """Raise an error, alike on all ranks, unless a method can have second derivatives. Collective.

    `method` is one of `ReducedFunctional`, `direction` its argument.
    """
    calls, controls = equation.calls, equation.controls
    name = f"ReducedFunctional.{method}"
    equation.require_all_points(name)
    with agreeing(calls.grid.comm, name, calls.space.comm) as ranks:
        controls.require_fitting(direction)
        controls.require_agreement(ranks, direction, "direction")


@dataclass(frozen=True, eq=False)
class DirectionalDerivative:
    """How the objective and the states change along a direction of the control.

    Attributes
    ----------
    slope : float
        The derivative of the objective.
    points : Block
        Those of the states, laid out as the states of `ReducedFunctional.states`: this rank's
        points, row 0 the point before them.
    space : StateSpace
    comm : communicator
        The ranks in time.
    """

    slope: float
    points: Block
    space: StateSpace = field(repr=False)
    comm: Any = field(repr=False)

    def states(self) -> np.ndarray | None:
        """Return those of all N + 1 points on the first rank, None on the others. Collective."""
        return gathered(self.space, self.comm, self.points)
