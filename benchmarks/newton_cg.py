"""Sweeps of `NewtonCG` beside those of L-BFGS, to one relative gradient norm.

A sweep is a solve of the state, of the adjoint or of the tangent equation; those on coarser time
grids count by their part of the steps. All solves are sequential, so that a sweep is N steps.
Columns:

- `lbfgs`: sweeps of `ReducedSpace`, state and adjoint, trials of the line search included;
- `newton`: sweeps of `NewtonCG`, and of these `state`, `adjoint`, `tangent`;
- `plain`: sweeps of ``NewtonCG(coarse=1)``, without the coarser grid;
- `gn`: sweeps of ``NewtonCG(hessian="gauss-newton")``;
- `fewer`: ``lbfgs / newton``.

Objectives of all methods must agree to 1e-7.

    python benchmarks/run_all.py newton_cg [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from measuring import Row, options_of, plot_bars, print_table, save

import pint
from pint.steppers import ODE, Lagrangian, RunningCost
from problems.ode import PROBLEMS

TOLERANCE = 1e-8


class Reaction(ODE):
    """``y_t = nu y_xx + g(y) + B u`` on (0, 1), zero at both ends, by finite differences."""

    nu = 0.01

    def __init__(self, points: int, actuators: int) -> None:
        self.h = 1.0 / (points + 1)
        self.x = self.h * np.arange(1, points + 1)
        places = np.minimum((self.x * actuators).astype(int), actuators - 1)
        self.B = (places[:, None] == np.arange(actuators)).astype(float)
        self.initial_state = np.sin(2 * np.pi * self.x)

    def diffusion(self, y: np.ndarray) -> np.ndarray:
        wide = np.pad(y, ((0, 0), (1, 1)))
        return self.nu / self.h**2 * (wide[:, 2:] - 2 * wide[:, 1:-1] + wide[:, :-2])

    def differences(self, y: np.ndarray) -> np.ndarray:
        wide = np.pad(y, ((0, 0), (1, 1)))
        return (wide[:, 2:] - wide[:, :-2]) / (2 * self.h)


class Burgers(Reaction):
    """``g = -(y^2 / 2)_x``."""

    def f(self, t, y, u, theta):
        return self.diffusion(y) - self.differences(y**2 / 2) + u["u"] @ self.B.T

    def f_vjp(self, t, y, u, theta, lam):
        return self.diffusion(lam) + y * self.differences(lam), {"u": lam @ self.B}, {}


class AllenCahn(Reaction):
    """``g = 5 (y - y^3)``."""

    def f(self, t, y, u, theta):
        return self.diffusion(y) + 5 * (y - y**3) + u["u"] @ self.B.T

    def f_vjp(self, t, y, u, theta, lam):
        return self.diffusion(lam) + 5 * (1 - 3 * y**2) * lam, {"u": lam @ self.B}, {}


class Tracking(Lagrangian):
    """``(h |y - target|^2 + gamma |u|^2) / 2``."""

    def __init__(self, target: np.ndarray, h: float, gamma: float) -> None:
        self.target, self.h, self.gamma = target, h, gamma

    def value(self, t, y, u, theta):
        of_state = self.h * ((y - self.target) ** 2).sum(axis=1)
        return 0.5 * (of_state + self.gamma * (u["u"] ** 2).sum(axis=1))

    def gradient(self, t, y, u, theta, weight):
        of_control = self.gamma * weight[:, None] * u["u"]
        return self.h * weight[:, None] * (y - self.target), {"u": of_control}, {}


def tracking(ode: Reaction, target: np.ndarray, gamma: float, steps: int) -> pint.ReducedFunctional:
    """Return the functional of an equation that is to follow a target; implicit Euler."""
    stepper, adjoint = pint.steppers.scheme(ode, "implicit-euler")
    cost = RunningCost(Tracking(target, ode.h, gamma), "right")
    problem = pint.Problem(stepper, adjoint, cost, {"u": pint.TimeControl(ode.B.shape[1])})
    return pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, steps))


def burgers(gamma: float, steps: int, points: int, actuators: int) -> pint.ReducedFunctional:
    """Keep the first state, against advection and diffusion."""
    ode = Burgers(points, actuators)
    return tracking(ode, ode.initial_state, gamma, steps)


def allen_cahn(gamma: float, steps: int, points: int, actuators: int) -> pint.ReducedFunctional:
    """Bring both phases to one."""
    ode = AllenCahn(points, actuators)
    return tracking(ode, 0.8 * np.sin(np.pi * ode.x), gamma, steps)


def van_der_pol(steps: int) -> pint.ReducedFunctional:
    problem = PROBLEMS["van-der-pol"]
    problem = problem() if isinstance(problem, type) else problem
    grid = pint.TimeGrid.uniform(problem.T, steps)
    return pint.ReducedFunctional(problem.problem(), grid)


def measure(name: str, functional: pint.ReducedFunctional, gamma: float) -> Row:
    """Return the sweeps of all methods."""
    steps, tolerances = functional.grid.steps, {"relative_gradient_tolerance": TOLERANCE}
    tolerances["gradient_tolerance"] = 0.0
    lbfgs = pint.minimize(functional, method=pint.ReducedSpace(iterations=1000, **tolerances))
    newton, plain, gauss_newton = (
        pint.minimize(functional, method=pint.NewtonCG(**tolerances, **options))
        for options in ({}, {"coarse": 1}, {"hessian": "gauss-newton"})
    )
    for result in (lbfgs, newton, plain, gauss_newton):
        assert result.status is pint.Status.CONVERGED, f"{name}: {result.message}"
        np.testing.assert_allclose(result.objective, lbfgs.objective, rtol=1e-7)
    last = lbfgs.history[-1]
    of_lbfgs = (last.state_steps + last.adjoint_steps) / steps
    sweeps = newton.history[-1].sweeps
    total = sum(sweeps.values())
    return {
        "problem": name,
        "N": steps,
        "gamma": gamma,
        "lbfgs": round(of_lbfgs),
        "newton": round(total, 1),
        **{key: round(count, 1) for key, count in sweeps.items()},
        "plain": round(sum(plain.history[-1].sweeps.values()), 1),
        "gn": round(sum(gauss_newton.history[-1].sweeps.values()), 1),
        "fewer": round(of_lbfgs / total, 2),
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=1)
    if options.quick:
        cases = [("van der Pol", van_der_pol(32), 1.0)]
        cases += [("Burgers", burgers(1e-2, 16, 7, 2), 1e-2)]
    else:
        cases = [("van der Pol", van_der_pol(steps), 1.0) for steps in (100, 200)]
        for gamma in (1e-3, 1e-4):
            cases += [("Burgers", burgers(gamma, 64, 15, 3), gamma)]
            cases += [("Allen-Cahn", allen_cahn(gamma, 256, 15, 3), gamma)]
    rows = [measure(*case) for case in cases]
    print_table(f"Sweeps to {TOLERANCE:g} of the first gradient norm", rows)
    save("newton_cg", rows, options.output)
    fewer = {f"{row['problem']}, N {row['N']}, {row['gamma']:g}": row["fewer"] for row in rows}
    plot_bars(options.output / "newton_cg.png", "Sweeps of L-BFGS / NewtonCG", fewer, "times")
    return rows


if __name__ == "__main__":
    main()
