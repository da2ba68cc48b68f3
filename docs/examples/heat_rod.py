"""Heat in a rod, from one end: a constant banded Jacobian."""

import numpy as np

import pint
from pint.steppers import ODE, scheme


class Rod(ODE):
    bands = (1, 1)

    def __init__(self, points, diffusivity=0.1):
        self.rate = diffusivity * points**2
        self.initial_state = np.zeros(points)
        self.matrix = np.zeros((1, 3, points))  # of all states: the first axis has length 1
        self.matrix[0, 0, 1:] = self.matrix[0, 2, :-1] = self.rate
        self.matrix[0, 1] = -2 * self.rate
        self.matrix[0, 1, -1] = -self.rate  # no flux at the right end

    def diffused(self, y):
        around = np.concatenate([0 * y[:, :1], y, y[:, -1:]], axis=1)
        return self.rate * (around[:, 2:] - 2 * y + around[:, :-2])

    def f(self, t, y, u, theta):
        slope = self.diffused(y)
        slope[:, 0] += self.rate * u["left"][:, 0]
        return slope

    def f_vjp(self, t, y, u, theta, lam):  # the matrix is symmetric
        return self.diffused(lam), {"left": self.rate * lam[:, :1]}, {}

    def jacobian(self, t, y, u, theta):
        return self.matrix


class Warm(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * np.mean((y - 1) ** 2)

    def terminal_derivative(self, y, theta):
        return (y - 1) / len(y), {}


def problem(points=100):
    fields = {"left": pint.TimeControl(1, lower=0, upper=2)}
    return pint.Problem(*scheme(Rod(points), "crank-nicolson"), Warm(), fields)


def main():
    grid = pint.TimeGrid.uniform(2.0, 64, coarsening=4, levels=2)
    return pint.minimize(pint.ReducedFunctional(problem(), grid))


if __name__ == "__main__":
    result = main()
    print(f"J = {result.objective:.3e}, {result.iterations} updates")
