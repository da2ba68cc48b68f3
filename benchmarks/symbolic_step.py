"""A generated step against a hand-written one: van der Pol, RK4, batched.

For each batch size the step, the transposed step and all transposes of a problem made by
`SympyODE` and of one whose right-hand side and transpose are written by hand, in turn; medians of
the repeats in microseconds and their ratio, generated over hand-written, which is to be at most
1.5 for the step. The hand-written step is a whole RK4 step, without the stepper classes of `pint`.

    OPENBLAS_NUM_THREADS=1 python benchmarks/symbolic_step.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sympy

import pint
from pint.steppers import ODE, RungeKutta, RungeKuttaAdjoint
from pint.steppers.symbolic import SympyODE


def generated() -> SympyODE:
    y1, y2, u = sympy.symbols("y1 y2 u")
    rhs = [(1 - y2**2) * y1 - y2 + u, y1]
    return SympyODE([y1, y2], rhs, {"u": u}, initial_state=[0, 1])


def f(y: np.ndarray, u: np.ndarray) -> np.ndarray:
    new = np.empty_like(y)
    y1, y2 = y[:, 0], y[:, 1]
    new[:, 0] = (1 - y2**2) * y1 - y2 + u[:, 0]
    new[:, 1] = y1
    return new


class VanDerPol(ODE):
    """The right-hand side by hand."""

    initial_state = np.array([0.0, 1.0])

    def f(self, t: Any, y: Any, u: Any, theta: Any) -> Any:
        return f(y, u["u"])

    def f_vjp(self, t: Any, y: Any, u: Any, theta: Any, lam: Any) -> Any:
        (y1, y2), (p, q) = (y[:, 0], y[:, 1]), (lam[:, 0], lam[:, 1])
        new = np.empty_like(y)
        new[:, 0] = (1 - y2**2) * p + q
        new[:, 1] = -(2 * y1 * y2 + 1) * p
        return new, {"u": lam[:, :1]}, {}


class Step(pint.TimeStepper):
    """RK4 by hand."""

    batched = True
    initial_state = np.array([0.0, 1.0])

    def step(self, s: Any, y: Any, u: Any, theta: Any) -> Any:
        dt, u = s.dt, u["u"]
        k1 = f(y, u)
        k2 = f(y + 0.5 * dt * k1, u)
        k3 = f(y + 0.5 * dt * k2, u)
        k4 = f(y + dt * k3, u)
        return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def interleaved(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the median time of each function in microseconds, calls taken in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, record in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            record.append(1e6 * (time.perf_counter() - start))
    return [statistics.median(record) for record in times]


def main(arguments: list[str] | None = None) -> dict[tuple[int, str], float]:
    """Print the table; return the ratio for each batch size and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64, 1024, 4096])
    parser.add_argument("--repeats", type=int, default=301)
    options = parser.parse_args(arguments)
    symbolic = RungeKutta(generated())
    by_hand, by_hand_adjoint = Step(), RungeKuttaAdjoint(RungeKutta(VanDerPol()))
    symbolic_adjoint = RungeKuttaAdjoint(symbolic)
    ratios = {}
    print("batch  method              generated  by hand  ratio")
    for batch in options.batch:
        random = np.random.default_rng(0)
        y, lam = random.standard_normal((2, batch, 2))
        u = {"u": random.standard_normal((batch, 1))}
        s = pint.TimeGrid.uniform(10.0, batch).batch(0, range(batch), 1)
        both, transposes = (symbolic, by_hand), (symbolic_adjoint, by_hand_adjoint)
        pairs: dict[str, list[Callable[[], Any]]] = {
            "step": [partial(part.step, s, y, u, {}) for part in both],
            "adjoint.step": [partial(part.step, s, y, u, {}, lam) for part in transposes],
            "adjoint.vjp": [partial(part.vjp, s, y, u, {}, lam) for part in transposes],
        }
        for name, functions in pairs.items():
            first, second = interleaved(functions, options.repeats)
            ratios[batch, name] = first / second
            print(f"{batch:5d}  {name:18s}  {first:9.1f}  {second:7.1f}  {first / second:5.2f}")
    return ratios


if __name__ == "__main__":
    main()
