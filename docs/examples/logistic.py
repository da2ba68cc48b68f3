"""Logistic growth, harvested: the right-hand side and the cost by hand, the scheme by name."""

import numpy as np

import pint
from pint.steppers import Lagrangian, scheme


class Growth(pint.ODE):  # y' = r y (1 - y) - u y with an unknown rate r
    initial_state = np.array([0.2])

    def f(self, t, y, u, theta):
        return theta["r"] * y * (1 - y) - u["harvest"] * y

    def f_vjp(self, t, y, u, theta, lam):
        of_y = (theta["r"] * (1 - 2 * y) - u["harvest"]) * lam
        return of_y, {"harvest": -y * lam}, {"r": (y * (1 - y) * lam).sum(axis=0)}

    def jacobian(self, t, y, u, theta):  # for implicit schemes only
        return (theta["r"] * (1 - 2 * y) - u["harvest"])[:, :, None]


class Profit(Lagrangian):  # L = u^2 / 2 - u y, psi = (y(T) - 1/2)^2 + (r - 2)^2
    def value(self, t, y, u, theta):
        return (0.5 * u["harvest"] ** 2 - u["harvest"] * y)[:, 0]

    def gradient(self, t, y, u, theta, weight):
        weight = weight[:, None]
        return -weight * u["harvest"], {"harvest": weight * (u["harvest"] - y)}, {}

    def terminal(self, y, theta):
        return (y[0] - 0.5) ** 2 + (theta["r"][0] - 2) ** 2

    def terminal_derivative(self, y, theta):
        return 2 * (y - 0.5), {"r": 2 * (theta["r"] - 2)}


def make_problem(name):
    stepper, adjoint = scheme(Growth(), name)
    controls = {"harvest": pint.TimeControl(1, lower=0), "r": pint.SharedControl(1)}
    return pint.Problem(stepper, adjoint, pint.RunningCost(Profit(), "trapezoid"), controls)
