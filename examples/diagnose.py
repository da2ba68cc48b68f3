"""Why cycles of MGRIT converge slowly for an ordinary differential equation, and what to change.

The problems are those of ``ode_control.py``, at the control that it starts from. Two-level factors
of state and adjoint equation are measured, the cycles to a tolerance predicted, other set-ups
tried, and one of them recommended.

    python examples/diagnose.py --problem van-der-pol --steps 512 --coarsening 32
    python examples/diagnose.py --problem oscillator --relaxation F --plot oscillator.png
    python examples/diagnose.py --problem hiv --coarse implicit-euler
    mpiexec -n 2 python examples/diagnose.py --problem fishing --steps 480 --levels 3
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

from arguments import (
    DiagnosisOutput,
    Parser,
    Picture,
    cycle_options,
    integer,
    number,
    run,
    write_all,
    write_json,
)
from ode_control import Setup, coarse_options, functional_of, make_problem, problem_options

import pint
from pint.diagnosis import picture
from pint.report.files import write_atomically


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("diagnose.py", description="How MGRIT converges for an ODE, and what to change.")
    new.comm = comm
    problem_options(new)
    option = new.add_argument_group("cycles").add_argument
    cycle_options(option)
    coarse_options(option)
    option("--storage", choices=["all", "C"], default="all", help="points whose states are stored")
    option("--tolerance", type=number(), default=1e-10, help="relative residual to reach")
    option("--for-ranks", type=integer(1), metavar="P", help="in time, to recommend for")
    option("--budget", type=number(), default=1000.0, help="steps to spend, in sequential solves")
    option = new.add_argument_group("output").add_argument
    option(
        "--plot", type=Picture, metavar="FILE.png", help="factors, residuals, and what was tried"
    )
    option("--json", type=DiagnosisOutput, metavar="FILE.json", help="all numbers")
    # What `make_grid` and `make_functional` ask for besides
    new.set_defaults(method="mgrit", cycles=None, unconverged="ignore")
    return new


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and control; ValueError names the option that does not fit."""
    if not 0 < options.tolerance < 1:
        raise ValueError(f"argument --tolerance: must be between 0 and 1, got {options.tolerance}")
    if options.budget == 0:
        raise ValueError("argument --budget: must be positive")
    if options.levels == 1:
        raise ValueError("argument --levels: sequential steps are exact; diagnose 2 levels or more")
    definition = make_problem(options)
    functional = functional_of(options, definition, comm)
    return Setup(definition, functional, definition.start(functional.controls))


def solve(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Diagnose, print the report, and write what was asked for. Collective."""
    found = pint.diagnose(
        setup.functional,
        setup.control,
        tolerance=options.tolerance,
        ranks=options.for_ranks,
        budget=options.budget,
    )
    numbers: dict[str, Any] = _finite(asdict(found))
    if setup.functional.comm.rank == 0:
        print(found)
        write_all(
            lambda: write_json(options.json, numbers),
            lambda: draw(options.plot, found) if options.plot else None,
        )
    return numbers


def draw(path: str, found: pint.Diagnosis) -> None:
    """Draw the diagnosis; needs matplotlib. Not collective."""
    kind = path.rpartition(".")[2]
    write_atomically(path, lambda file: picture(found).savefig(file, format=kind, dpi=120))


def _finite(value: Any) -> Any:
    """Return a value with None where JSON has no number, for infinity."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the diagnosis."""
    return run(arguments, parser, set_up, solve)


if __name__ == "__main__":
    main()
