"""The state and the adjoint equation, between the multigrid engine and the optimisers."""

from pint.equations.adjoint import AdjointEquation
from pint.equations.calls import Calls
from pint.equations.state import StateEquation
from pint.equations.trajectory import (
    AdjointState,
    Cycles,
    Lagged,
    March,
    Relax,
    State,
    Value,
)

__all__ = [
    "AdjointEquation",
    "AdjointState",
    "Calls",
    "Cycles",
    "Lagged",
    "March",
    "Relax",
    "State",
    "StateEquation",
    "Value",
]
