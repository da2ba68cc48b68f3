r"""
A wall that must not be touched: a path constraint
==================================================

:math:`\ddot x = u`, from :math:`x = 0, v = 1` to :math:`x = 0, v = -1` in unit time with
:math:`x \le l = 1/9`. The optimum is :math:`4 / (9l) = 4` (Bryson and Ho, 1975).
"""

import matplotlib.pyplot as plt
import sympy

import pint
from pint.steppers.symbolic import SympyODE

x, v, u = sympy.symbols("x v u")
ode = SympyODE([x, v], [v, u], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 1])
constraints = [ode.terminal_constraint([x, v + 1]), ode.path_constraint(x - 1 / 9)]

grid = pint.TimeGrid.uniform(1.0, 60)
functional = pint.ReducedFunctional(ode.problem("midpoint"), grid)
method = pint.AugmentedLagrangian(pint.GaussNewton(), constraints)
result = pint.minimize(functional, None, method)
print(
    f"J = {result.objective:.5f}, exactly 4; largest violation {max(result.constrained.violations):.0e}"
)

figure, axes = plt.subplots(2, figsize=(6, 5), sharex=True, layout="constrained")
axes[0].plot(grid.t, result.states()[:, 0])
axes[0].axhline(1 / 9, color="black", linestyle=":", label="wall")
axes[0].set(title="position")
axes[0].legend()
axes[1].step(grid.t[:-1], result.control["u"], where="post")
axes[1].set(xlabel="t", title="acceleration")
plt.show()
