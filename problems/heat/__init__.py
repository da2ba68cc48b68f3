"""Optimal control of the heat equation on (0, 1)^d, d = 1 or 2.

    y_t = nu Laplace(y) + f (+ u),   finite differences in space, implicit one-step methods in time

Three problems, named by their control:

- distributed: u(x, t) on the right-hand side, y = 0 on the boundary,
  ``J = 1/2 int int (y - y_d)^2 + alpha/2 int int u^2``
- initial: y(x, 0) = u(x), y = 0 on the boundary,
  ``J = 1/2 int (y(T) - y_d)^2 + alpha/2 int u^2``
- neumann (d = 1): ``nu y_x(1, t) = u(t)``, y_x(0, t) = 0,
  ``J = 1/2 int int (y - y_d)^2 + alpha/2 int u^2 dt``

With y = 0 on the boundary the unknowns are the interior points of a uniform mesh, h = 1/(n + 1);
with Neumann conditions the midpoints of n cells, h = 1/n. Integrals in space are sums weighted by
h^d, in time the right rectangle rule with implicit Euler and the trapezoid rule with
Crank-Nicolson; u is constant over a time step.

Coarse levels of MGRIT may have coarser meshes, each with twice the width of the one before: states
go down by full weighting, corrections come back by linear interpolation.
"""

from problems.heat.data import manufactured, zero_target
from problems.heat.equation import (
    Coordinates,
    Heat,
    HeatAdjoint,
    HeatData,
    HeatStepper,
    HeatTerminal,
    HeatTracking,
)

__all__ = [
    "Coordinates",
    "Heat",
    "HeatAdjoint",
    "HeatData",
    "HeatStepper",
    "HeatTerminal",
    "HeatTracking",
    "manufactured",
    "zero_target",
]
