import numpy as np

import pint
from pint.equations import Cycles


class Decay(pint.TimeStepper):
    batched = True  # many steps in one call: y has shape (B, 1)
    initial_state = np.ones(1)

    def step(self, s, y, u, theta):
        return y / (1 + s.dt)


class Final(pint.Objective):
    def terminal(self, y, theta):
        return y[0]

    def terminal_derivative(self, y, theta):
        return np.ones(1), {}


problem = pint.Problem(Decay(), None, Final(), {})
grid = pint.TimeGrid.uniform(5.0, 128, coarsening=4, levels=3)
functional = pint.ReducedFunctional(problem, grid, guess="constant")
state = functional.state.new()
functional.state.solve(state, functional.control(), Cycles(pint.Accuracy(relative=1e-12)))
print(f"y(5) = {functional.states(state)[-1, 0]:.10f}")
print(f"{len(state.convergence.residuals)} cycles")
