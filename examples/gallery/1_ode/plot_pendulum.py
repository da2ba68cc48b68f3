"""
Swing up a pendulum
===================

From rest, hanging down, to rest upright in four seconds, with a weak motor. The cost has many minima;
`MultiStart` begins from several random controls and keeps the best result.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from problems.ode import PROBLEMS

pendulum = PROBLEMS["pendulum"](r=0.2)
grid = pint.TimeGrid.uniform(pendulum.T, 96)
functional = pint.ReducedFunctional(pendulum.problem(lower=-6.0, upper=6.0), grid)
method = pint.MultiStart(pint.GaussNewton(), starts=4, size=2.0, seed=1)
result = pint.minimize(functional, pendulum.start(functional.controls), method)
print(f"J = {result.objective:.6f}")

angle = result.states()[:, 0]
figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
colours = plt.cm.viridis(np.linspace(0, 1, len(angle)))
for a, colour in zip(angle[::4], colours[::4], strict=True):
    axes[0].plot([0, np.sin(a)], [0, -np.cos(a)], color=colour)
axes[0].set(aspect="equal", title="from dark to light")
axes[1].step(grid.t[:-1], result.control["u"], where="post")
axes[1].set(xlabel="t", title="torque")
plt.show()
