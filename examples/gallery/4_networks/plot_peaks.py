"""
A residual network separates five classes
=========================================

The layers are the time steps, the weights the control. One-shot MGRIT trains them; on many ranks each
has some of the layers.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from problems.peaks import generate
from problems.resnet import DenseNetwork, classify

points, labels = generate(1000, seed=1)
network = DenseNetwork(features=2, width=8, classes=5)
grid = pint.TimeGrid.uniform(5.0, 32, coarsening=4, levels=2)
functional = pint.ReducedFunctional(network.problem(points, labels), grid)
start = network.random_control(functional.controls, seed=2)
result = pint.minimize(functional, start, pint.OneShot(cycles=1, iterations=80))
line = np.linspace(-3, 3, 150)
mesh = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
found = classify(network, result.control, mesh)
print(f"loss {result.objective:.4f}")

figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.imshow(found.reshape(150, 150), origin="lower", extent=(-3, 3, -3, 3), cmap="Set2")
axes.scatter(*points[:300].T, c=labels[:300].argmax(1), cmap="Set2", edgecolor="black", s=15)
axes.set(title="classes found, and 300 of the points")
plt.show()
