"""A cart follows a path: a linear-quadratic problem, solved at once."""

import numpy as np

from pint.lq import LinearQuadratic, solve

steps, dt = 200, 0.05
path = np.sin(np.linspace(0, 10, steps, endpoint=False))
Q = dt * np.diag([1.0, 0.0])  # the distance from the path, and not the velocity

problem = LinearQuadratic(
    A=[[1.0, dt], [0.0, 1.0]],
    B=[[0.0], [dt]],
    Q=Q,
    q=np.outer(-path, Q[0]),
    R=[[dt * 0.01]],
    initial=[1.0, 0.0],
)
solution = solve(problem)
print(f"J = {solution.objective + dt * (path @ path) / 2:.6f}")

# The controls are a feedback, which is optimal in all other states, too.
x = np.array([1.0, 0.0])
for n in range(steps):
    u = solution.K[n] @ x + solution.k[n]
    x = problem.A[n] @ x + problem.B[n] @ u + (0.1 if n == 100 else 0.0)
print("pushed in step 100, it ends", np.abs(x - solution.x[-1]).max().round(6), "away")
