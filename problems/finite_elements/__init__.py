"""Control problems in finite elements, with scikit-fem: P1 and P2 on lines and triangles."""

from problems.finite_elements.catalogue import (
    PROBLEMS,
    Advection,
    AllenCahn,
    Burgers,
    FiniteElementProblem,
    HeatBoundary,
    lumped_mass,
)
from problems.finite_elements.elements import Boundary, Elements, interval, l_shape, square
from problems.finite_elements.equation import (
    DoubleWell,
    Function,
    Reaction,
    SemiDiscrete,
    Tracking,
    Transport,
)
from problems.finite_elements.optimum import Data, Optimum

__all__ = [
    "PROBLEMS",
    "Advection",
    "AllenCahn",
    "Boundary",
    "Burgers",
    "Data",
    "DoubleWell",
    "Elements",
    "FiniteElementProblem",
    "Function",
    "HeatBoundary",
    "Optimum",
    "Reaction",
    "SemiDiscrete",
    "Tracking",
    "Transport",
    "interval",
    "l_shape",
    "lumped_mass",
    "square",
]
