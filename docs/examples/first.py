"""The first example of the documentation: one-shot optimisation of the double integrator."""

from double_integrator import make_problem

import pint

problem = make_problem(levels=2)
functional = pint.ReducedFunctional(problem)
result = pint.OneShot(functional, cycles=2).solve(problem.controls.zeros())
print(result.status.value)
print(f"J = {result.objective:.8f}")  # 0.05061877
