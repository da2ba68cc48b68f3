"""Newton's method in the reduced space, its systems solved by conjugate gradients."""

from pint.optimise.newton.method import NewtonCG

__all__ = ["NewtonCG"]
