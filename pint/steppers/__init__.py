"""Ready-made steppers, adjoints and objectives for ordinary differential equations.

`pint.steppers.symbolic`, which needs sympy, is not imported here.
"""

from pint.steppers.constraints import (
    Constraint,
    IntegralConstraint,
    PathConstraint,
    TerminalConstraint,
)
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import SCHEMES, scheme
from pint.steppers.theta import Theta, ThetaAdjoint

__all__ = [
    "ODE",
    "SCHEMES",
    "Constraint",
    "IntegralConstraint",
    "Lagrangian",
    "PathConstraint",
    "RungeKutta",
    "RungeKuttaAdjoint",
    "RunningCost",
    "Tableau",
    "TerminalConstraint",
    "Theta",
    "ThetaAdjoint",
    "scheme",
]
