"""Reports of an optimisation: progress, history, wall time by phase."""

from double_integrator import make_problem

import pint

# progress
problem = make_problem(levels=2)
functional = pint.ReducedFunctional(problem)
start = problem.controls.zeros()
with pint.Progress(iterations=50) as progress:
    result = pint.minimize(functional, start, iterations=50, callback=progress)

# history
table = pint.history_arrays(result.history)
print(f"J fell from {table['objective'][0]:.6f} to {table['objective'][-1]:.6f}")
if problem.grid.comm.rank == 0:
    pint.write_history("history.csv", result.history)

# phases
for phase, seconds in functional.phases.maxima(problem.grid.comm).items():
    print(f"{phase:14s}{seconds:8.3f} s")
