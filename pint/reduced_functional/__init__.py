"""The objective as a function of the control alone, and its gradient by the discrete adjoint."""

from pint.reduced_functional.directions import DirectionalDerivative
from pint.reduced_functional.functional import ReducedFunctional

__all__ = ["DirectionalDerivative", "ReducedFunctional"]
