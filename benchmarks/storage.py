"""Memory, steps and time of an update where trajectories hold all points, or C-points alone.

A network of width 8 for 2000 examples (a terminal cost), and heat with 4095 points and a boundary
control (a step cost): the largest memory of arrays, the steps made, and the time of one update with
states, objective, adjoints and derivative, by one lagged cycle with F-relaxation or one with
FCF-relaxation.

    python benchmarks/run_all.py storage [--quick]
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

from measuring import Row, medians, options_of, print_table, save

import pint
from pint.equations import Cycles, Lagged
from problems.heat import Heat, zero_target
from problems.peaks import generate
from problems.resnet import DenseNetwork


def network(grid: pint.TimeGrid, quick: bool) -> tuple[pint.Problem, pint.Control]:
    """Return a network and random weights."""
    dense = DenseNetwork(features=2, width=8, classes=5)
    problem = dense.problem(*generate(200 if quick else 2000, seed=1))
    return problem, dense.random_control(problem.control_space(grid), seed=0)


def heat(grid: pint.TimeGrid, quick: bool) -> tuple[pint.Problem, pint.Control]:
    """Return a boundary control of the heat equation, and zero."""
    definition = Heat("neumann", points=255 if quick else 4095)
    problem = definition.problem(zero_target(definition))
    return problem, problem.control_space(grid).zeros()


def update_of(
    functional: pint.ReducedFunctional, control: pint.Control, lagged: bool
) -> Callable[[], None]:
    """Return a function that does what a control update solves."""
    state, adjoint = functional.state.new(), functional.adjoint.new()
    how = Lagged() if lagged else Cycles(pint.Accuracy(1))

    def update() -> None:
        functional.state.solve(state, control, how)
        functional.objective(state)
        functional.adjoint.solve(adjoint, state, how)
        functional.derivative_of(state, adjoint)

    return update


def steps_of(functional: pint.ReducedFunctional) -> int:
    """Return the steps of level 0 so far."""
    solvers = functional.state.solver, functional.adjoint.solver
    return sum(solver.steps_evaluated[0] for solver in solvers)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=7)
    N = 32 if options.quick else 512
    rows: list[Row] = []
    for make in (network, heat):
        for lagged in (True, False):
            updates: dict[str, Callable[[], None]] = {}
            some: list[Row] = []
            for storage, m in (("all", 8), ("C", 4), ("C", 8), ("C", 16)):
                grid = pint.TimeGrid.uniform(5.0, N, m, 2)
                problem, control = make(grid, options.quick)
                tracemalloc.start()
                functional = pint.ReducedFunctional(
                    problem,
                    grid,
                    storage=storage,  # type: ignore[arg-type]
                    relaxation="F" if lagged else "FCF",
                    guess="constant",
                )
                update = update_of(functional, control, lagged)
                update()
                before = steps_of(functional)
                update()
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                updates[f"{storage}, m = {m}"] = update
                some.append(
                    {
                        "problem": make.__name__,
                        "cycle": "lagged F" if lagged else "FCF",
                        "storage": storage,
                        "m": m,
                        "MB": peak / 1e6,
                        "states": peak / problem.space.state_bytes / N,
                        "steps": (steps_of(functional) - before) / N,
                    }
                )
            seconds = medians(updates, options.repeats, warm=True)
            for row, value in zip(some, seconds.values(), strict=True):
                row["seconds"] = value
            rows += some
    print_table(f"An update with N = {N}: states and steps in units of N", rows)
    save("storage", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
