"""
Swing up a pole on a cart, in machine code
==========================================

`backend="compiled"` makes machine code of the steps and their derivatives, where numba is installed.
The force is bounded.
"""

import matplotlib.pyplot as plt

import pint
from problems.ode_catalogue import CATALOGUE

cart_pole = CATALOGUE["cart-pole"]
grid = pint.TimeGrid.uniform(cart_pole.final_time, cart_pole.steps)
problem = cart_pole.problem("rk4", backend="auto")
functional = pint.ReducedFunctional(problem, grid)
start = cart_pole.start(functional.controls)
result = pint.minimize(functional, start, pint.GaussNewton())
print(f"{result.status.name}: J = {result.objective:.8f}, {result.iterations} iterations")
assert abs(result.objective - cart_pole.minima[0]) < 1e-6

figure, axes = plt.subplots(2, figsize=(6, 5), sharex=True, layout="constrained")
axes[0].plot(grid.t, result.states()[:, :2], label=["cart", "angle"])
axes[0].legend()
axes[1].step(grid.t[:-1], result.control["u"], where="post", color="tab:green")
axes[1].set(xlabel="t", title="force")
plt.show()
