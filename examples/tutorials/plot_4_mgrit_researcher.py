r"""
For MGRIT researchers: your own coarse step
===========================================

What a coarse level does is one method of yours. We integrate an oscillator by RK4, try three coarse steps, look at the
residuals of each, and ask `pint.diagnose` why one of them does not converge.
"""

# %%
# The fine step, and the coarse one
# ---------------------------------
# `coarsen` returns the stepper of a coarse level: here RK4 itself, backward Euler, or the exponential of the matrix,
# which is exact for a linear equation. `step` takes a batch of states, shape (B, 2), and step sizes ``s.dt``, shape (B, 1);
# without ``batched = True`` it takes one state and a number.

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg

import pint
from pint.equations import Cycles

A = np.array([[0.0, 1.0], [-25.0, -0.2]])


class RK4(pint.TimeStepper):
    batched = True
    initial_state = np.array([1.0, 0.0])

    def __init__(self, coarse=None):
        self.coarse = coarse

    def step(self, s, y, u, theta):
        k1 = y @ A.T
        k2 = (y + s.dt / 2 * k1) @ A.T
        k3 = (y + s.dt / 2 * k2) @ A.T
        k4 = (y + s.dt * k3) @ A.T
        return y + s.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def coarsen(self, level):
        return self.coarse or self


class Exponential(RK4):
    def step(self, s, y, u, theta):
        matrices = scipy.linalg.expm(s.dt[:, :, None] * A)
        return np.einsum("bij,bj->bi", matrices, y)


class BackwardEuler(RK4):
    def step(self, s, y, u, theta):
        return np.linalg.solve(np.eye(2) - s.dt[:, :, None] * A, y[..., None])[..., 0]


class Final(pint.Objective):
    def terminal(self, y, theta):
        return y @ y

    def terminal_derivative(self, y, theta):
        return 2 * y, {}


# %%
# Residuals
# ---------
# The second argument of `Problem` is the adjoint; None differentiates the steps numerically: good enough while you try
# things. There is no control, ``{}``. ``guess="constant"`` begins with the initial state everywhere (the default begins
# on the coarse levels), ``unconverged="ignore"`` permits solves that miss the tolerance, and `Accuracy` has the largest
# number of cycles and the tolerance.


def solved(stepper, relaxation="F"):
    problem = pint.Problem(stepper, None, Final(), {})
    grid = pint.TimeGrid.uniform(10.0, 512, coarsening=8, levels=2)
    functional = pint.ReducedFunctional(
        problem, grid, relaxation=relaxation, guess="constant", unconverged="ignore"
    )
    state = functional.state.new()
    functional.state.solve(state, functional.control(), Cycles(pint.Accuracy(15, relative=1e-12)))
    return functional, state.convergence.residuals


figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
steppers = {
    "RK4": RK4(),
    "backward Euler": RK4(coarse=BackwardEuler()),
    "exponential": RK4(coarse=Exponential()),
}
for name, stepper in steppers.items():
    functional, residuals = solved(stepper)
    print(f"{name}: {len(residuals)} cycles, last residual {residuals[-1]:.1e}")
    axes.semilogy(residuals, "o-", label=name)
axes.set(xlabel="cycles", ylabel="residual norm")
axes.legend()
plt.show()

# %%
# Why?
# ----
# The report has two-level factors, the frequency that converges slowest, and what helps. ``budget`` is the work it may
# do, in sequential solves.

functional, _ = solved(RK4(coarse=BackwardEuler()))
print(pint.diagnose(functional, functional.control(), budget=100))

# %%
# The theory
# ----------
# For one eigenvalue :math:`\lambda` of A, with the factors a of a fine step and b of a coarse one, a
# two-level cycle with F-relaxation multiplies errors by at most :math:`|a^m - b| / (1 - |b|)`.

values, dt = np.linalg.eigvals(A), 10.0 / 512
z = values * dt
a = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
Z = 8 * z
for name, factor in (
    ("RK4", 1 + Z + Z**2 / 2 + Z**3 / 6 + Z**4 / 24),
    ("backward Euler", 1 / (1 - Z)),
    ("exponential", np.exp(Z)),
):
    bound = np.abs(a**8 - factor) / (1 - np.abs(factor))
    print(f"{name}: at most {bound.max():.2e} a cycle")

# %%
# Where to go from here
# ---------------------
# :doc:`/coarse_levels` has coarse steps that are ready-made, coarser spaces and corrections, :doc:`/diagnosis` what is
# measured, :doc:`/mathematics` the cycles.
