"""
Rates of a reaction from noisy measurements
===========================================

A becomes B becomes C, with unknown rates. `MeasuredData` is the weighted least-squares cost, and
`standard_errors` says how well the data determine the rates.
"""

import matplotlib.pyplot as plt
import numpy as np
import sympy

import pint
from pint.steppers.symbolic import SympyODE

a, b, k1, k2 = sympy.symbols("a b k1 k2")
grid = pint.TimeGrid.uniform(5.0, 100)
times = grid.t[5::5]
sigma, true = 0.03, (1.5, 0.6)
exact = np.column_stack([np.exp(-true[0] * times),
    true[0] / (true[1] - true[0]) * (np.exp(-true[0] * times) - np.exp(-true[1] * times))])  # fmt: skip
values = exact + sigma * np.random.default_rng(3).standard_normal(exact.shape)

ode = SympyODE(
    [a, b], [-k1 * a, k1 * a - k2 * b], parameters={"k1": k1, "k2": k2}, initial_state=[1, 0]
)
model = ode.problem("rk4", controls={"k1": (0.01, 10), "k2": (0.01, 10)})
data = pint.MeasuredData(grid, times, values, sigma)
problem = pint.Problem(model.stepper, model.adjoint, data, model.controls)
functional = pint.ReducedFunctional(problem, grid)
result = pint.minimize(functional, functional.controls.control(k1=1.0, k2=0.3), pint.GaussNewton())
errors = pint.standard_errors(result)
for name, rate in zip(("k1", "k2"), true, strict=True):
    print(f"{name} = {result.control[name].item():.3f} ± {errors[name].item():.3f}, true {rate}")

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
lines = axes.plot(grid.t, result.states(), label=["A", "B"])
for line, column in zip(lines, values.T, strict=True):
    axes.plot(times, column, ".", color=line.get_color())
axes.set(xlabel="t", ylabel="concentration")
axes.legend()
plt.show()
