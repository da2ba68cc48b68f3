"""Gauss-Newton against CasADi with IPOPT, and against L-BFGS, on the same discretisation.

Problems of `problems.ode_catalogue`, and van der Pol with T = 10: RK4, the trapezoid rule for the
cost, one core. Steps are compiled, and come from the cache. Seconds of Gauss-Newton and of CasADi
contain the set-up of the problem; CasADi gets multiple shooting with the steps mapped, states that
start at y_0, exact derivatives, and IPOPT's default options with the same tolerance. What is not
installed is left out. A second table: Gauss-Newton on one rank and on two.

    python benchmarks/run_all.py all_at_once [--quick] [--output FOLDER]
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from measuring import NOT_INSTALLED, Row, installed, mpi_command, on_ranks, options_of, print_table
from measuring import save as save_table

import pint
from problems.ode_catalogue import CATALOGUE, CatalogueProblem

VAN_DER_POL = CatalogueProblem(
    definition="y1' = (1 - y2^2) y1 - y2 + u, y2' = y1",
    states=("a", "b"),
    rhs=("(1 - b**2)*a - b + u", "a"),
    running_cost="a**2 + b**2 + u**2",
    terminal_cost="0",
    initial_state=(0.0, 1.0),
    final_time=10.0,
    steps=64,
    time=None,
    controls={"u": {"symbols": ["u"], "lower": None, "upper": None}},
    first={"u": ("0",)},
    minima=(),
)
PROBLEMS = {"van-der-pol": VAN_DER_POL, **CATALOGUE}
LARGE = ("van-der-pol", "cart-pole")
TOLERANCE = 1e-8
MOST_ADAPTIVE = 1000
"""Steps; on more of them a thousand updates would take minutes."""


def minimised(name: str, steps: int, method: Any, levels: int = 1) -> Row:
    """Return iterations, seconds with the set-up, and the objective."""
    begin = time.perf_counter()
    definition = PROBLEMS[name]
    problem = definition.problem("rk4", backend="compiled")
    grid = pint.TimeGrid.uniform(definition.final_time, steps, coarsening=4, levels=levels)
    functional = pint.ReducedFunctional(problem, grid)
    result = pint.minimize(functional, definition.start(functional.controls), method)
    return {
        "iterations": result.iterations,
        "seconds": time.perf_counter() - begin,
        "J": result.objective,
        "status": result.status.name,
    }


def gauss_newton(name: str, steps: int) -> Row:
    """Return the numbers of Gauss-Newton."""
    return minimised(name, steps, pint.GaussNewton(gradient_tolerance=TOLERANCE))


def lbfgs(name: str, steps: int) -> Row:
    """Return those of L-BFGS with compiled sequential steps."""
    method = pint.ReducedSpace(gradient_tolerance=TOLERANCE, iterations=1000)
    return minimised(name, steps, method)


def adaptive(name: str, steps: int) -> Row:
    """Return those of adaptive one-shot on two levels."""
    method = pint.Adaptive(gradient_tolerance=TOLERANCE, iterations=1000)
    return minimised(name, steps, method, levels=2)


def interior_point(name: str, steps: int) -> Row:
    """Return the same of CasADi with IPOPT."""
    import casadi

    begin = time.perf_counter()
    definition = PROBLEMS[name]
    y = casadi.SX.sym("y", len(definition.states))
    symbols = [s for field in definition.controls.values() for s in field["symbols"]]
    u, t = casadi.SX.sym("u", len(symbols)), casadi.SX.sym("t")
    known = dict(zip(definition.states, casadi.vertsplit(y), strict=True))
    known |= dict(zip(symbols, casadi.vertsplit(u), strict=True))
    if definition.time:
        known[definition.time] = t
    names = [sympy.Symbol(one, real=True) for one in known]

    def of(text: str) -> Any:
        expression = sympy.sympify(text, {one.name: one for one in names})
        return sympy.lambdify(names, expression, _Casadi())(*known.values())

    f = casadi.Function("f", [t, y, u], [casadi.vertcat(*(of(text) for text in definition.rhs))])
    running = casadi.Function("L", [t, y, u], [of(definition.running_cost)])
    terminal = casadi.Function("psi", [y], [of(definition.terminal_cost)])
    h = definition.final_time / steps
    k1 = f(t, y, u)
    k2 = f(t + h / 2, y + h / 2 * k1, u)
    k3 = f(t + h / 2, y + h / 2 * k2, u)
    k4 = f(t + h, y + h * k3, u)
    step = casadi.Function("step", [t, y, u], [y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)])
    end = casadi.SX.sym("end", len(definition.states))
    cost = casadi.Function(
        "cost", [t, y, end, u], [h / 2 * (running(t, y, u) + running(t + h, end, u))]
    )
    states, controls = (
        casadi.MX.sym("Y", y.numel(), steps + 1),
        casadi.MX.sym("U", u.numel(), steps),
    )
    times = np.linspace(0, definition.final_time, steps + 1)[None, :-1]
    defects = step.map(steps)(times, states[:, :-1], controls) - states[:, 1:]
    total = casadi.sum2(cost.map(steps)(times, states[:, :-1], states[:, 1:], controls))
    initial = np.array(definition.initial_state, dtype=float)
    problem = {
        "x": casadi.vertcat(casadi.vec(states), casadi.vec(controls)),
        "f": total + terminal(states[:, -1]),
        "g": casadi.vertcat(states[:, 0] - initial, casadi.vec(defects)),
    }
    quiet = {"ipopt.print_level": 0, "print_time": False, "ipopt.sb": "yes", "ipopt.tol": TOLERANCE}
    solver = casadi.nlpsol("solver", "ipopt", problem, quiet)
    first = np.zeros((len(symbols), steps))
    for i, text in enumerate(text for texts in definition.first.values() for text in texts):
        first[i] = sympy.lambdify(sympy.Symbol("t"), sympy.sympify(text))(times[0])
    bounds = [field for field in definition.controls.values() for _ in field["symbols"]]
    lower, upper = (
        np.array([end if field[key] is None else field[key] for field in bounds], dtype=float)
        for key, end in (("lower", -math.inf), ("upper", math.inf))
    )
    free = np.full(y.numel() * (steps + 1), math.inf)
    found = solver(
        x0=np.concatenate([np.tile(initial, steps + 1), first.T.ravel()]),
        lbx=np.concatenate([-free, np.tile(lower, steps)]),
        ubx=np.concatenate([free, np.tile(upper, steps)]),
        lbg=0,
        ubg=0,
    )
    return {
        "iterations": solver.stats()["iter_count"],
        "seconds": time.perf_counter() - begin,
        "J": float(found["f"]),
        "status": solver.stats()["return_status"],
    }


def _Casadi() -> list[Any]:  # noqa: N802  (a namespace for lambdify)
    import casadi

    functions = ("sin", "cos", "tan", "exp", "sqrt", "log", "tanh", "fabs")
    return [{name: getattr(casadi, name) for name in functions} | {"Abs": casadi.fabs}]


def run(name: str, steps: int) -> None:
    """Print the seconds of Gauss-Newton on all ranks, without the set-up, as JSON."""
    comm, definition = pint.world(), PROBLEMS[name]
    problem = definition.problem("rk4", backend="compiled")
    functional = pint.ReducedFunctional(
        problem, pint.TimeGrid.uniform(definition.final_time, steps, comm=comm)
    )
    start, seconds = definition.start(functional.controls), []
    for _ in range(3):  # the first one loads machine code
        comm.Barrier()
        begin = time.perf_counter()
        result = pint.minimize(functional, start, pint.GaussNewton(gradient_tolerance=TOLERANCE))
        seconds.append(time.perf_counter() - begin)
    if comm.rank == 0:
        print(json.dumps({"seconds": min(seconds[1:]), "iterations": result.iterations}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the tables and write them; return the rows of both."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(arguments[1], int(arguments[2]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    cases = [(name, PROBLEMS[name].steps) for name in PROBLEMS]
    sizes = (256,) if options.quick else (4096, 65536)
    large = LARGE[:1] if options.quick else LARGE
    if options.quick:
        cases = cases[:1]
    cases += [(name, steps) for steps in sizes for name in large]
    others = {"lbfgs": lbfgs, "adaptive": adaptive}
    if installed("casadi"):
        others["ipopt"] = interior_point
    rows: list[Row] = []
    for name, steps in cases:
        gauss_newton(name, steps)  # compiles, if need be
        several = [gauss_newton(name, steps) for _ in range(options.repeats)]
        row: Row = {"problem": name, "N": steps, "J": several[0]["J"]}
        row["iterations"] = several[0]["iterations"]
        row["s"] = statistics.median(one["seconds"] for one in several)
        for other, method in others.items():
            if method is adaptive and steps > (64 if options.quick else MOST_ADAPTIVE):
                continue
            found = method(name, steps)
            row |= {f"{other} its": found["iterations"], f"{other} s": found["seconds"]}
            row[f"{other}/this"] = found["seconds"] / row["s"]
            row[f"{other} J"] = found["J"]
        rows.append(row)
    print_table("To a KKT residual or gradient of 1e-8", rows)
    save_table("all_at_once", rows, options.output)
    command = mpi_command()
    if command is None:
        print_table("On two ranks: no MPI", [{"method": NOT_INSTALLED}])
        return rows
    more: list[Row] = []
    for name in large:
        for steps in sizes:
            program = (__file__, "--rank-program", name, str(steps))
            one, two = (on_ranks(command, ranks, *program) for ranks in (1, 2))
            more.append({
                "problem": name, "N": steps, "iterations": one["iterations"],
                "1 rank (s)": one["seconds"], "2 ranks (s)": two["seconds"],
                "1 rank/2 ranks": one["seconds"] / two["seconds"],
            })  # fmt: skip
    print_table("Gauss-Newton on two ranks, without set-up", more)
    save_table("all_at_once_on_two_ranks", more, options.output)
    return rows + more


if __name__ == "__main__":
    main()
