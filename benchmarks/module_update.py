"""An update of a network of modules: lagged one-shot on one and two ranks, and sequential steps.

Two dense layers of width 32, B examples, N layers, float64, one thread a rank, a fixed number of
updates by L-BFGS:

- `sequential`: reduced space on a grid of one level, one rank;
- `1 rank`, `2 ranks`: one lagged cycle a solve, two levels, F-relaxation, coarsening factor 32;
- `PyTorch`: value and `backward` of the module that `Network.module` returns, without an update.

    python benchmarks/run_all.py module_update [--quick]

The time of an update is the median over interleaved runs. `steps` are those of state and adjoint
on the critical path of an update: the steps of level 0 of one rank, and all of level 1, which
passes from rank to rank. Many layers of small states are computed in one call
(`torch.func.vmap`).
Target: an update on two ranks at least 1.4 times as fast as a sequential one at N = 1024.

Needs an environment with MPI: this Python's, or ``.venv-petsc`` (``make environment``).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from measuring import NOT_INSTALLED, Row, mpi_command, on_ranks, options_of, print_table, save

COARSENING = 32
RANKS = {"PyTorch": 1, "sequential": 1, "1 rank": 1, "2 ranks": 2}
CASES = ((8, 1024), (200, 1024))


def run(name: str, examples: int, layers: int, updates: int) -> None:
    """Print the seconds of each update and the steps of one, as JSON."""
    from module_kinds import make
    from torch.nn import functional as nn_functional

    import pint

    comm = pint.world()
    levels = 1 if name in ("PyTorch", "sequential") else 2
    made, given, labels = make("two", examples, layers)
    grid = made.grid(coarsening=COARSENING, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(made, grid, relaxation="F")
    start = made.start(functional.controls)
    if name == "PyTorch":
        module, times = made.module(start), [time.perf_counter()]
        for _ in range(updates):
            module.zero_grad()
            nn_functional.cross_entropy(module(*given), labels).backward()
            times.append(time.perf_counter())
        print(json.dumps({"times": times, "steps": [2 * layers * i for i in range(updates + 1)]}))
        return
    times, steps = [], []

    def note(iterate: pint.Iterate, control: pint.Control, state: Any) -> None:
        times.append(time.perf_counter())
        both = functional.state.solver.steps_evaluated, functional.adjoint.solver.steps_evaluated
        steps.append(sum(own[0] + comm.size * sum(own[1:]) for own in both))

    options: dict[str, Any] = {"iterations": updates, "gradient_tolerance": 0.0}
    method = pint.ReducedSpace(**options) if levels == 1 else pint.Lagged(cycles=1, **options)
    pint.minimize(functional, start, method, callback=note)
    if comm.rank == 0:
        print(json.dumps({"times": times, "steps": steps}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(arguments[1], *map(int, arguments[2:]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    command = mpi_command()
    if command is None:
        rows: list[Row] = [{"method": name, "ranks": NOT_INSTALLED} for name in RANKS]
        print_table("Updates of modules: no MPI, see `make environment`", rows)
        return rows
    cases, updates = (((8, 64),), 3) if options.quick else (CASES, 8)
    rows = []
    for examples, layers in cases:
        several: dict[str, list[Row]] = {name: [] for name in RANKS}
        for _ in range(options.repeats):
            for name, ranks in RANKS.items():
                program = [__file__, "--rank-program", name, *map(str, (examples, layers, updates))]
                several[name].append(on_ranks(command, ranks, *program))
        rows += compared(several, examples, layers)
    print_table("An update of a network of modules", rows)
    save("module_update", rows, options.output)
    return rows


def compared(several: dict[str, list[Row]], examples: int, layers: int) -> list[Row]:
    """Return the medians of all updates but the first of some runs of each method."""
    seconds, steps = (
        {
            name: statistics.median(
                after - before
                for one in runs
                for before, after in zip(one[of][1:-1], one[of][2:], strict=True)
            )
            for name, runs in several.items()
        }
        for of in ("times", "steps")
    )
    return [
        {
            "B": examples, "N": layers, "method": name, "steps": int(steps[name]),
            "update (s)": seconds[name], "sequential/this": seconds["sequential"] / seconds[name],
        }
        for name in several
    ]  # fmt: skip


if __name__ == "__main__":
    main()
