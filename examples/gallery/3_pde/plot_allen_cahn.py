r"""
Move a front: Allen-Cahn
========================

:math:`y_t = \nu y_{xx} + y - y^3 + u` in one dimension, from one front to another place. The steps are
implicit midpoint; Newton's method is the stepper's own.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from pint.steppers import ODE, Lagrangian, RunningCost, scheme

points, nu = 63, 2e-3
h = 2.0 / (points + 1)
x = np.linspace(-1 + h, 1 - h, points)
second = (np.eye(points, k=1) - 2 * np.eye(points) + np.eye(points, k=-1)) * nu / h**2
second[0, 0] = second[-1, -1] = -nu / h**2  # no flux at the ends


class AllenCahn(ODE):
    initial_state = np.tanh((x + 0.5) / np.sqrt(2 * nu))

    def f(self, t, y, u, theta):
        return y @ second + y - y**3 + u["u"]

    def jacobian(self, t, y, u, theta):
        return second + (1 - 3 * y[..., None] ** 2) * np.eye(points)

    def f_vjp(self, t, y, u, theta, lam):
        return lam @ second.T + (1 - 3 * y**2) * lam, {"u": lam}, {}


class Cost(Lagrangian):
    target = np.tanh((x - 0.3) / np.sqrt(2 * nu))

    def value(self, t, y, u, theta):
        return h / 2 * ((y - self.target) ** 2).sum(-1) + 1e-2 * h / 2 * (u["u"] ** 2).sum(-1)

    def gradient(self, t, y, u, theta, weight):
        weight = h * weight[:, None]
        return weight * (y - self.target), {"u": weight * 1e-2 * u["u"]}, {}


stepper, adjoint = scheme(AllenCahn(), "midpoint")
problem = pint.Problem(stepper, adjoint, RunningCost(Cost()), {"u": pint.TimeControl(points)})
grid = pint.TimeGrid.uniform(5.0, 50)
result = pint.minimize(pint.ReducedFunctional(problem, grid))
print(f"J = {result.objective:.6f} after {result.iterations} updates")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), sharey=True, layout="constrained")
for axis, values, title in zip(axes, (result.states(), result.control["u"]), "yu", strict=True):
    picture = axis.imshow(values, origin="lower", aspect="auto", extent=(-1, 1, 0, 5), cmap="RdBu")
    axis.set(xlabel="x", title=title)
    figure.colorbar(picture)
plt.show()
