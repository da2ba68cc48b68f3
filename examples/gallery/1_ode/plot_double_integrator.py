r"""
A cart comes to rest, with the feedback gains
=============================================

:math:`\ddot x = u` from :math:`x = 1` at rest, :math:`\int_0^8 x^2 + u^2\,dt`. `GaussNewton` also returns
the gains of the optimal feedback. Far from the end they are those of the algebraic Riccati equation,
:math:`(1, \sqrt 2)`.
"""

import matplotlib.pyplot as plt
import numpy as np
import sympy

import pint
from pint.steppers.symbolic import SympyODE

x, v, u = sympy.symbols("x v u")
ode = SympyODE(
    states=[x, v],
    rhs=[v, u],
    controls={"u": u},
    running_cost=x**2 + u**2,
    initial_state=[1, 0],
)
grid = pint.TimeGrid.uniform(8.0, 400)
functional = pint.ReducedFunctional(ode.problem("midpoint"), grid)
result = pint.minimize(functional, method=pint.GaussNewton())
gains = -result.all_at_once.gains[:, 0]
print(f"first gains {gains[0].round(2)}, of the Riccati equation {np.sqrt([1, 2]).round(2)}")

figure, axes = plt.subplots(2, figsize=(6, 5), sharex=True, layout="constrained")
axes[0].plot(grid.t, result.states(), label=["position", "velocity"])
axes[0].plot(grid.t[:-1], result.control["u"], label="control")
axes[0].legend()
axes[1].plot(grid.t[:-1], gains, label=["of the position", "of the velocity"])
axes[1].set(xlabel="t", title="feedback gains")
axes[1].legend()
plt.show()
