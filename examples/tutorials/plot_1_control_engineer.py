r"""
For control engineers: your own ODE problem
===========================================

You have a model :math:`\dot y = f(y, u)`, a cost and bounds, and want the optimal control. We park a small
vehicle: position :math:`p`, velocity :math:`v`, battery :math:`b`; the force :math:`u` is limited, drag grows
with the square of the velocity, and braking does not charge the battery.
"""

# %%
# The model
# ---------
# States, right-hand side and cost are expressions of sympy (``pip install sympy``). All derivatives are generated
# from them, and are exact. Time is in seconds, lengths are in metres. Where your model contains the time, as with a
# reference that moves, name its symbol, ``time=t``. Numbers to be found that do not change in time are
# ``parameters={"mass": m}``. A model with two inputs has ``controls={"u": u, "w": w}``.

import matplotlib.pyplot as plt
import sympy

import pint
from pint.steppers.symbolic import SympyODE

p, v, b, u = sympy.symbols("p v b u")
vehicle = SympyODE(
    states=[p, v, b],
    rhs=[v, u - 0.1 * v * sympy.sqrt(v**2 + 0.01), -(u**2)],
    controls={"u": u},
    running_cost=0.01 * u**2,
    terminal_cost=50 * (p - 10) ** 2 + 50 * v**2,
    initial_state=[0, 0, 5],
)

# %%
# A scheme and a time grid
# ------------------------
# `problem` discretises the equation by a scheme of your choice (:doc:`/defining_a_problem` lists them); bounds
# are given with the control, and None stands for no bound. The control is constant over each of the 160 steps of the grid.

problem = vehicle.problem("rk4", controls={"u": (-2.0, 1.5)})
grid = pint.TimeGrid.uniform(8.0, 160)
functional = pint.ReducedFunctional(problem, grid)

# %%
# Before you optimise anything, let `check_problem` compare all derivatives with difference quotients. It
# matters most for what is written by hand; here it costs nothing.

pint.verify.check_problem(problem, grid).require()

# %%
# Optimise
# --------
# For ODEs take `GaussNewton` first: it is Newton's method for states and controls together, and needs
# few iterations. `result.message` says how the run ended.

result = pint.minimize(functional, method=pint.GaussNewton())
print(result.message)
print(f"J = {result.objective:.6f} after {result.iterations} iterations")
print("position and velocity at the end:", result.states()[-1, :2].round(4))

# %%
# A constraint
# ------------
# The speed limit is 1.5 m/s. A path constraint is an expression that must not be positive;
# `AugmentedLagrangian` calls the method again and again until it holds. It starts here from the optimum without the
# limit: the second argument of `minimize` is the start.

limit = vehicle.path_constraint(v - 1.5)
limited = pint.minimize(
    functional, result.control, pint.AugmentedLagrangian(pint.GaussNewton(), [limit])
)
print(f"J = {limited.objective:.6f}, largest velocity {limited.states()[:, 1].max():.4f}")

# %%
# Look at it
# ----------
figure, axes = plt.subplots(3, figsize=(6, 6), sharex=True, layout="constrained")
for one, label in ((result, "free"), (limited, "with a speed limit")):
    axes[0].plot(grid.t, one.states()[:, 0], label=label)
    axes[1].plot(grid.t, one.states()[:, 1])
    axes[2].step(grid.t[:-1], one.control["u"], where="post")
axes[0].set(ylabel="position (m)")
axes[0].legend()
axes[1].set(ylabel="velocity (m/s)")
axes[2].set(ylabel="force", xlabel="t (s)")
plt.show()

# %%
# Where to go from here
# ---------------------
# :doc:`/constraints` has terminal and integral constraints, free final times and measured data,
# :doc:`/all_at_once` the options of `GaussNewton`, :doc:`/ode_problems` twenty-five problems to start from, and
# ``examples/receding_horizon.py`` model-predictive control. With ``backend="compiled"`` steps are machine code.
