"""Coarser meshes on coarse levels: heat control on (0, 1)^2, time to solution.

    y_t = nu Laplace(y) + f + u on (0, 1)^2,  y = 0 on the boundary,  implicit Euler,  T = 1

The problem is `problems.heat` with distributed control, 63 x 63 unknowns and 64 steps; MGRIT with
4 levels, coarsening factor 2, FCF-relaxation and V-cycles from the nested guess. Timed are a state
solve with the adjoint solve and the gradient, to residuals 1e-9 of the states, and a minimisation
in reduced space to a gradient norm 1e-6 of the first. ``one mesh`` has the same mesh on all levels;
``halved`` those of `Heat.meshes`, with 63, 31, 15 and 15 points a direction; ``sequential`` is one
level on one rank.
The runs are made in turn by mpiexec; without MPI on one rank alone.

    python benchmarks/run_all.py space_coarsening [--quick]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from measuring import Row, mpi_command, on_ranks, options_of, plot_bars, print_table, save

RUNS = {"sequential": 1, "one mesh": 1, "halved": 1, "one mesh, 2 ranks": 2, "halved, 2 ranks": 2}


def measured(halved: int, levels: int, points: int, steps: int) -> dict[str, Any]:
    """Return the seconds and the numbers of one run. Collective on all ranks."""
    import pint
    from pint.equations import Cycles
    from problems.heat import Heat, manufactured

    comm, heat = pint.world(), Heat(points=points, dimension=2)
    make_data = partial(manufactured, heat, 1.0)
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=2, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(
        heat.problem(make_data(), make_data, heat.meshes(grid) if halved else ()),
        grid,
        accuracy=pint.Accuracy(30, relative=1e-9),
    )
    control = functional.control(u=1.0)
    seconds, cycles, norm = [], (0, 0), 0.0
    for _ in range(4):  # the first makes the factors of matrices
        state, adjoint = functional.state.new(), functional.adjoint.new()
        comm.Barrier()
        start = time.perf_counter()
        functional.state.solve(state, control, Cycles(functional.accuracy))
        functional.adjoint.solve(adjoint, state, Cycles(functional.accuracy))
        gradient = functional.controls.riesz(functional.derivative_of(state, adjoint))
        comm.Barrier()
        seconds.append(time.perf_counter() - start)
        cycles = tuple(len(one.convergence.residuals) for one in (state, adjoint))
        norm = functional.controls.norm(gradient)
    method = pint.ReducedSpace(iterations=30, relative_gradient_tolerance=1e-6)
    comm.Barrier()
    start = time.perf_counter()
    result = pint.minimize(functional, control, method)
    comm.Barrier()
    return {
        "seconds": statistics.median(seconds[1:]),
        "optimum": time.perf_counter() - start,
        "cycles": "/".join(map(str, cycles)),
        "updates": result.iterations,
        "norm": norm,
        "J": result.objective,
        "rank": comm.rank,
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        numbers = measured(*map(int, arguments[1:]))
        if numbers["rank"] == 0:
            print(json.dumps(numbers))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    points, steps = (15, 16) if options.quick else (63, 64)
    command = mpi_command()
    most = 1 if command is None else 2
    runs: dict[str, list[Row]] = {
        name: []
        for name, ranks in RUNS.items()
        if ranks <= most and not (options.quick and 1 < most != ranks and name != "sequential")
    }
    for _ in range(options.repeats):
        for name, several in runs.items():
            sizes = (int("halved" in name), 1 if name == "sequential" else 4, points, steps)
            if command is None:
                several.append(measured(*sizes))
            else:
                program = [__file__, "--rank-program", *map(str, sizes)]
                several.append(on_ranks(command, RUNS[name], *program))
    first, rows = runs["sequential"][0], []
    for name, several in runs.items():
        for number in ("norm", "J"):
            assert abs(several[0][number] / first[number] - 1) < 1e-6, f"{name}: another {number}"
        seconds, optimum = (
            statistics.median(one[part] for one in several) for part in ("seconds", "optimum")
        )
        row: Row = {"run": name, "ranks": RUNS[name], "cycles": several[0]["cycles"]}
        row |= {"gradient (s)": seconds, "updates": several[0]["updates"], "optimum (s)": optimum}
        same = f"one mesh{name.removeprefix('halved')}"
        if "halved" in name:
            before = next(one for one in rows if one["run"] == same)
            row["gradient, times faster"] = before["gradient (s)"] / seconds
            row["optimum, times faster"] = before["optimum (s)"] / optimum
        rows.append(row)
    rows[0] |= {"gradient, times faster": "", "optimum, times faster": ""}
    title = f"2-D heat, {points} x {points} unknowns, {steps} steps (seconds, medians)"
    print_table(title, rows)
    save("space_coarsening", rows, options.output)
    plot_bars(
        options.output / "space_coarsening.png",
        "2-D heat, state + gradient",
        {row["run"]: row["gradient (s)"] for row in rows},
    )
    return rows


if __name__ == "__main__":
    main()
