r"""How many cycles should one-shot spend on each update? Comparison with the field's recipe.

One-shot MGRIT solves state and adjoint with k cycles for each control update. The recipe of the
literature is a fixed k, often 10; ``adaptive`` chooses the accuracy of the solves as it goes. This
program counts what each rule k spends on a problem until its control is equally accurate:

    |P[c - g(c)] - c|  <=  1e-6 |P[c_0 - g(c_0)] - c_0|

with the bounds' projection P and the exact gradient g, its norm in the control's metric. For
``peaks``, a network that nobody trains to that accuracy, the exact objective counts instead:

    J(c)  <=  J(c_60),   c_60 the control after 60 updates with sequential sweeps.

Exact means state and adjoint stepped sequentially after each update; that work is not counted.
A rule's work is all its state and adjoint cycles, those of rejected trials included, and the steps
of level 0. The last two columns divide its cycles by those of the best fixed k of the table and by
those of k = 10. A rule that ends before it is accurate shows why, and its work so far.

    python examples/one_shot_study.py --plot study.png --csv study.csv
    python examples/one_shot_study.py --problems van-der-pol-64,heat --rules 2,10,adaptive
    mpiexec -n 2 python examples/one_shot_study.py --problems peaks --coarsening 8

With ``--estimates`` a second table says how good results and error estimates are: see
`one_shot_estimates`. ``catalogue`` stands for the fifteen problems of `problems.ode_catalogue`.

    python examples/one_shot_study.py --problems catalogue --rules sequential,2,adaptive,lagged \\
        --levels 3 --coarsening 4,2 --estimates
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import one_shot_estimates
from arguments import (
    Parser,
    Picture,
    Study,
    cycle_options,
    integer,
    make_grid,
    run,
    word_of,
    write_all,
)

import pint
from pint.controls import projected_gradient
from pint.equations import March
from pint.report.files import write_atomically
from problems import peaks
from problems.heat import Heat, manufactured
from problems.ode import DoubleIntegrator, ODEProblem, Oscillator, VanDerPol
from problems.ode_catalogue import CATALOGUE, CatalogueProblem
from problems.resnet import DenseNetwork, Regularisation

GRADIENT_REDUCTION = 1e-6
SEQUENTIAL_UPDATES = 60
COLUMNS = (
    "problem,rule,status,updates,state_cycles,adjoint_cycles,cycles,steps,accuracy,of_best,of_10"
).split(",")


# Problems

Posed = tuple[pint.ReducedFunctional, pint.Control]
"""The functional of a problem on a grid, and the control to start from."""


def pose_ode(definition: ODEProblem, grid: pint.TimeGrid) -> Posed:
    """Return one of the ODE problems."""
    functional = pint.ReducedFunctional(definition.problem(), grid)
    return functional, definition.start(functional.controls)


def pose_catalogue(definition: CatalogueProblem, grid: pint.TimeGrid) -> Posed:
    """Return a problem of the catalogue."""
    functional = pint.ReducedFunctional(definition.problem(), grid)
    return functional, definition.start(functional.controls)


def pose_heat(grid: pint.TimeGrid) -> Posed:
    """Return distributed control of the heat equation."""
    heat = Heat("distributed", 31)
    problem = heat.problem(manufactured(heat, float(grid.t[-1])))
    functional = pint.ReducedFunctional(problem, grid)
    return functional, functional.control()


def pose_peaks(grid: pint.TimeGrid) -> Posed:
    """Return the training of a dense network."""
    network = DenseNetwork(2, 8, peaks.CLASSES, "tanh", "vector", "trained")
    regularisation = Regularisation(1e-5, 1e-5, 1e-5, 1e-5)
    problem = network.problem(*peaks.generate(500, seed=0), regularisation)
    functional = pint.ReducedFunctional(problem, grid)
    return functional, network.random_control(functional.controls, seed=0)


# Accuracy


@dataclass(frozen=True)
class Goal:
    """A measure of a control, and the value at which it is accurate. `measure` is collective."""

    measure: Callable[[pint.Control], float]
    target: float
    name: str


def small_gradient(functional: pint.ReducedFunctional, start: pint.Control) -> Goal:
    """Return the goal of a gradient that is exactly evaluated and small. Collective."""
    space = functional.controls
    state, adjoint = functional.state.new(), functional.adjoint.new()

    def norm(control: pint.Control) -> float:
        functional.state.solve(state, control, March())
        functional.adjoint.solve(adjoint, state, March())
        gradient = space.riesz(functional.derivative_of(state, adjoint))
        return space.norm(projected_gradient(control, gradient))

    first = norm(start)
    return Goal(lambda control: norm(control) / first, GRADIENT_REDUCTION, "gradient norm / first")


def sequential_objective(functional: pint.ReducedFunctional, start: pint.Control) -> Goal:
    """Return the goal of the objective that the sequential method reaches. Collective."""
    grid, state = functional.grid, functional.state.new()

    def objective(control: pint.Control) -> float:
        functional.state.solve(state, control, March())
        return functional.objective(state).objective

    one_level = pint.TimeGrid.uniform(float(grid.t[-1]), grid.steps, comm=grid.comm)
    sequential = pint.ReducedFunctional(functional.problem, one_level)
    method = pint.ReducedSpace(iterations=SEQUENTIAL_UPDATES, gradient_tolerance=0.0)
    reached = pint.minimize(sequential, pint.prolong(start, sequential.controls), method)
    return Goal(objective, reached.objective, "objective")


@dataclass(frozen=True)
class Case:
    """A problem of the study: its times, and how it is posed and measured."""

    final_time: float
    steps: int
    pose: Callable[[pint.TimeGrid], Posed]
    goal: Callable[[pint.ReducedFunctional, pint.Control], Goal] = small_gradient


def ode_case(definition: ODEProblem, steps: int | None = None) -> Case:
    """Return the case of an ODE problem."""
    return Case(definition.T, steps or definition.steps, partial(pose_ode, definition))


CASES = {
    "double-integrator": ode_case(DoubleIntegrator()),
    "oscillator": ode_case(Oscillator()),
    "van-der-pol-64": ode_case(VanDerPol(), 64),
    "van-der-pol-256": ode_case(VanDerPol(), 256),
    "heat": Case(1.0, 64, pose_heat),
    "peaks": Case(5.0, 32, pose_peaks, sequential_objective),
}
OF_CATALOGUE = {
    name: Case(case.final_time, case.steps, partial(pose_catalogue, case))
    for name, case in CATALOGUE.items()
}
KNOWN = {**CASES, **OF_CATALOGUE}
WORDS = ("sequential", "lagged", "adaptive")
"""Rules that are no number of cycles."""


# Options


def names(text: str) -> list[str]:
    """Argument type: comma-separated names of problems, or ``catalogue``."""
    found: list[str] = []
    for name in text.split(","):
        if name not in (*KNOWN, "catalogue"):
            known = ", ".join([*CASES, "catalogue", *OF_CATALOGUE])
            raise argparse.ArgumentTypeError(f"must be of {known}, got {name!r}")
        found += OF_CATALOGUE if name == "catalogue" else [name]
    return list(dict.fromkeys(found))


def rules(text: str) -> list[Any]:
    """Argument type: comma-separated numbers of cycles >= 1, or `WORDS`."""
    parts = dict.fromkeys(text.split(","))
    return [part if part in WORDS else integer(1)(part) for part in parts]


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("one_shot_study.py", description="Cycles of one-shot rules to equal accuracy.")
    new.comm = comm
    new.set_defaults(lagged=None, method="one-shot", storage="all")  # for `make_grid`
    option = new.add_argument_group("study").add_argument
    option("--problems", type=names, default=",".join(CASES), metavar="a[,b...]", help="which")
    option("--rules", type=rules, default="1,2,4,10,adaptive", metavar="k[,k...]",
           help="cycles of each solve, adaptive, lagged (one cycle) or sequential")  # fmt: skip
    option("--updates", type=integer(1), default=1000, help="the most of each rule")
    option("--estimates", action="store_true",
           help="compare results and error estimates with exact numbers, too")  # fmt: skip
    cycle_options(new.add_argument_group("time-parallel solver").add_argument)
    option = new.add_argument_group("output").add_argument
    option("--plot", type=Picture, metavar="FILE.png", help="accuracy against cycles")
    option("--csv", type=Study, metavar="FILE.csv", help="the table")
    return new


def set_up(options: argparse.Namespace, comm: Any) -> dict[str, Posed]:
    """Pose the problems; ValueError names the option that does not fit."""
    posed = {}
    for name in options.problems:
        case = KNOWN[name]
        grid = make_grid(options, case.final_time, case.steps, comm, f"--problems {name}")
        posed[name] = case.pose(grid)
    return posed


# Study


class Accurate(pint.NumericalError):
    """Leaves the optimisation's loop; under MPI only a `NumericalError` may, on every rank."""


