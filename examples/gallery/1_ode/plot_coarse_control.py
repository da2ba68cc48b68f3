"""
A control with few numbers: steps and hat functions
===================================================

The same problem with a control for every time step, one that changes ten times, and one that is
piecewise linear between eleven points.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from problems.ode import PROBLEMS

van_der_pol = PROBLEMS["van-der-pol"]()
grid = pint.TimeGrid.uniform(van_der_pol.T, 100)
plain = van_der_pol.problem()
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
fields = {
    "a number a step": pint.TimeControl(1),
    "every 10 steps": pint.TimeControl(1, every=10),
    "hat functions": pint.TimeControl(1, every=10, interpolate="linear"),
}
for label, field in fields.items():
    problem = pint.Problem(plain.stepper, plain.adjoint, plain.objective, {"u": field})
    functional = pint.ReducedFunctional(problem, grid)
    result = pint.minimize(functional)
    print(f"{label}: J = {result.objective:.5f}")
    values = result.control["u"].ravel()
    axes.plot(np.linspace(0, grid.t[-1], len(values)), values, label=label)
axes.set(xlabel="t", ylabel="u")
axes.legend()
plt.show()
