"""Linear-quadratic optimal-control problems: Riccati recursion, associative scan, many ranks."""

from pint.lq.problem import LinearQuadratic, SharedParameters
from pint.lq.solution import NotPositiveDefiniteError, Solution
from pint.lq.solving import solve

__all__ = ["LinearQuadratic", "NotPositiveDefiniteError", "SharedParameters", "Solution", "solve"]
