"""
Cooling through the boundary, with bounds
=========================================

Finite elements on a square that is warmed within. The control is the flux through its boundary, which can only cool, and no
more than by a bound. Bounds need a diagonal metric: the lumped mass matrix of the boundary, also in the cost.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from pint.steppers import RunningCost, scheme
from problems.finite_elements import Elements, SemiDiscrete, Tracking, lumped_mass, square


def lamp(t, x):
    return 4.0 * np.exp(-20 * ((x[0] - 0.3) ** 2 + (x[1] - 0.6) ** 2)) + 0 * t


def wanted(t, x):
    return np.zeros((len(t), x.shape[1]))


elements = Elements(square(12), dirichlet=False)
equation = SemiDiscrete(elements, 0.1, np.zeros(elements.size), source=lamp, control_on="boundary")
equation.control_mass = lumped_mass(equation.control_mass)
cost = RunningCost(Tracking(equation, wanted, alpha=0.01))
flux = pint.TimeControl(
    len(equation.control_numbers), metric=equation.control_mass, lower=-0.5, upper=0.0
)
problem = pint.Problem(*scheme(equation, "implicit-euler"), cost, {"u": flux})
grid = pint.TimeGrid.uniform(2.0, 32)
functional = pint.ReducedFunctional(problem, grid)
method = pint.ReducedSpace(gradient_tolerance=0, relative_gradient_tolerance=1e-5)
result = pint.minimize(functional, method=method)
u = result.control["u"]
print(f"J = {result.objective:.5f}: {result.message}")
print(f"{np.mean(u == -0.5):.0%} of the flux at its bound, {np.mean(u == 0.0):.0%} zero")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
drawn = axes[0].tricontourf(*elements.points, result.states()[-1], 20)
figure.colorbar(drawn, ax=axes[0])
axes[0].set(title="temperature at the end", aspect="equal")
around = np.argsort(np.arctan2(*(equation.control_points - 0.5)))
shown = axes[1].pcolormesh(grid.t[1:], np.arange(len(around)), u[:, around].T)
figure.colorbar(shown, ax=axes[1])
axes[1].set(xlabel="time", ylabel="nodes, once around", title="flux")
plt.show()
