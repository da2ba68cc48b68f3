"""An equation of one's own in finite elements: Fisher's, controlled in the whole square."""

import numpy as np

import pint
from pint.steppers import RunningCost, scheme
from problems.finite_elements import Elements, Reaction, SemiDiscrete, Tracking, square


class Decline(Reaction):
    """``-y (1 - y)`` on the left-hand side: y grows where it is between 0 and 1."""

    def value(self, y, gradient):
        return -y * (1 - y)

    def derivatives(self, y, gradient):
        return 2 * y - 1, ()


elements = Elements(square(6))
x = elements.points
equation = SemiDiscrete(elements, 0.02, np.exp(-20 * (x**2).sum(axis=0)), reaction=Decline())
stepper, adjoint = scheme(equation, "sdirk2")
cost = RunningCost(Tracking(equation, lambda t, x: np.full((len(t), x.shape[1]), 0.5), alpha=0.1))
u = pint.TimeControl(elements.size, metric=equation.control_mass)
problem = pint.Problem(stepper, adjoint, cost, {"u": u})

grid = pint.TimeGrid.uniform(2.0, 16)
functional = pint.ReducedFunctional(problem, grid)
method = pint.ReducedSpace(gradient_tolerance=0, relative_gradient_tolerance=1e-5)
result = pint.minimize(functional, method=method)
print(f"J = {result.objective:.6f}, {len(result.history) - 1} updates")
