"""Optima of the ODE problems by every method, and updates by both line searches.

The tables of ``docs/ode_problems.md``. The first one has default parameters and numbers of steps,
gradient tolerance 1e-8; MGRIT with two levels, coarsening factor 4 and FCF-relaxation, one-shot
with 2 cycles. The second one counts the updates, and in brackets the evaluations of J, until the
gradient is 1e-6 of the first one, with sequential steps: the problems above, the heat equation
(distributed control) and the catalogue of `problems.ode_catalogue`.

    python benchmarks/ode_problems.py
    python benchmarks/ode_problems.py --updates
    python benchmarks/ode_problems.py --updates --problems fishing,heat,crane
"""

import argparse
import contextlib
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import one_shot_study
from ode_control import main as control

import pint
from problems.ode import PROBLEMS

METHODS = {
    "sequential": "--method sequential",
    "mgrit": "--method mgrit",
    "one-shot": "--method one-shot",
    "scipy": "--method sequential --optimiser scipy",
}
CASES = {
    **{name: one_shot_study.ode_case(kind()) for name, kind in PROBLEMS.items()},
    "heat": one_shot_study.CASES["heat"],
    **one_shot_study.OF_CATALOGUE,
}
RULES = {
    f"{hessian}, {search}": (make_hessian(), make_search())
    for hessian, make_hessian in (("L-BFGS", pint.lbfgs), ("BFGS", pint.bfgs))
    for search, make_search in (("armijo", pint.armijo), ("wolfe", pint.wolfe))
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", action="store_true", help="the table of line searches")
    parser.add_argument("--problems", help="comma-separated names; all by default")
    options = parser.parse_args(arguments)
    known = CASES if options.updates else PROBLEMS
    names = options.problems.split(",") if options.problems else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"argument --problems: must be of {', '.join(known)}, got {unknown[0]}")
    return line_searches(names) if options.updates else optima(names)


def optima(names):
    """Print the optimum of each problem by each method."""
    print("| problem | scheme | method | J | gradient norm | updates | state steps |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        for scheme in PROBLEMS[name].schemes:
            for method, options in METHODS.items():
                arguments = f"--problem {name} --scheme {scheme} --iterations 2000 {options}"
                with contextlib.redirect_stdout(io.StringIO()):
                    result = control(arguments.split())
                ending = "" if result["status"] == "converged" else f" ({result['status']})"
                print(
                    f"| {name} | {scheme} | {method} | {result['objective']:.13g} "
                    f"| {result['gradient_norm']:.1e}{ending} | {result['iterations']} "
                    f"| {result['state_steps']} |",
                    flush=True,
                )


def line_searches(names):
    """Print and return the results of each problem by each quasi-Newton method and line search."""
    print(f"| problem | {' | '.join(RULES)} |")
    print("|---" * (1 + len(RULES)) + "|")
    table = {}
    for name in names:
        case = CASES[name]
        functional, start = case.pose(pint.TimeGrid.uniform(case.final_time, case.steps))
        table[name], cells = {}, []
        for rule, (hessian, search) in RULES.items():
            method = pint.ReducedSpace(
                iterations=3000,
                gradient_tolerance=0.0,
                relative_gradient_tolerance=1e-6,
                hessian=hessian,
                line_search=search,
            )
            result = table[name][rule] = pint.minimize(functional, start, method)
            trials = sum(1 + row.line_search_trials for row in result.history)
            ending = result.status is pint.Status.CONVERGED
            missed = "" if ending else f" {result.status.name.lower().replace('_', ' ')}"
            cells.append(f"{result.iterations} ({trials}){missed}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return table


if __name__ == "__main__":
    main()
