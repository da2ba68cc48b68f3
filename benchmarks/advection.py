"""Advection and MGRIT: residual factors a cycle, by diffusivity, steps and coarse steps.

``y_t + y_x = nu y_xx + u`` on (0, 1), y = 0 at the left end, no flux at the right one; 63 points,
64 steps to T = 1, two levels, m = 4. Upwind or central differences in space; Crank-Nicolson,
implicit Euler or sdirk2 in time, and on the coarse level the same step, or another one. The factor
is the geometric mean of those of the last half of the cycles until 1e-9, at most 14: with 16
coarse intervals F-relaxation is exact after 16 cycles, FCF-relaxation after 8.

    python benchmarks/run_all.py advection [--quick]
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import Row, options_of, print_table, save

import pint
from pint.equations import Cycles
from pint.steppers import ODE, scheme

SCHEMES = {
    "implicit-euler": ("implicit-euler", None),
    "crank-nicolson": ("crank-nicolson", None),
    "crank-nicolson, coarse implicit-euler": ("crank-nicolson", "implicit-euler"),
    "sdirk2": ("sdirk2", None),
}


class Advection(ODE):
    """The equation, its constant Jacobian in three bands."""

    bands = (1, 1)

    def __init__(self, points: int, nu: float, upwind: bool) -> None:
        h, d = 1 / points, np.ones(points)
        left = nu / h**2 + (1 / h if upwind else 0.5 / h)
        right = nu / h**2 - (0 if upwind else 0.5 / h)
        self.matrix = np.stack([right * d, -(left + right) * d, left * d])[None]
        self.matrix[0, 1, -1] += right  # no flux: the value beyond the end is that at the end
        x = (np.arange(points) + 1) * h
        self.initial_state = np.exp(-(((x - 0.3) / 0.1) ** 2))

    def product(self, y: Any, transposed: bool = False) -> Any:
        above, main, below = self.matrix[0, :, :]
        result = main * y
        if transposed:
            result[:, 1:] += above[1:] * y[:, :-1]
            result[:, :-1] += below[:-1] * y[:, 1:]
        else:
            result[:, :-1] += above[1:] * y[:, 1:]
            result[:, 1:] += below[:-1] * y[:, :-1]
        return result

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return self.product(y) + u["u"]

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        return self.product(lam, transposed=True), {"u": lam}, {}

    def jacobian(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return self.matrix


class Energy(pint.Objective):
    """``1/2 |y(T)|^2``."""

    def terminal(self, y: Any, theta: Any) -> float:
        return 0.5 * float((y**2).sum())

    def terminal_derivative(self, y: Any, theta: Any) -> Any:
        return y, {}


def factor(points: int, nu: float, upwind: bool, name: str, relaxation: str) -> float:
    """Return the mean residual factor of a cycle."""
    fine, coarse = SCHEMES[name]
    parts = scheme(Advection(points, nu, upwind), fine, coarse=coarse)
    problem = pint.Problem(*parts, Energy(), {"u": pint.TimeControl(points)})
    grid = pint.TimeGrid.uniform(1.0, 64, 4, 2)
    functional = pint.ReducedFunctional(
        problem, grid, relaxation=relaxation, guess="constant", unconverged="ignore"
    )
    state, cycles = functional.state.new(), 14 if relaxation == "F" else 7
    functional.state.solve(
        state, functional.control(), Cycles(pint.Accuracy(cycles, relative=1e-9))
    )
    residuals = np.array(state.convergence.residuals)
    half = len(residuals) // 2
    return float((residuals[-1] / residuals[half]) ** (1 / (len(residuals) - 1 - half)))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print and save the table."""
    options = options_of(__doc__, arguments, repeats=1)
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for nu in (1.0, 1e-3) if options.quick else (1.0, 0.1, 1e-2, 1e-3):
            for differences in ("central", "upwind"):
                for name in SCHEMES:
                    row: Row = {"nu": nu, "differences": differences, "steps": name}
                    for relaxation in ("F", "FCF"):
                        upwind = differences == "upwind"
                        row[relaxation] = factor(63, nu, upwind, name, relaxation)
                    rows.append(row)
    print_table(__doc__.splitlines()[0], rows)
    save("advection", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
