import sympy

import pint
from pint.steppers.symbolic import SympyODE

y1, y2, u = sympy.symbols("y1 y2 u")
ode = SympyODE(
    states=[y1, y2],
    rhs=[(1 - y2**2) * y1 - y2 + u, y1],
    controls={"u": u},
    running_cost=y1**2 + y2**2 + u**2,
    initial_state=[0, 1],
)
functional = pint.ReducedFunctional(ode.problem("rk4"), pint.TimeGrid.uniform(10.0, 64))
result = pint.minimize(functional, method=pint.GaussNewton())
print(f"J = {result.objective:.8f}")
