"""Optimisation of van der Pol with compiled steps: to a gradient, and updates on two ranks.

RK4 on N equal steps. The first table: seconds to a gradient norm of 1e-6 by L-BFGS, with steps in
machine code (to compile, or to load the machine code, is reported apart), with steps in numpy, and
by adaptive one-shot in numpy. The second: an update of the reduced-space method on one rank against
one of the lagged method, F-relaxation, on one and on two, by N.

    python benchmarks/run_all.py compiled_optimisation [--quick] [--output FOLDER]
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from compiled_steps import FINAL_TIME, van_der_pol
from measuring import NOT_INSTALLED, Row, mpi_command, on_ranks, options_of, print_table, save

import pint

T = FINAL_TIME["van-der-pol"]
COARSENING = 16
METHODS = {"sequential": 1, "lagged, 1 rank": 1, "lagged, 2 ranks": 2}


def run(name: str, steps: int, updates: int) -> None:
    """Print the median seconds of an update, as JSON."""
    levels = 1 if name == "sequential" else 2
    comm = pint.world()
    problem = van_der_pol().problem("rk4", backend="compiled")
    grid = pint.TimeGrid.uniform(T, steps, COARSENING if levels > 1 else 2, levels, comm)
    functional = pint.ReducedFunctional(problem, grid, relaxation="F")
    # Few pairs: the method's own work is the same for all.
    options: dict[str, Any] = {
        "iterations": updates, "gradient_tolerance": 0.0, "hessian": pint.lbfgs(5),
    }  # fmt: skip
    method = pint.ReducedSpace(**options) if levels == 1 else pint.Lagged(cycles=1, **options)
    seen: list[float] = []
    pint.minimize(functional, None, method, callback=lambda *_: seen.append(time.perf_counter()))
    if comm.rank == 0:
        between = [after - before for before, after in itertools.pairwise(seen)]
        print(json.dumps(statistics.median(between[1:])))


def to_a_gradient(steps: int, tolerance: float) -> list[Row]:
    """Return the seconds of each method."""
    rows: list[Row] = []

    def add(name: str, backend: Any, levels: int, method: Any) -> None:
        begin = time.perf_counter()
        problem = van_der_pol().problem("rk4", backend=backend)
        made = time.perf_counter() - begin
        factors = (8, levels) if levels > 1 else ()
        functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(T, steps, *factors))
        begin = time.perf_counter()
        result = pint.minimize(functional, None, method)
        rows.append({
            "method": name, "N": steps, "seconds": time.perf_counter() - begin, "set-up s": made,
            "updates": result.iterations, "gradient": result.gradient_norm, "J": result.objective,
        })  # fmt: skip

    options: dict[str, Any] = {"gradient_tolerance": tolerance, "iterations": 1000}
    add("L-BFGS, compiled", "compiled", 1, pint.ReducedSpace(**options))
    add("adaptive one-shot, numpy", "numpy", 3, pint.Adaptive(**options))
    add("L-BFGS, numpy", "numpy", 1, pint.ReducedSpace(**options))
    for row in rows:
        row["this/compiled"] = row["seconds"] / rows[0]["seconds"]
    return rows


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the tables and write them; return the rows of both."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(arguments[1], *map(int, arguments[2:]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    rows = to_a_gradient(64 if options.quick else 4096, 1e-6)
    print_table("Van der Pol to a gradient norm of 1e-6", rows)
    save("compiled_to_gradient", rows, options.output)
    command = mpi_command()
    if command is None:
        print_table("On two ranks: no MPI", [{"method": NOT_INSTALLED}])
        return rows
    updates: list[Row] = []
    for steps in (256,) if options.quick else (4096, 16384, 65536, 262144):
        seconds: dict[str, list[float]] = {name: [] for name in METHODS}
        for _ in range(options.repeats):
            for name, ranks in METHODS.items():
                program = (__file__, "--rank-program", name, str(steps), "8")
                seconds[name].append(on_ranks(command, ranks, *program))
        row: Row = {"N": steps}
        row |= {f"{name} (ms)": 1e3 * statistics.median(s) for name, s in seconds.items()}
        two = row["lagged, 2 ranks (ms)"]
        row["sequential/2 ranks"] = row["sequential (ms)"] / two if two else math.nan
        updates.append(row)
    print_table("An update, compiled steps", updates)
    save("compiled_on_two_ranks", updates, options.output)
    return rows + updates


if __name__ == "__main__":
    main()
