"""The van der Pol oscillator, controlled: int_0^10 |y|^2 + u^2 dt, all derivatives generated."""

import sympy

import pint
from pint.steppers.symbolic import SympyODE

y1, y2, u = sympy.symbols("y1 y2 u")
oscillator = SympyODE(
    states=[y1, y2],
    rhs=[(1 - y2**2) * y1 - y2 + u, y1],
    controls={"u": u},
    running_cost=y1**2 + y2**2 + u**2,
    initial_state=[0, 1],
)
problem = oscillator.problem(scheme="rk4")

functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(10.0, 64))
result = pint.minimize(functional)
print(f"J = {result.objective:.8f}")
