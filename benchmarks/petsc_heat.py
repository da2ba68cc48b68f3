"""Ranks in time x space: heat control with PETSc states.

    y_t = nu Laplace(y) + f + u on (0, 1)^2,  y = 0 on the boundary,  implicit Euler,  T = 1

The problem is `problems.heat_petsc` with distributed control, 31 x 31 unknowns and 64 steps. Timed
are a state solve, and the adjoint solve with the gradient after it, both by MGRIT (coarsening
factor 8, 2 levels, F-relaxation) to a residual 1e-8 of the states, on 1x1, 1x2, 2x1 and 2x2 ranks
in time x space; `sequential` is one level on one rank. On one rank in space a step is solved by a
Cholesky factorisation made once, on several by conjugate gradients with incomplete Cholesky
factors, so that space parallelism pays on larger meshes only. Each layout is a run of its own by
mpiexec; the layouts are run in turn. More ranks than cores share them: such rows say so.

    python benchmarks/run_all.py petsc_heat [--quick]

Needs an environment with MPI and PETSc: this Python's, or ``.venv-petsc`` (``make environment``).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial

from measuring import (
    NOT_INSTALLED,
    Row,
    mpi_command,
    on_ranks,
    options_of,
    plot_bars,
    print_table,
    save,
)

LAYOUTS = {"sequential": (1, 1), "1x1": (1, 1), "1x2": (1, 2), "2x1": (2, 1), "2x2": (2, 2)}


def run(space_size: int, levels: int, points: int, steps: int, repeats: int) -> None:
    """Print the seconds of state solves and of gradients on the ranks of this run, as JSON."""
    import pint
    from pint.equations import Cycles
    from problems.heat import Heat, zero_target
    from problems.heat_petsc import petsc_problem

    world = pint.world()
    in_time, in_space = pint.split(world, space_size)
    heat = Heat(points=points, dimension=2)
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=8, levels=levels, comm=in_time)
    problem, _ = petsc_problem(heat, in_space, partial(zero_target, heat))
    functional = pint.ReducedFunctional(problem, grid, relaxation="F")
    cycles_to_accuracy = Cycles(pint.Accuracy(30, relative=1e-8))
    control = functional.control()
    seconds: dict[str, list[float]] = {"state": [], "gradient": []}
    cycles = 0
    for _ in range(repeats + 1):
        state, adjoint = functional.state.new(), functional.adjoint.new()
        world.Barrier()
        start = time.perf_counter()
        functional.state.solve(state, control, cycles_to_accuracy)
        world.Barrier()
        middle = time.perf_counter()
        functional.adjoint.solve(adjoint, state, cycles_to_accuracy)
        derivative = functional.derivative_of(state, adjoint)
        world.Barrier()
        seconds["state"].append(middle - start)
        seconds["gradient"].append(time.perf_counter() - middle)
        cycles = len(state.convergence.residuals)
    norm = functional.controls.inner(derivative, derivative) ** 0.5
    if world.rank == 0:
        kept = {name: values[1:] for name, values in seconds.items()}  # the first makes the factors
        print(json.dumps(kept | {"cycles": cycles, "norm": norm}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(*map(int, arguments[1:]))
        return []
    options = options_of(__doc__, arguments, repeats=2)
    points, steps = (15, 32) if options.quick else (31, 64)
    layouts = {
        name: sizes
        for name, sizes in LAYOUTS.items()
        if not options.quick or name in ("sequential", "2x1")
    }
    command = mpi_command()
    if command is None:
        rows: list[Row] = [{"time x space": name, "ranks": NOT_INSTALLED} for name in layouts]
        print_table("Heat with PETSc: no MPI and PETSc, see `make environment`", rows)
        return rows
    runs: dict[str, list[Row]] = {name: [] for name in layouts}
    for _ in range(options.repeats):
        for name, (time_size, space_size) in layouts.items():
            numbers = (space_size, 1 if name == "sequential" else 2, points, steps, 1)
            program = [__file__, "--rank-program", *map(str, numbers)]
            runs[name].append(on_ranks(command, time_size * space_size, *program))
    norm = runs["sequential"][0]["norm"]
    cores = len(os.sched_getaffinity(0))
    rows = []
    for name, several in runs.items():
        assert abs(several[0]["norm"] / norm - 1) < 1e-6, f"{name}: another gradient"
        state, gradient = (
            statistics.median(value for run in several for value in run[part])
            for part in ("state", "gradient")
        )
        ranks = layouts[name][0] * layouts[name][1]
        rows.append({
            "time x space": name, "ranks": ranks, "state cycles": several[0]["cycles"],
            "state (s)": state, "adjoint + gradient (s)": gradient,
            "sequential/this": sum(statistics.median(v for r in runs["sequential"] for v in r[p])
                                   for p in ("state", "gradient")) / (state + gradient),
            "note": f"{ranks} ranks share {cores} cores" if ranks > cores else "",
        })  # fmt: skip
    title = f"Heat with PETSc, {points} x {points} unknowns, {steps} steps (seconds, medians)"
    print_table(title, rows)
    save("petsc_heat", rows, options.output)
    plot_bars(
        options.output / "petsc_heat.png",
        "Heat with PETSc, state + gradient, time x space",
        {row["time x space"]: row["state (s)"] + row["adjoint + gradient (s)"] for row in rows},
    )
    return rows


if __name__ == "__main__":
    main()
