"""
Keep a moving place warm
========================

The temperature of a plate is to follow a warm place on its way around. Adaptive one-shot on two
levels; the states also go to files for ParaView.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np

import pint
import pint.io
from problems.heat import Heat, HeatData

points, steps = 31, 32
heat = Heat("distributed", points, 2, nu=0.05, alpha=1e-5)
x, y = heat.coordinates


def target(t):
    a, b = 0.5 + 0.25 * np.cos(2 * np.pi * t), 0.5 + 0.25 * np.sin(2 * np.pi * t)
    return np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02)


data = HeatData(np.zeros(heat.size), lambda t: 0 * t + 0 * x, target)
grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=2)
functional = pint.ReducedFunctional(heat.problem(data), grid)
result = pint.minimize(functional, method=pint.Adaptive(relative_gradient_tolerance=1e-3))
print(f"J = {result.objective:.3e} after {result.iterations} updates")

with tempfile.TemporaryDirectory() as folder:
    axis = np.unique(x)
    print(result.write_vtk(folder, pint.io.grid(axis, axis), controls=["u"], every=8).name)

states = result.states().reshape(-1, points, points)
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), sharey=True, layout="constrained")
for axis, n in zip(axes, (8, 16, 24, 32), strict=True):
    axis.imshow(states[n].T, extent=(0, 1, 0, 1), origin="lower", vmin=0, cmap="inferno")
    axis.set(title=f"t = {grid.t[n]:.2f}")
plt.show()
