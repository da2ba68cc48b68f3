"""The tangent equation, and second derivatives of the objective along directions."""

from pint.equations.tangent.equation import TangentEquation, TangentState
from pint.equations.tangent.products import SecondOrder

__all__ = ["SecondOrder", "TangentEquation", "TangentState"]
