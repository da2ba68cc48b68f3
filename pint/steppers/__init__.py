"""Ready-made steppers, adjoints and objectives for ordinary differential equations.

`pint.steppers.symbolic`, which needs sympy, is not imported here.
"""

from pint.steppers import coarse
from pint.steppers.additive import DIRK, DIRKAdjoint, SplitODE
from pint.steppers.chebyshev import RKC, RKCAdjoint
from pint.steppers.coarsening import CoarseStep
from pint.steppers.constraints import (
    Constraint,
    IntegralConstraint,
    PathConstraint,
    TerminalConstraint,
)
from pint.steppers.free_time import FinalTime, free_final_time
from pint.steppers.hat_functions import hat_functions
from pint.steppers.measured_data import MeasuredData, SumOfCosts
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import SCHEMES, scheme
from pint.steppers.sdirk import SDIRK, SDIRKAdjoint
from pint.steppers.substeps import Substeps, SubstepsAdjoint
from pint.steppers.theta import Theta, ThetaAdjoint

__all__ = [
    "DIRK",
    "ODE",
    "RKC",
    "SCHEMES",
    "SDIRK",
    "CoarseStep",
    "Constraint",
    "DIRKAdjoint",
    "FinalTime",
    "IntegralConstraint",
    "Lagrangian",
    "MeasuredData",
    "PathConstraint",
    "RKCAdjoint",
    "RungeKutta",
    "RungeKuttaAdjoint",
    "RunningCost",
    "SDIRKAdjoint",
    "SplitODE",
    "Substeps",
    "SubstepsAdjoint",
    "SumOfCosts",
    "Tableau",
    "TerminalConstraint",
    "Theta",
    "ThetaAdjoint",
    "coarse",
    "free_final_time",
    "hat_functions",
    "scheme",
]
