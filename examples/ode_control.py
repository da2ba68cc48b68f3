"""Optimal control of an ordinary differential equation.

One of the problems of `problems.ode`, `problems.ode_catalogue` or `problems.ode_constrained` (with
constraints, a free final time, or measured data): minimise over the control u, constant on each
of N steps,

    J = sum_n dt L(y, u_n) + psi(y_N),   y' = f(y, u),   lower <= u <= upper,

by reduced space with sequential sweeps (``--method sequential``) or with MGRIT solved to a
tolerance (``mgrit``), by one-shot MGRIT with a few cycles for each update (``one-shot``), or by
Newton's method for states and controls together (``gauss-newton``).

    python examples/ode_control.py --problem van-der-pol --steps 64 --method one-shot
    python examples/ode_control.py --problem scalar-lqr --set r=0.01 T=2 --plot lqr.png
    python examples/ode_control.py --problem hiv --method mgrit --coarse implicit-euler
    python examples/ode_control.py --problem cart-pole --method gauss-newton --backend compiled
    python examples/ode_control.py --problem bryson-denham --set l=0.1 --method gauss-newton
    mpiexec -n 2 python examples/ode_control.py --problem fishing --steps 240 --method mgrit
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from arguments import (
    Parser,
    assignment,
    checkpoint_options,
    coarse,
    correction,
    integer,
    make_functional,
    make_grid,
    minimise,
    optimiser_options,
    output_options,
    print_prediction,
    print_result,
    real,
    run,
    solver_options,
    summary_of,
    write_all,
    write_json,
)

import pint
from pint.report.files import write_atomically
from problems.ode import PROBLEMS, ODEProblem
from problems.ode_catalogue import CATALOGUE, CatalogueProblem
from problems.ode_constrained import CONSTRAINED, ConstrainedProblem, ParameterEstimation

Definition = ODEProblem | CatalogueProblem | ConstrainedProblem


def _known(name: str) -> CatalogueProblem:
    return CATALOGUE[name]


KINDS: dict[str, Any] = {
    **PROBLEMS,
    **{name: partial(_known, name) for name in CATALOGUE},
    **CONSTRAINED,
}
"""What makes each problem, of its parameters."""


def problem_options(new: Parser) -> None:
    """Add the options of the problem, which `make_problem` and `stepped` read."""
    schemes = sorted({name for kind in KINDS.values() for name in kind().schemes})
    option = new.add_argument_group("problem").add_argument
    option("--problem", choices=list(KINDS), default="double-integrator", help="which")
    option("--steps", type=integer(1), metavar="N", help="time steps (20 to 192 by problem)")
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
        + "; ".join(
            f"{name}: {', '.join(kind().parameters())}"
            for name, kind in (PROBLEMS | CONSTRAINED).items()
        ),
    )
    option(
        "--backend",
        choices=["numpy", "compiled", "auto"],
        default="numpy",
        help="steps in numpy, in machine code (needs numba and sympy), or what is faster in total",
    )
    option("--lower", type=real, metavar="a", help="bound of the controls (by problem)")
    option("--upper", type=real, metavar="b", help="bound of the controls (by problem)")


def coarse_options(option: Callable[..., Any]) -> None:
    """Add, by the function `option`, those of the steps of coarse levels."""
    option(
        "--coarse",
        type=coarse,
        metavar="STEP",
        help="another step on coarse levels, where the scheme may be unstable: implicit-euler, "
        "midpoint, crank-nicolson, sdirk2, two-solve, rkc or rkc:s (s stages), substeps:k "
        "(k steps of the scheme)",
    )
    option(
        "--correction",
        type=correction,
        metavar="full|k",
        help="linear correction of coarse steps, full or of rank k, for cycles of Newton's method",
    )


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("ode_control.py", description="Optimal control of an ODE, parallel in time.")
    new.comm = comm
    problem_options(new)
    option = solver_options(
        new,
        method="sequential",
        more=["gauss-newton"],
        note="; gauss-newton takes states and controls as unknowns together",
    )
    coarse_options(option)
    option(
        "--hessian",
        choices=["gauss-newton", "exact"],
        help="of --method gauss-newton: without or with the steps' second derivatives (exact)",
    )
    optimiser_options(new, gradient_tolerance=1e-8, iterations=1000)
    checkpoint_options(new)
    output_options(new, plot="states and control against time")
    return new


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the optimisation starts."""

    definition: Definition
    functional: pint.ReducedFunctional
    control: pint.Control


def make_problem(options: argparse.Namespace) -> Definition:
    """Return the problem with the parameters of ``--set``; ValueError names a wrong one."""
    kind = KINDS[options.problem]
    known = kind().parameters()
    for name, _ in options.set:
        if name not in known:
            raise ValueError(
                f"argument --set: {options.problem} has no parameter {name!r}; it has "
                f"{', '.join(known) or 'none'}"
            )
    if options.scheme not in (None, *kind().schemes):
        raise ValueError(
            f"argument --scheme: {options.problem} has {', '.join(kind().schemes)}, "
            f"not {options.scheme}"
        )
    try:
        made: Definition = kind(**dict(options.set))
        return made
    except ValueError as error:
        raise ValueError(f"argument --set: {error}") from None


