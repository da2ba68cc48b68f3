"""Reports of an optimisation: progress, history, wall time by phase."""

from double_integrator import make_grid, problem

import pint

# progress
functional = pint.ReducedFunctional(problem, make_grid(levels=2))
method = pint.ReducedSpace(iterations=50)
with pint.Progress(iterations=50) as progress:
    result = pint.minimize(functional, method=method, callback=progress)

# history
table = pint.history_arrays(result.history)
print(f"J fell from {table['objective'][0]:.6f} to {table['objective'][-1]:.6f}")
if functional.comm.rank == 0:
    pint.write_history("history.csv", result.history)

# phases
for phase, seconds in functional.phases.maxima(functional.comm).items():
    print(f"{phase:14s}{seconds:8.3f} s")
