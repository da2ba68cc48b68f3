"""The first example of the documentation: one-shot optimisation of the double integrator."""

from double_integrator import problem

import pint

grid = pint.TimeGrid.uniform(1.0, 20, coarsening=4, levels=2)
functional = pint.ReducedFunctional(problem, grid)
result = pint.minimize(functional, method=pint.OneShot(cycles=2))
print(result.status.value)
print(f"J = {result.objective:.8f}")  # 0.05061877
