"""Ready-made steppers, adjoints and objectives for ordinary differential equations.

`pint.steppers.symbolic`, which needs sympy, is not imported here.
"""

from pint.steppers import coarse
from pint.steppers.chebyshev import RKC, RKCAdjoint
from pint.steppers.coarsening import CoarseStep
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import RungeKutta, RungeKuttaAdjoint, Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import SCHEMES, scheme
from pint.steppers.sdirk import SDIRK, SDIRKAdjoint
from pint.steppers.substeps import Substeps, SubstepsAdjoint
from pint.steppers.theta import Theta, ThetaAdjoint

__all__ = [
    "ODE",
    "RKC",
    "SCHEMES",
    "SDIRK",
    "CoarseStep",
    "Lagrangian",
    "RKCAdjoint",
    "RungeKutta",
    "RungeKuttaAdjoint",
    "RunningCost",
    "SDIRKAdjoint",
    "Substeps",
    "SubstepsAdjoint",
    "Tableau",
    "Theta",
    "ThetaAdjoint",
    "coarse",
    "scheme",
]
