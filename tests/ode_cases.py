"""A nonlinear, non-autonomous ODE with its derivatives by hand, and a cost for it."""

import numpy as np
import sympy

import pint
from pint.steppers import Lagrangian, scheme
from pint.steppers.symbolic import SympyODE


class Forced(pint.ODE):
    """``q' = v``, ``v' = -theta_0 sin q - theta_1 v^3 + u_0 cos t + u_1 q``, y = (q, v).

    ``y_0 = (theta_1^2, 0.5)``.
    """

    initial_state = np.zeros(2)

    def initial(self, theta):
        return np.stack([theta["theta"][1] ** 2, 0.5 + 0 * theta["theta"][0]])

    def initial_vjp(self, theta, lam0):
        return {"theta": np.array([0.0, 2 * theta["theta"][1] * lam0[0]])}

    def f(self, t, y, u, theta):
        (q, v), (u0, u1), theta = y.T, u["u"].T, theta["theta"]
        force = u0 * np.cos(t) + u1 * q
        return np.stack([v, -theta[0] * np.sin(q) - theta[1] * v**3 + force], axis=1)

    def f_vjp(self, t, y, u, theta, lam):
        (q, v), (_, u1), (p, w), theta = y.T, u["u"].T, lam.T, theta["theta"]
        return (
            np.stack([(u1 - theta[0] * np.cos(q)) * w, p - 3 * theta[1] * v**2 * w], axis=1),
            {"u": np.stack([np.cos(t) * w, q * w], axis=1)},
            {"theta": np.array([-(np.sin(q) * w).sum(), -(v**3 * w).sum()])},
        )

    def jacobian(self, t, y, u, theta):
        (q, v), (_, u1), theta = y.T, u["u"].T, theta["theta"]
        matrix = np.zeros((*y.shape, 2), np.result_type(y, u1, theta))
        matrix[:, 0, 1] = 1
        matrix[:, 1, 0] = u1 - theta[0] * np.cos(q)
        matrix[:, 1, 1] = -3 * theta[1] * v**2
        return matrix


class ForcedCost(Lagrangian):
    """``L = (q - sin t)^2 / 2 + u_0^2 v^2 + theta_0 u_1^2``, ``psi = q^2 v + theta_1 v``."""

    def value(self, t, y, u, theta):
        (q, v), (u0, u1) = y.T, u["u"].T
        return 0.5 * (q - np.sin(t)) ** 2 + u0**2 * v**2 + theta["theta"][0] * u1**2

    def gradient(self, t, y, u, theta, weight):
        (q, v), (u0, u1), theta = y.T, u["u"].T, theta["theta"]
        return (
            np.stack([weight * (q - np.sin(t)), weight * 2 * u0**2 * v], axis=1),
            {"u": np.stack([weight * 2 * u0 * v**2, weight * 2 * theta[0] * u1], axis=1)},
            {"theta": np.array([(weight * u1**2).sum(), 0.0])},
        )

    def terminal(self, y, theta):
        return y[0] ** 2 * y[1] + theta["theta"][1] * y[1]

    def terminal_derivative(self, y, theta):
        dy = np.array([2 * y[0] * y[1], y[0] ** 2 + theta["theta"][1]])
        return dy, {"theta": np.array([0.0, y[1]])}


def forced_symbolic():
    """Return `Forced` and `ForcedCost` as expressions."""
    (q, v), u, p, t = (
        sympy.symbols("q v"),
        sympy.symbols("u:2"),
        sympy.symbols("p:2"),
        sympy.Symbol("t"),
    )
    return SympyODE(
        [q, v],
        [v, -p[0] * sympy.sin(q) - p[1] * v**3 + u[0] * sympy.cos(t) + u[1] * q],
        {"u": u},
        parameters={"theta": p},
        running_cost=(q - sympy.sin(t)) ** 2 / 2 + u[0] ** 2 * v**2 + p[0] * u[1] ** 2,
        terminal_cost=q**2 * v + p[1] * v,
        initial_state=[p[1] ** 2, 0.5],
        time=t,
    )


def compiled_symbolic(name, quadrature="trapezoid", coarse=None):
    """Return the problem of the expressions in machine code."""
    return forced_symbolic().problem(name, quadrature, coarse=coarse, backend="compiled")


def forced_problem(name, quadrature="trapezoid", coarse=None):
    """Return the problem by hand, advanced by a scheme."""
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(2)}
    objective = pint.RunningCost(ForcedCost(), quadrature)
    return pint.Problem(*scheme(Forced(), name, coarse=coarse), objective, fields)
