"""
Why are the cycles slow?
========================

`pint.diagnose` measures convergence factors, names the cause, tries other set-ups, and recommends one.
Here coarse steps of RK4 that are 32 times as long move the oscillation at another speed.
"""

import matplotlib.pyplot as plt

import pint
from problems.ode import PROBLEMS

oscillator = PROBLEMS["oscillator"]()
grid = pint.TimeGrid.uniform(oscillator.T, 512, coarsening=32, levels=2)
functional = pint.ReducedFunctional(oscillator.problem(), grid)
found = pint.diagnose(functional, functional.controls.control(u=0.1), budget=300)
print(found)

pint.diagnosis.picture(found, plt.figure(figsize=(12, 4), layout="constrained"))
plt.show()
