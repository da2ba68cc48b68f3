import numpy as np

import pint


class Decay(pint.TimeStepper):
    batched = True  # many steps in one call: y has shape (B, 1)
    initial_state = np.ones(1)

    def step(self, s, y, u, theta):
        return (y + s.dt * u["u"]) / (1 + s.dt)


class DecayAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        return lam / (1 + s.dt), {"u": s.dt * lam / (1 + s.dt)}, {}


class Stay(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return s.dt[:, 0] / 2 * ((y1 - 1) ** 2 + 0.1 * u["u"] ** 2)[:, 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * (y1 - 1), {"u": 0.1 * s.dt * u["u"]}, {}


problem = pint.Problem(Decay(), DecayAdjoint(), Stay(), {"u": pint.TimeControl(1)})
grid = pint.TimeGrid.uniform(5.0, 128, coarsening=4, levels=3, comm=pint.world())
functional = pint.ReducedFunctional(problem, grid)
value, gradient = functional.value_and_gradient(functional.control(u=0.0))
print(f"J = {value:.10f}, norm of the gradient {functional.controls.norm(gradient):.10f}")
result = pint.minimize(functional, method=pint.OneShot(cycles=2))
print(f"optimal J = {result.objective:.10f}")
