r"""
Calm a flow: Burgers' equation
==============================

:math:`y_t + y\,y_x = \nu y_{xx} + u` on (0, 1) with a control in the right half. ``bands`` says that
the Jacobian is tridiagonal; the steps, sdirk2, make it of three products.
"""

import matplotlib.pyplot as plt
import numpy as np

import pint
from pint.steppers import ODE, Lagrangian, RunningCost, scheme

points, nu, alpha = 79, 0.01, 1e-3
x, h = np.linspace(0, 1, points + 2)[1:-1], 1 / (points + 1)
acts = (x > 0.5).astype(float)


def around(y):
    return np.pad(y, [(0, 0), (1, 1)])


class Burgers(ODE):
    initial_state, bands = np.sin(2 * np.pi * x), (1, 1)

    def f(self, t, y, u, theta):
        w = around(y)
        diffusion = nu * (w[:, 2:] - 2 * y + w[:, :-2]) / h**2
        return diffusion - y * (w[:, 2:] - w[:, :-2]) / (2 * h) + acts * u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        w, m, p = around(y), around(lam), around(lam * y)
        diffusion = nu * (m[:, 2:] - 2 * lam + m[:, :-2]) / h**2
        transport = lam * (w[:, 2:] - w[:, :-2]) + p[:, :-2] - p[:, 2:]
        return diffusion - transport / (2 * h), {"u": acts * lam}, {}


class Cost(Lagrangian):
    def value(self, t, y, u, theta):
        return h / 2 * ((y**2).sum(-1) + alpha * (u["u"] ** 2).sum(-1))

    def gradient(self, t, y, u, theta, weight):
        return h * weight[:, None] * y, {"u": h * alpha * weight[:, None] * u["u"]}, {}


parts = *scheme(Burgers(), "sdirk2"), RunningCost(Cost(), "right")
problem = pint.Problem(*parts, {"u": pint.TimeControl(points, weight=h)})
functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 80))
free = pint.minimize(functional, method=pint.ReducedSpace(iterations=0))
method = pint.ReducedSpace(relative_gradient_tolerance=1e-3)
results = {"no control": free, "controlled": pint.minimize(functional, method=method)}

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for axis, (title, result) in zip(axes, results.items(), strict=True):
    picture = axis.pcolormesh(x, functional.grid.t[:], result.states(), cmap="RdBu_r")
    axis.set(xlabel="x", title=f"{title}, J = {result.objective:.4f}")
figure.colorbar(picture, ax=axes)
plt.show()
