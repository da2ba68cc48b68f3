"""
An implicit step on coarse levels
=================================

RK4 is stable on the finest level and not with steps eight times as long. With implicit Euler on the
coarse level cycles converge to the same states: those of RK4.
"""

import matplotlib.pyplot as plt
import numpy as np
import sympy

import pint
from pint.equations import Cycles
from pint.steppers.symbolic import SympyODE

y1, y2, u = sympy.symbols("y1 y2 u")
stiff = SympyODE(
    [y1, y2], [-40 * y1 + y2, -y2 + u], {"u": u}, running_cost=y1**2 + u**2, initial_state=[1, 1]
)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for coarse in (None, "implicit-euler", "sdirk2"):
    grid = pint.TimeGrid.uniform(4.0, 256, coarsening=8, levels=2)
    problem = stiff.problem("rk4", coarse=coarse)
    functional = pint.ReducedFunctional(problem, grid, guess="constant", unconverged="ignore")
    state = functional.state.new()
    accuracy = pint.Accuracy(cycles=12, relative=1e-12)
    functional.state.solve(state, functional.control(u=1.0), Cycles(accuracy))
    norms = np.array(state.convergence.residuals)
    axes.semilogy(np.where(norms < 1e30, norms, np.nan), "o-", label=coarse or "RK4 everywhere")
axes.set(xlabel="cycles", ylabel="residual norm", ylim=(1e-12, 1e12))
axes.legend()
plt.show()
