"""
MGRIT cycles, and how relaxation changes them
=============================================

Residuals of the state equation after each cycle, for the heat equation in one dimension with 256
steps, and with sequential steps for comparison: they are one "cycle".
"""

import matplotlib.pyplot as plt

import pint
from pint.equations import Cycles
from problems.heat import Heat, zero_target

heat = Heat(points=31)
problem = heat.problem(zero_target(heat))
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for relaxation in ("F", "FCF", "FCFCF"):
    grid = pint.TimeGrid.uniform(1.0, 256, coarsening=4, levels=3)
    functional = pint.ReducedFunctional(problem, grid, relaxation=relaxation, guess="constant")
    control = functional.control(u=1.0)
    state = functional.state.new()
    functional.state.solve(state, control, Cycles(pint.Accuracy(relative=1e-12)))
    norms = state.convergence.residuals
    print(f"{relaxation}: {len(norms)} cycles")
    axes.semilogy(norms, "o-", label=relaxation)
axes.set(xlabel="cycles", ylabel="residual norm")
axes.legend()
plt.show()
