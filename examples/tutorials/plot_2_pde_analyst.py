r"""
For PDE analysts: your own equation
===================================

We control the heat in a rod, :math:`y_t = a\,y_{xx}`, by the temperature at its left end. After two units of time the
rod shall be as near to the temperature 1 as the bounds permit. You discretise in space; `pint` does the rest.
"""

# %%
# Semi-discretise
# ---------------
# An `ODE` has the right-hand side, its transposed derivatives (`f_vjp`), and the Jacobian for implicit schemes.
# All of them take batches: times `t` have the shape (B,), states `y` and adjoints `lam` (B, points), the control ``u["left"]``
# (B, 1). `f_vjp` returns the products of `lam` with the derivatives with respect to the
# state, to each control and to each shared parameter in `theta`. The Jacobian is tridiagonal, which ``bands`` says: one
# diagonal below and one above. Where it depends on the state, return the shape (B, 3, points).

import matplotlib.pyplot as plt
import numpy as np

import pint
from pint.steppers import ODE, scheme


class Rod(ODE):
    bands = (1, 1)

    def __init__(self, points, diffusivity=0.1):
        self.rate = diffusivity * points**2
        self.initial_state = np.zeros(points)
        self.matrix = np.zeros((1, 3, points))  # the layout of scipy.linalg.solve_banded
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


# %%
# The cost
# --------
# A terminal cost with its derivative, both of one state and not of a batch; the control is bounded, and its square costs
# something, with the weight 1e-4. Costs in the course of time are a `pint.steppers.Lagrangian`, as in
# :doc:`/gallery/3_pde/plot_burgers`.


class Warm(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * np.mean((y - 1) ** 2)

    def terminal_derivative(self, y, theta):
        return (y - 1) / len(y), {}


field = pint.TimeControl(1, lower=0.0, upper=2.0)
problem = pint.Problem(
    *scheme(Rod(64), "crank-nicolson"), Warm(), {"left": field}, [pint.Tikhonov(1e-4, ["left"])]
)

# %%
# Check, then optimise
# --------------------
# `check_problem` names what is wrong in your methods: the method, the entry, and often the kind of the mistake.
# Without ``method=``, `minimize` takes `ReducedSpace`: L-BFGS with a line search.
grid = pint.TimeGrid.uniform(2.0, 64, coarsening=4, levels=2)
pint.verify.check_problem(problem, grid).require()
functional = pint.ReducedFunctional(problem, grid)
result = pint.minimize(functional)
print(result.message)
print(f"J = {result.objective:.3e} after {result.iterations} updates")

# %%
# Does it converge?
# -----------------
# Halve the mesh width and the step: differences of the optimal objective should fall by a constant factor; here it
# is 2, that of first order.

values = []
for points in (16, 32, 64, 128):
    finer = pint.Problem(
        *scheme(Rod(points), "crank-nicolson"), Warm(), {"left": field}, problem.regularisers
    )
    finer_grid = pint.TimeGrid.uniform(2.0, points)
    values.append(pint.minimize(pint.ReducedFunctional(finer, finer_grid)).objective)
differences = np.abs(np.diff(values))
print("differences", differences, "ratios", (differences[:-1] / differences[1:]).round(2))

# %%
# Look at it
# ----------
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
image = axes[0].imshow(
    result.states(), origin="lower", aspect="auto", extent=(0, 1, 0, 2), cmap="inferno"
)
axes[0].set(xlabel="x", ylabel="t", title="temperature")
figure.colorbar(image)
axes[1].step(grid.t[:-1], result.control["left"], where="post")
axes[1].set(xlabel="t", title="control")
plt.show()

# %%
# Where to go from here
# ---------------------
# :doc:`/method_of_lines` has sparse matrices, mass matrices and measured times, :doc:`/finite_elements` meshes of
# two dimensions and metrics, :doc:`/coarse_levels` coarser meshes on coarse levels.
