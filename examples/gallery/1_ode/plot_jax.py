"""
A problem in JAX
================

A function of `jax.numpy` is the right-hand side; derivatives and machine code are JAX's. A rigid body is
brought to rest with as little torque as possible.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt

import pint
from pint.autodiff.jax import problem

inertia = jnp.array([1.0, 2.0, 3.0])


def rate(t, y, u, theta):
    return (u["torque"] - jnp.cross(y, inertia * y)) / inertia


made = problem(
    rate=rate,
    initial_state=[1.0, -0.5, 0.8],
    controls={"torque": pint.TimeControl(3)},
    running_cost=lambda t, y, u, theta: (u["torque"] ** 2).sum(),
    terminal_cost=lambda y, theta: 100 * (y**2).sum(),
)
grid = pint.TimeGrid.uniform(5.0, 100)
functional = pint.ReducedFunctional(made, grid)
result = pint.minimize(functional, method=pint.GaussNewton())
print(f"{result.status.name}: J = {result.objective:.6f}")

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(grid.t, result.states(), label=[f"$\\omega_{i}$" for i in (1, 2, 3)])
axes.set(xlabel="t", title="angular velocities")
axes.legend()
plt.show()