def stepped(options: argparse.Namespace, definition: Definition) -> pint.Problem:
    """Return the problem with steps in numpy, or in machine code."""
    bounds = (options.scheme, options.lower, options.upper)
    settings = {"coarse": options.coarse}
    if options.backend == "numpy" and isinstance(definition, ODEProblem):
        return definition.problem(*bounds, **settings)
    settings |= {"backend": options.backend, "steps": options.steps or definition.steps}
    if not isinstance(definition, ODEProblem):
        return definition.problem(*bounds, **settings)
    ode_expressions = importlib.import_module("problems.ode_expressions")
    problem: pint.Problem = ode_expressions.problem(definition, *bounds, **settings)
    return problem


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and first control; ValueError names the option that does not fit."""
    definition = make_problem(options)
    constraints = _constraints(definition)
    if constraints and options.checkpoint:
        raise ValueError(f"argument --checkpoint: {options.problem} has constraints, whose runs "
                         "cannot be saved")  # fmt: skip
    functional = functional_of(options, definition, comm)
    return Setup(definition, functional, definition.start(functional.controls))


def functional_of(
    options: argparse.Namespace, definition: Definition, comm: Any
) -> pint.ReducedFunctional:
    """Return the functional on the grid of the options; ValueError names what does not fit."""
    grid = make_grid(options, definition.T, options.steps or definition.steps, comm)
    try:
        problem = stepped(options, definition)
    except ValueError as error:
        names = "lower/--upper" if "steps" not in str(error) else "steps"
        raise ValueError(f"argument --{names}: {error}") from None
    except ImportError as error:
        name = "backend" if options.backend != "numpy" else "problem"
        raise ValueError(f"argument --{name}: {error}") from None
    try:
        return make_functional(options, problem, grid)
    except ValueError as error:
        name = "`ReducedFunctional(correction=...)` "
        if not str(error).startswith(name):
            raise
        raise ValueError(f"argument --correction: {str(error).removeprefix(name)}") from None


def _constraints(definition: Definition) -> list[Any]:
    return definition.constraints() if isinstance(definition, ConstrainedProblem) else []


def solve(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Minimise, write what was asked for, and return the numbers of the result. Collective."""
    comm, grid = setup.functional.comm, setup.functional.grid
    result = minimise(options, setup.functional, setup.control, _constraints(setup.definition))
    errors = None
    if isinstance(setup.definition, ParameterEstimation):
        errors = pint.standard_errors(result)
    fields = result.control.gather()
    states = result.states()
    lists = {name: values.tolist() for name, values in fields.items()}
    # As ever the numbers of a single field alone
    summary = summary_of(result, lists if len(lists) > 1 else next(iter(lists.values())))
    if result.all_at_once is not None:
        summary |= {"kkt": result.all_at_once.kkt, "fallback": result.all_at_once.fallback}
    if result.constrained is not None:
        summary["violations"] = list(result.constrained.violations)
        summary["outer_iterations"] = len(result.constrained.outer)
    if errors is not None:
        summary["standard_errors"] = {name: one.tolist() for name, one in errors.items()}
    if comm.rank == 0:
        print(
            f"{options.problem}, {options.method}: {grid.steps} steps on {comm.size} rank(s), "
            f"{grid.levels} level(s)"
        )
        print_result(result)
        if comm.size == 1:
            print_prediction(options, result)
        for name, one in (errors or {}).items():
            print(f"{name:20s}{fields[name][0]:.6g} +- {one[0]:.2g}")
    write_all(*writers(options, setup, result, summary, states))
    return summary


def writers(
    options: argparse.Namespace,
    setup: Setup,
    result: pint.Result,
    summary: dict[str, Any],
    states: np.ndarray | None,
) -> Iterator[Callable[[], object]]:
    """Yield what writes each result; the states are on the first rank alone."""
    fields = result.control.gather()
    if states is not None:
        yield lambda: write_json(options.json, {**summary, "states": states.tolist()})
        if options.history:
            yield lambda: pint.write_history(options.history, result.history)
        if options.plot:
            yield lambda: draw(options, setup.definition, result, states, fields)
    if options.npz:
        yield lambda: result.write_npz(options.npz)


def draw(
    options: argparse.Namespace,
    definition: Definition,
    result: pint.Result,
    states: np.ndarray,
    fields: dict[str, np.ndarray],
) -> None:
    """Draw states and controls; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    t = result.functional.grid.t
    shared = {name: values for name, values in fields.items() if len(values) != len(t) - 1}
    figure = Figure(figsize=(7, 5), layout="constrained")
    above, *more = np.ravel(figure.subplots(1 if len(shared) == len(fields) else 2, sharex=True))
    for i, component in enumerate(states.T):
        above.plot(t, component, label=f"$y_{i + 1}$")
    if isinstance(definition, ParameterEstimation):
        times, values = definition.data()
        above.set_prop_cycle(None)
        above.plot(times, values, ".")
    for name, values in fields.items():
        for i, component in enumerate(values.T if name not in shared else ()):
            label = f"${name}_{i + 1}$" if len(name) == 1 else f"{name} {i + 1}"
            more[0].stairs(component, t, baseline=None, label=label)
    numbers = [f"{name} = {value:.4g}" for name, one in shared.items() for value in np.ravel(one)]
    above.set_title(", ".join([options.problem, *numbers]))
    figure.suptitle(f"{options.method}, {len(t) - 1} steps: J = {result.objective:.6g}", size=9)
    figure.axes[-1].set_xlabel("time" if "T" not in shared else "time / T")
    for axes, name in zip(figure.axes, ("state", "control"), strict=False):
        axes.set_ylabel(name)
        axes.legend(loc="upper right")
    kind = options.plot.rpartition(".")[2]
    write_atomically(options.plot, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the result."""
    return run(arguments, parser, set_up, solve)


if __name__ == "__main__":
    main()
