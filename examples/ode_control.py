"""Optimal control of an ordinary differential equation.

One of the problems of `problems.ode`: minimise over the control u, constant on each of N steps,

    J = sum_n dt L(y, u_n) + psi(y_N),   y' = f(y, u),   lower <= u <= upper,

by reduced space with sequential sweeps (``--method sequential``) or with MGRIT solved to a
tolerance (``mgrit``), or by one-shot MGRIT with a few cycles for each update (``one-shot``).

    python examples/ode_control.py --problem van-der-pol --steps 64 --method one-shot
    python examples/ode_control.py --problem scalar-lqr --set r=0.01 T=2 --plot lqr.png
    mpiexec -n 2 python examples/ode_control.py --problem fishing --steps 240 --method mgrit
"""

from __future__ import annotations

import argparse
import importlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from arguments import (
    Parser,
    assignment,
    check_checkpoint,
    check_outputs,
    checkpoint_options,
    integer,
    make_functional,
    make_grid,
    minimise,
    optimiser_options,
    output_options,
    print_result,
    real,
    run,
    solver_options,
    summary_of,
)

import pint
from pint.comm import on_root
from pint.report.files import write_atomically
from problems.ode import PROBLEMS, ODEProblem


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("ode_control.py", description="Optimal control of an ODE, parallel in time.")
    new.comm = comm
    schemes = sorted({name for kind in PROBLEMS.values() for name in kind.schemes})
    option = new.add_argument_group("problem").add_argument
    option("--problem", choices=list(PROBLEMS), default="double-integrator", help="which")
    option(
        "--steps", type=integer(1), metavar="N", help="time steps (20, 64, 96 or 128 by problem)"
    )
    option("--scheme", choices=schemes, metavar="S",
           help=f"one that fits the problem, of {', '.join(schemes)}")  # fmt: skip
    option(
        "--set",
        type=assignment,
        nargs="+",
        action="extend",
        default=[],
        metavar="name=value",
        help="parameters: "
        + "; ".join(f"{name}: {', '.join(kind().parameters())}" for name, kind in PROBLEMS.items()),
    )
    option(
        "--backend",
        choices=["numpy", "compiled", "auto"],
        default="numpy",
        help="steps in numpy, in machine code (needs numba and sympy), or what is faster in total",
    )
    option("--lower", type=real, metavar="a", help="bound of the control (fishing: 0)")
    option("--upper", type=real, metavar="b", help="bound of the control (fishing: 1)")
    solver_options(new, method="sequential")
    optimiser_options(new, gradient_tolerance=1e-8, iterations=1000)
    checkpoint_options(new)
    output_options(new, plot="states and control against time")
    return new


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the optimisation starts."""

    functional: pint.ReducedFunctional
    control: pint.Control


def make_problem(options: argparse.Namespace) -> ODEProblem:
    """Return the problem with the parameters of ``--set``; ValueError names a wrong one."""
    kind = PROBLEMS[options.problem]
    known = kind().parameters()
    for name, _ in options.set:
        if name not in known:
            raise ValueError(
                f"argument --set: {options.problem} has no parameter {name!r}; it has "
                f"{', '.join(known)}"
            )
    if options.scheme not in (None, *kind.schemes):
        raise ValueError(
            f"argument --scheme: {options.problem} has {', '.join(kind.schemes)}, "
            f"not {options.scheme}"
        )
    try:
        return kind(**dict(options.set))
    except ValueError as error:
        raise ValueError(f"argument --set: {error}") from None


def stepped(options: argparse.Namespace, definition: ODEProblem) -> pint.Problem:
    """Return the problem with steps in numpy, or in machine code."""
    bounds = (options.scheme, options.lower, options.upper)
    if options.backend == "numpy":
        return definition.problem(*bounds)
    ode_expressions = importlib.import_module("problems.ode_expressions")
    steps = options.steps or definition.steps
    problem: pint.Problem = ode_expressions.problem(
        definition, *bounds, backend=options.backend, steps=steps
    )
    return problem


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and first control; ValueError names the option that does not fit."""
    on_root(comm, lambda: check_outputs(options, "plot", "json", "history"))
    on_root(comm, lambda: check_checkpoint(options))
    definition = make_problem(options)
    grid = make_grid(options, definition.T, options.steps or definition.steps, comm)
    try:
        problem = stepped(options, definition)
    except ValueError as error:
        raise ValueError(f"argument --lower/--upper: {error}") from None
    except ImportError as error:
        raise ValueError(f"argument --backend: {error}") from None
    functional = make_functional(options, problem, grid)
    return Setup(functional, definition.start(functional.controls))


def solve(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Minimise, write what was asked for, and return the numbers of the result. Collective."""
    comm, grid = setup.functional.comm, setup.functional.grid
    result = minimise(options, setup.functional, setup.control)
    control = result.control.gather()["u"]
    states = result.states()
    summary = summary_of(result, control.tolist())
    if comm.rank == 0:
        print(
            f"{options.problem}, {options.method}: {grid.steps} steps on {comm.size} rank(s), "
            f"{grid.levels} level(s)"
        )
        print_result(result)
        if options.json:
            text = json.dumps(summary, indent=1) + "\n"
            write_atomically(options.json, lambda file: file.write(text.encode()))
        if options.history:
            pint.write_history(options.history, result.history)
        if options.plot:
            draw(options, grid.t, states, control)
    return summary


def draw(
    options: argparse.Namespace, t: np.ndarray, states: np.ndarray, control: np.ndarray
) -> None:
    """Draw states and control; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for i, component in enumerate(states.T):
        above.plot(t, component, label=f"$y_{i + 1}$")
    for i, component in enumerate(control.T):
        below.stairs(component, t, baseline=None, label=f"$u_{i + 1}$")
    above.set_title(options.problem)
    below.set_xlabel("time")
    for axes, name in ((above, "state"), (below, "control")):
        axes.set_ylabel(name)
        axes.legend(loc="upper right")
    kind = options.plot.rpartition(".")[2]
    write_atomically(options.plot, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the result."""
    return run(arguments, parser, set_up, solve)


if __name__ == "__main__":
    main()
