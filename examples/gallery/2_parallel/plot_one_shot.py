"""
One-shot: state, adjoint and control converge together
======================================================

Reduced space solves the state to a tolerance for every control; one-shot makes one or two cycles.
Both find the same optimum, one-shot with a fraction of the steps.
"""

import matplotlib.pyplot as plt

import pint
from problems.ode import PROBLEMS

van_der_pol = PROBLEMS["van-der-pol"]()
grid = pint.TimeGrid.uniform(van_der_pol.T, 128, coarsening=4, levels=2)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
methods = {
    "reduced space": pint.ReducedSpace(gradient_tolerance=1e-6),
    "one-shot, two cycles": pint.OneShot(cycles=2, gradient_tolerance=1e-6),
    "one-shot, adaptive": pint.Adaptive(gradient_tolerance=1e-6),
}
for label, method in methods.items():
    functional = pint.ReducedFunctional(van_der_pol.problem(), grid)
    result = pint.minimize(functional, method=method)
    cycles = result.history[-1].state_cycles
    print(f"{label}: J = {result.objective:.8f}, {result.iterations} updates, {cycles} cycles")
    axes.semilogy([row.gradient_norm for row in result.history], label=label)
axes.set(xlabel="updates", ylabel="norm of the gradient")
axes.legend()
plt.show()
