r"""
Calm a van der Pol oscillator
=============================

Minimise :math:`\int_0^{10} |y|^2 + u^2\,dt`. All derivatives are generated from the expressions, and
`GaussNewton` takes states and controls as unknowns together.
"""

import matplotlib.pyplot as plt
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
grid = pint.TimeGrid.uniform(10.0, 128)
functional = pint.ReducedFunctional(ode.problem("rk4"), grid)
result = pint.minimize(functional, method=pint.GaussNewton())
print(f"J = {result.objective:.8f} after {result.iterations} iterations")

states = result.states()
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(grid.t, states, label=["$y_1$", "$y_2$"])
axes.step(grid.t[:-1], result.control["u"], where="post", label="$u$")
axes.set(xlabel="t", title="van der Pol, controlled")
axes.legend()
plt.show()
