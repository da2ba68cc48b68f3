"""The van der Pol oscillator by MGRIT on one rank, all intervals in one operation, against loops.

    y1' = (1 - y2^2) y1 - y2 + u,  y2' = y1,  y(0) = (0, 1),  T = 10,  u = 0,  N steps of RK4

    python benchmarks/run_all.py van_der_pol_in_parallel [--quick]

The problem is `problems.ode.VanDerPol`. Compared with the MGRIT state solve are

- `one level`: sequential time stepping by `pint`, a grid of one level;
- `loop of steps`: a Python loop that calls the problem's own stepper, one step a call;
- `numpy loop`: a loop that a user would write, RK4 on arrays of two numbers;
- `float loop`: the same on Python's floats, the fastest loop there is for two numbers.

All give the same states to 1e-9, which is checked. MGRIT here is one V-cycle with F-relaxation
after nested iteration, a coarsest level of 64 steps, factors as the table says: for each N the
fastest of about thirty configurations that were tried. Target: 10 times faster than sequential
stepping and than the loop of steps for N >= 4096.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from measuring import Row, medians, options_of, plot_lines, print_table, save

import pint
from pint.equations import Cycles
from problems.ode import VanDerPol

TARGET, ERROR = 10.0, 1e-9
COARSENING = {
    4096: (4, 4, 4),
    16384: (16, 4, 4),
    65536: (16, 4, 4, 4),
    262144: (16, 16, 4, 4),
}


def by_pint(steps: int, coarsening: tuple[int, ...] = ()) -> Callable[[], np.ndarray]:
    """Return a function that solves by MGRIT, or by stepping on one level, and gives all states."""
    kind = VanDerPol()
    grid = pint.TimeGrid.uniform(kind.T, steps, coarsening or 2, levels=len(coarsening) + 1)
    functional = pint.ReducedFunctional(kind.problem(), grid, relaxation="F", guess="nested")
    control = functional.control()

    def solve() -> np.ndarray:
        state = functional.state.new()
        functional.state.solve(state, control, Cycles(pint.Accuracy(cycles=1)))
        return state.points

    return solve


def loop_of_steps(steps: int) -> Callable[[], np.ndarray]:
    """Return a loop over the stepper of the problem."""
    kind = VanDerPol()
    grid = pint.TimeGrid.uniform(kind.T, steps)
    stepper, u = kind.problem().stepper, {"u": np.zeros((1, 1))}

    def solve() -> np.ndarray:
        y = np.empty((steps + 1, 2))
        y[0] = stepper.initial({})
        for n in range(steps):
            y[n + 1] = stepper.step(grid.batch(0, range(n, n + 1), 1), y[n : n + 1], u, {})[0]
        return y

    return solve


def numpy_loop(steps: int) -> Callable[[], np.ndarray]:
    """Return RK4 written by hand."""
    dt = VanDerPol().T / steps

    def f(y: np.ndarray, u: float) -> np.ndarray:
        return np.array([(1 - y[1] ** 2) * y[0] - y[1] + u, y[0]])

    def solve() -> np.ndarray:
        u, y = np.zeros(steps), np.empty((steps + 1, 2))
        y[0] = 0.0, 1.0
        for n in range(steps):
            k1 = f(y[n], u[n])
            k2 = f(y[n] + dt / 2 * k1, u[n])
            k3 = f(y[n] + dt / 2 * k2, u[n])
            k4 = f(y[n] + dt * k3, u[n])
            y[n + 1] = y[n] + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y

    return solve


def float_loop(steps: int) -> Callable[[], np.ndarray]:
    """Return RK4 on floats."""
    dt = VanDerPol().T / steps

    def f(p: float, q: float, u: float) -> float:
        return (1 - q * q) * p - q + u

    def solve() -> np.ndarray:
        u, p, q = [0.0] * steps, 0.0, 1.0
        states = [(p, q)]
        half, sixth = dt / 2, dt / 6
        for n in range(steps):
            v = u[n]
            k1 = f(p, q, v)
            p2 = p + half * k1
            k2 = f(p2, q + half * p, v)
            p3 = p + half * k2
            k3 = f(p3, q + half * p2, v)
            p4 = p + dt * k3
            k4 = f(p4, q + dt * p3, v)
            p, q = p + sixth * (k1 + 2 * k2 + 2 * k3 + k4), q + sixth * (p + 2 * p2 + 2 * p3 + p4)
            states.append((p, q))
        return np.array(states)

    return solve


def measure(steps: int, repeats: int) -> list[Row]:
    """Return the rows of one number of steps."""
    coarsening = COARSENING[steps]
    functions: dict[str, Callable[[], Any]] = {
        "MGRIT": by_pint(steps, coarsening),
        "one level": by_pint(steps),
        "loop of steps": loop_of_steps(steps),
        "numpy loop": numpy_loop(steps),
        "float loop": float_loop(steps),
    }
    states: dict[str, np.ndarray] = {}

    def kept(name: str) -> None:
        states[name] = functions[name]()

    # A loop of 262,144 steps takes half a minute: it is not called to get warm.
    calls = {name: partial(kept, name) for name in functions}
    seconds = medians(calls, repeats, warm=steps > 65536)
    errors = {name: float(np.abs(y - states["one level"]).max()) for name, y in states.items()}
    for name, error in errors.items():
        assert error <= ERROR, f"{name}: error {error:.1e}"
    return [
        {
            "N": steps,
            "factors": "x".join(map(str, coarsening)) if name == "MGRIT" else "",
            "method": name,
            "seconds": seconds[name],
            "error": errors[name],
            "MGRIT faster by": "" if name == "MGRIT" else seconds[name] / seconds["MGRIT"],
            "target": TARGET if name in ("one level", "loop of steps") else "",
        }
        for name in functions
    ]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    options = options_of(__doc__, arguments, repeats=5)
    rows: list[Row] = []
    for steps in (4096,) if options.quick else COARSENING:
        rows += measure(steps, min(options.repeats, max(1, 2**17 // steps)))
    print_table("Van der Pol, state solve (medians)", rows)
    save("van_der_pol_in_parallel", rows, options.output)
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        lines.setdefault(row["method"], {})[row["N"]] = row["seconds"]
    picture = options.output / "van_der_pol_in_parallel.png"
    plot_lines(picture, "Van der Pol, state solve", "steps N", lines)
    return rows


if __name__ == "__main__":
    main()
