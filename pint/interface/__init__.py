"""What a user implements: the time step, its adjoint, the objective; and the problem they make."""

from pint.interface.adjoint import Adjoint
from pint.interface.differences import DifferenceAdjoint
from pint.interface.examples import Examples
from pint.interface.fields import Fields
from pint.interface.objective import Objective
from pint.interface.problem import Problem
from pint.interface.stepper import TimeStepper
from pint.interface.tangent import Tangent

__all__ = [
    "Adjoint",
    "DifferenceAdjoint",
    "Examples",
    "Fields",
    "Objective",
    "Problem",
    "Tangent",
    "TimeStepper",
]
