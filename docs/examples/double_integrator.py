"""Optimal control of a double integrator with friction, solved in three ways.

minimise    sum_n dt (|y_{n+1}|^2 + gamma u_n^2),   dt = 1 / 20, gamma = 0.005
subject to  y_{n+1} = y_n + dt (A y_n + B u_n),     y_0 = (0, -1)
"""

import numpy as np

import pint

A = np.array([[0.0, 1.0], [0.0, -1.0]])
B = np.array([[0.0], [1.0]])
GAMMA = 0.005


class Euler(pint.TimeStepper):
    batched = True  # step advances many steps at once: y has shape (batch, 2)
    initial_state = np.array([0.0, -1.0])

    def step(self, s, y, u, theta):
        return y + s.dt * (y @ A.T + u["force"] @ B.T)


class EulerAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam + s.dt * (lam @ A), {"force": s.dt * (lam @ B)}, {}


class Cost(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        squares = (y1**2).sum(axis=1) + GAMMA * (u["force"] ** 2).sum(axis=1)
        return s.dt[:, 0] * squares

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, 2 * s.dt * y1, {"force": 2 * GAMMA * s.dt * u["force"]}, {}


problem = pint.Problem(Euler(), EulerAdjoint(), Cost(), {"force": pint.TimeControl(1)})


METHODS = {
    "sequential": (1, pint.ReducedSpace(gradient_tolerance=1e-9)),
    "mgrit": (2, pint.ReducedSpace(gradient_tolerance=1e-9)),
    "one-shot": (2, pint.OneShot(cycles=2, gradient_tolerance=1e-9)),
}


def make_grid(levels, comm=None):
    return pint.TimeGrid.uniform(1.0, 20, coarsening=4, levels=levels, comm=comm)


def solve(name, comm=None):
    levels, method = METHODS[name]
    return pint.minimize(pint.ReducedFunctional(problem, make_grid(levels, comm)), method=method)


def check(comm=None):
    report = pint.verify.check_problem(problem, make_grid(2, comm))
    report.require()  # raises pint.VerificationError with the whole report
    return report


def main():
    comm = pint.world()
    check(comm)
    optima = {}
    for name in METHODS:
        optima[name] = solve(name, comm).objective
        if comm.rank == 0:
            print(f"{name:12s}J = {optima[name]:.10e}")
    return optima


if __name__ == "__main__":
    main()
