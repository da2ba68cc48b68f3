"""Two cores for one network gradient: BLAS threads and data parallelism, without time parallelism.

The network, the loop written by hand and `pint` are those of ``network_gradient.py``: dense, width
8, B examples, N layers, float64. Timed are value and gradient by

- `one thread`: one process with one BLAS thread;
- `two BLAS threads`: the same with two, all the numpy operations that are not matrix products still
  on one;
- `data parallel`: two ranks, each with half of the examples, gradients summed by one Allreduce of
  numpy arrays;

each as processes of their own, in turn. This is what layer-parallel training on two cores has to be
compared with: data parallelism is exact, and its speed-up is close to two for any depth as long as
there are enough examples for each rank.

    python benchmarks/run_all.py threads_and_data_parallelism [--quick]

Data parallelism needs MPI: this Python's, or ``.venv-petsc`` (``make environment``), whose Python
then runs all three.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
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
from network_gradient import NAMES, Case, Framework, Loop, make_case

import pint


def run(examples: int, layers: int, repeats: int) -> None:
    """Print the seconds of each gradient on the ranks of this run, and its norm, as JSON."""
    comm = pint.world()
    whole = make_case(examples, layers)
    mine = slice(comm.rank * examples // comm.size, (comm.rank + 1) * examples // comm.size)
    case = Case(whole.x[mine], whole.labels[mine], layers)
    share = len(case.x) / examples
    framework = Framework(case)
    loop = Loop(case, framework.weights)

    def gradient(program: Any) -> np.ndarray:
        value, parts = program()
        vector = share * np.concatenate([[value], *(parts[name].ravel() for name in NAMES)])
        total = np.empty_like(vector)
        comm.Allreduce(vector, total)
        return total

    results: Row = {}
    for name, program in {"pint": framework, "loop": loop}.items():
        gradient(program)
        seconds = []
        for _ in range(repeats):
            comm.Barrier()
            start = time.perf_counter()
            total = gradient(program)
            seconds.append(time.perf_counter() - start)
        results[name] = seconds
    if comm.rank == 0:
        print(json.dumps(results | {"norm": float(np.linalg.norm(total))}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(*map(int, arguments[1:]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    sizes = [(50, 8)] if options.quick else [(200, 256), (5000, 256)]
    command = mpi_command()
    if command is None:
        rows: list[Row] = [{"method": "data parallel", "ranks": NOT_INSTALLED}]
        print_table("Threads and data parallelism: no MPI, see `make environment`", rows)
        return rows
    layouts = {"one thread": (1, 1), "two BLAS threads": (1, 2), "data parallel": (2, 1)}
    if options.quick:
        del layouts["two BLAS threads"]
    rows = []
    for examples, layers in sizes:
        runs: dict[str, list[Row]] = {name: [] for name in layouts}
        program = [__file__, "--rank-program", str(examples), str(layers), "3"]
        for _ in range(options.repeats):
            for name, (ranks, threads) in layouts.items():
                runs[name].append(on_ranks(command, ranks, *program, threads=threads))
        for part in ("pint", "loop"):
            median = {
                name: statistics.median(value for run in several for value in run[part])
                for name, several in runs.items()
            }
            for name in layouts:
                norm, expected = runs[name][0]["norm"], runs["one thread"][0]["norm"]
                assert abs(norm / expected - 1) < 1e-10, f"{name}: another gradient"
                rows.append({
                    "B": examples, "N": layers, "program": part, "method": name,
                    "seconds": median[name], "speed-up": median["one thread"] / median[name],
                })  # fmt: skip
    print_table("Value and gradient on two cores (seconds, medians)", rows)
    save("threads_and_data_parallelism", rows, options.output)
    plot_bars(
        options.output / "threads_and_data_parallelism.png",
        "Value and gradient on two cores",
        {f"{row['program']}, {row['method']}, B = {row['B']}": row["seconds"] for row in rows},
    )
    return rows


if __name__ == "__main__":
    main()
