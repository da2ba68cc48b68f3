"""
Heat a plate
============

Two dimensions, three time levels, two cycles an update.
"""

import matplotlib.pyplot as plt

import pint
from problems.heat import Heat, manufactured

grid = pint.TimeGrid.uniform(0.5, 32, coarsening=2, levels=3)
heat = Heat(points=23, dimension=2)
functional = pint.ReducedFunctional(heat.problem(manufactured(heat, 0.5)), grid)
result = pint.minimize(functional, method=pint.OneShot(cycles=2, iterations=30))
print(f"J = {result.objective:.8f}")

states = result.states()
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axis, n in zip(axes, (4, 16, 32), strict=True):
    axis.imshow(states[n].reshape(23, 23), vmin=states.min(), vmax=states.max(), cmap="inferno")
    axis.set(title=f"t = {grid.t[n]:.2f}", xticks=[], yticks=[])
plt.show()
