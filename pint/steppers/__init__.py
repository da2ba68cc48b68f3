"""Ready-made steppers, adjoints and objectives for ordinary differential equations.

`pint.steppers.symbolic`, which needs sympy, is not imported here.
"""

from pint.steppers.constraints import (
    Constraint,
    IntegralConstraint,
    PathConstraint,
    TerminalConstraint,
)
from pint.steppers.free_time import FinalTime, free_final_time
from pint.steppers.measured_data import MeasuredData, SumOfCosts
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import SCHEMES, scheme
from pint.steppers.theta import Theta, ThetaAdjoint

__all__ = [
    "ODE",
    "SCHEMES",
    "Constraint",
    "FinalTime",
    "IntegralConstraint",
    "Lagrangian",
    "MeasuredData",
    "PathConstraint",
    "RungeKutta",
    "RungeKuttaAdjoint",
    "RunningCost",
    "SumOfCosts",
    "Tableau",
    "TerminalConstraint",
    "Theta",
    "ThetaAdjoint",
    "free_final_time",
    "scheme",
]
