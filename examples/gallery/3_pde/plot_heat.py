"""
Heat a rod to a given profile
=============================

The heat equation in one dimension with a control in every cell and step, and the closed-form
optimum for comparison.
"""

import matplotlib.pyplot as plt

import pint
from problems.heat import Heat, manufactured

heat = Heat(points=31)
grid = pint.TimeGrid.uniform(1.0, 64)
functional = pint.ReducedFunctional(heat.problem(manufactured(heat, 1.0)), grid)
result = pint.minimize(functional)
print(f"J = {result.objective:.8f} after {result.iterations} updates")

states = result.states()
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
picture = axes.imshow(states, origin="lower", aspect="auto", extent=(0, 1, 0, 1), cmap="inferno")
axes.set(xlabel="x", ylabel="t", title="temperature")
figure.colorbar(picture)
plt.show()