@dataclass
class Watch:
    """Callback: measures each iterate and ends the run when one is accurate."""

    goal: Goal
    space: pint.ControlSpace
    rows: list[tuple[pint.Iterate, float]] = field(default_factory=list)

    def __call__(self, iterate: pint.Iterate, control: pint.Control, state: Any) -> None:
        accuracy = self.goal.measure(pint.prolong(control, self.space))
        self.rows.append((iterate, accuracy))
        if accuracy <= self.goal.target:
            raise Accurate


def follow(options: argparse.Namespace, posed: Posed, rule: Any, goal: Goal) -> dict[str, Any]:
    """Run one-shot with a rule until it is accurate, and return what it spent. Collective."""
    exact, start = posed
    functional = one_shot_estimates.functional_for(rule, exact, options.relaxation)
    watch, start = Watch(goal, start.space), pint.prolong(start, functional.controls)
    method = one_shot_estimates.method_of(rule, options.updates, 0.0)
    try:
        result = pint.minimize(functional, start, method, callback=watch)
        status = word_of(result.status)
    except Accurate:
        status = "accurate"
    except pint.NotFiniteError:  # the coarse steps of an explicit scheme may be too long
        status = word_of(pint.Status.NOT_FINITE)
    counts = ("state_cycles", "adjoint_cycles", "state_steps", "adjoint_steps")
    last, accuracy = watch.rows[-1] if watch.rows else (None, math.nan)
    spent = {name: getattr(last, name, 0) for name in counts}
    return {
        "status": status,
        "updates": 0 if last is None else last.iteration,
        "state_cycles": spent["state_cycles"],
        "adjoint_cycles": spent["adjoint_cycles"],
        "cycles": spent["state_cycles"] + spent["adjoint_cycles"],
        "steps": spent["state_steps"] + spent["adjoint_steps"],
        "accuracy": accuracy,
        "history": [(row.state_cycles + row.adjoint_cycles, value) for row, value in watch.rows],
    }


