"""
Follow a path, linear-quadratic, in one solve
=============================================

`pint.lq` solves linear-quadratic problems directly, on one core and parallel in time. Its feedback is
optimal from every state: the cart is pushed once and comes back.
"""

import matplotlib.pyplot as plt
import numpy as np

from pint.lq import LinearQuadratic, solve

steps, dt = 200, 0.05
path = np.sin(np.linspace(0, 10, steps, endpoint=False))
Q = dt * np.diag([1.0, 0.0])
problem = LinearQuadratic(
    A=[[1.0, dt], [0.0, 1.0]],
    B=[[0.0], [dt]],
    Q=Q,
    q=np.outer(-path, Q[0]),
    R=[[dt * 0.01]],
    initial=[1.0, 0.0],
)
solution = solve(problem)

pushed = [np.array([1.0, 0.0])]
for n in range(steps):
    u = solution.K[n] @ pushed[-1] + solution.k[n]
    push = 0.3 if n == 100 else 0.0
    pushed.append(problem.A[n] @ pushed[-1] + problem.B[n] @ u + push)
print(f"at the end {np.abs(pushed[-1] - solution.x[-1]).max():.1e} from the undisturbed state")

t = dt * np.arange(steps + 1)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(t[:-1], path, "k:", label="path")
axes.plot(t, solution.x[:, 0], label="optimal")
axes.plot(t, np.array(pushed)[:, 0], label="pushed at t = 5, by feedback")
axes.set(xlabel="t")
axes.legend()
plt.show()
