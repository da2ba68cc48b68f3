"""
Vaccinate against an epidemic
=============================

The SEIR model of the catalogue, with two controls: fewer contacts, and vaccines. Both are
bounded, and at their bounds for some of the time.
"""

import matplotlib.pyplot as plt

import pint
from problems.ode_catalogue import CATALOGUE

seir = CATALOGUE["seir"]
grid = pint.TimeGrid.uniform(seir.final_time, seir.steps)
functional = pint.ReducedFunctional(seir.problem("rk4"), grid)
result = pint.minimize(functional, seir.start(functional.controls), pint.GaussNewton())
print(f"{result.status.name}: J = {result.objective:.6f}")

figure, axes = plt.subplots(2, figsize=(6, 5), sharex=True, layout="constrained")
axes[0].plot(grid.t, result.states()[:, 1:3], label=["exposed", "infectious"])
axes[0].legend()
for name in ("contact", "vaccine"):
    values = result.control[name] / seir.controls[name]["upper"]
    axes[1].step(grid.t[:-1], values, where="post", label=name)
axes[1].set(xlabel="t (days)", title="controls, of their upper bounds")
axes[1].legend()
plt.show()