def compare(found: dict[str, dict[str, Any]]) -> None:
    """Add the ratios to the best fixed k and to k = 10, in place; None where there is none."""
    accurate = {rule: row["cycles"] for rule, row in found.items() if row["status"] == "accurate"}
    fixed = [cycles for rule, cycles in accurate.items() if rule not in WORDS]
    best, ten = min(fixed, default=None), accurate.get("10")
    for rule, row in found.items():
        row["of_best"] = accurate[rule] / best if rule in accurate and best else None
        row["of_10"] = accurate[rule] / ten if rule in accurate and ten else None


def study(options: argparse.Namespace, problems: dict[str, Posed]) -> dict[str, Any]:
    """Follow every rule on every problem, print the table and write the files. Collective."""
    table, goals = {}, {}
    for name, posed in problems.items():
        goals[name] = goal = KNOWN[name].goal(*posed)
        rows = {str(rule): follow(options, posed, rule, goal) for rule in options.rules}
        compare(rows)
        table[name] = rows
        if posed[0].comm.rank == 0:
            print_rows(name, rows, head=len(table) == 1)
    if options.estimates:
        one_shot_estimates.add(options, problems, table)
    if next(iter(problems.values()))[0].comm.rank == 0:
        write_all(
            lambda: write_csv(options.csv, table) if options.csv else None,
            lambda: draw(options.plot, table, goals) if options.plot else None,
        )
    return table


# Output


def print_rows(name: str, rows: dict[str, dict[str, Any]], head: bool) -> None:
    """Print the table of one problem, as Markdown."""
    if head:
        print("| problem | k | status | updates | cycles: state | adjoint | sum | steps "
              "| accuracy | / best k | / k=10 |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|---|")
    for rule, row in rows.items():
        ratios = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("of_best", "of_10")]
        print(
            f"| {name} | {rule} | {row['status']} | {row['updates']} | {row['state_cycles']} "
            f"| {row['adjoint_cycles']} | {row['cycles']} | {row['steps']} "
            f"| {row['accuracy']:.3g} | {ratios[0]} | {ratios[1]} |",
            flush=True,
        )


def write_csv(path: str, table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Write one row for each problem and rule. Not collective."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for name, rows in table.items():
        writer.writerows({"problem": name, "rule": rule, **row} for rule, row in rows.items())
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def draw(path: str, table: dict[str, Any], goals: dict[str, Goal]) -> None:
    """Draw exact accuracy against cycles; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    columns = min(len(table), 3)
    lines = -(-len(table) // columns)
    figure = Figure(figsize=(4.5 * columns + 1.5, 3.5 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for plot, (name, rows) in zip(axes, table.items(), strict=False):
        for rule, row in rows.items():
            style = {"color": "black", "lw": 2} if rule == "adaptive" else {}
            label = rule if rule == "adaptive" else f"k = {rule}"
            cycles = [cycle for cycle, _ in row["history"]]
            plot.semilogy(cycles, [value for _, value in row["history"]], label=label, **style)
        plot.axhline(goals[name].target, color="grey", ls=":")
        plot.set(title=name, xlabel="state and adjoint cycles", ylabel=goals[name].name)
    for empty in axes[len(table) :]:
        empty.remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    kind = path.rpartition(".")[2]
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the study; returns the numbers of each rule by problem."""
    return run(arguments, parser, set_up, study, sizes="--problems")


if __name__ == "__main__":
    main()
