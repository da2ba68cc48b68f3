"""Advection and diffusion, for which MGRIT with a few cycles is far from convergence."""

import numpy as np

import pint
from pint.steppers import Lagrangian, scheme


class Advection(pint.ODE):
    """``y_t = 1e-3 y_xx - y_x + u`` on a circle, by central differences on 32 points."""

    def __init__(self, points=32):
        h, eye = 1 / points, np.eye(points)
        right, left = np.roll(eye, 1, axis=1), np.roll(eye, -1, axis=1)
        self.matrix = 1e-3 * (right + left - 2 * eye) / h**2 - (right - left) / (2 * h)
        self.initial_state = np.exp(-100 * (np.arange(points) * h - 0.5) ** 2)

    def f(self, t, y, u, theta):
        return y @ self.matrix.T + u["u"]

    def f_vjp(self, t, y, u, theta, lam):
        return lam @ self.matrix, {"u": lam.sum(axis=1, keepdims=True)}, {}

    def jacobian(self, t, y, u, theta):
        return np.broadcast_to(self.matrix, (len(y), *self.matrix.shape))


class Size(Lagrangian):
    def value(self, t, y, u, theta):
        return 0.5 * (y**2).mean(axis=1) + 0.05 * u["u"][:, 0] ** 2

    def gradient(self, t, y, u, theta, weight):
        return weight[:, None] * y / y.shape[1], {"u": 0.1 * weight[:, None] * u["u"]}, {}


def advection(comm=None, cycles=10, levels=2, **options):
    """Return the functional; ten cycles give J = 5.7e11 where 1.76 is right."""
    ode, cost = Advection(), pint.RunningCost(Size())
    fields = {"u": pint.TimeControl(1)}
    problem = pint.Problem(*scheme(ode, "crank-nicolson"), cost, controls=fields)
    grid = pint.TimeGrid.uniform(8.0, 256, 8, levels, comm)
    accuracy = pint.Accuracy(cycles, relative=1e-12)
    return pint.ReducedFunctional(problem, grid, accuracy=accuracy, **options)
