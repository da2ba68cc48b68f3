r"""
As fast as possible: a free final time
======================================

A car drives one metre and stops; :math:`|u| \le 1`. The fastest way is full acceleration, then full
braking, in :math:`T = 2` seconds. The final time is one of the unknowns.
"""

import matplotlib.pyplot as plt
import sympy

import pint
from pint.steppers.symbolic import SympyODE

x, v, u, T = sympy.symbols("x v u T")
ode = SympyODE(
    states=[x, v],
    rhs=[v, u],
    controls={"u": u},
    parameters={"T": T},
    terminal_cost=T,
    initial_state=[0, 0],
    final_time=T,
)
problem = ode.problem("midpoint", controls={"u": (-1, 1), "T": pint.FinalTime(0.01)})
grid = pint.TimeGrid.uniform(1.0, 60)
functional = pint.ReducedFunctional(problem, grid)
start = functional.controls.control(T=3.0)
arrive = ode.terminal_constraint([x - 1, v])
result = pint.minimize(functional, start, pint.AugmentedLagrangian(pint.GaussNewton(), [arrive]))
found = result.control["T"].item()
print(f"T = {found:.6f}, exactly 2")

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(found * grid.t, result.states(), label=["position", "velocity"])
axes.step(found * grid.t[:-1], result.control["u"], where="post", label="control")
axes.set(xlabel="t")
axes.legend()
plt.show()
