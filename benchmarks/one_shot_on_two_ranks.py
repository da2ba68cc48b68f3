"""Layer-parallel training on two ranks against sequential training on one.

The dense network of ``examples/train_resnet.py`` (width 8, peaks data, B examples, N layers, T = 5)
is trained by

- `sequential`: reduced space on a grid of one level, one rank;
- `1 rank`, `2 ranks`: one-shot with one lagged cycle a solve, two levels, F-relaxation, coarsening
  factor 16.

    python benchmarks/run_all.py one_shot_on_two_ranks [--quick]

The first table gives the time of an update, the median over all updates of interleaved runs. The
second one the time to the objective that the sequential method reaches after so many updates, for
each seed of the first weights: the objectives of both are evaluated again by sequential sweeps, at
the controls of each update, after the run and on no clock. Targets: an update on two ranks is 1.4
times as fast as a sequential one, and the median over the seeds of the ratios of the times to the
same objective is at least 1.2.

Needs an environment with MPI: this Python's, or ``.venv-petsc`` (``make environment``).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import NOT_INSTALLED, Row, mpi_command, on_ranks, options_of, print_table, save

WIDTH, FINAL_TIME, COARSENING = 8, 5.0, 16
RANKS = {"sequential": 1, "1 rank": 1, "2 ranks": 2}


def run(name: str, seed: int, examples: int, layers: int, updates: int) -> None:
    """Print, as JSON, of each update the seconds up to it, the exact objective, and its steps.

    Steps of state and adjoint together, a number a level, of the rank that makes most.
    """
    import pint
    from pint.equations import March
    from problems import peaks
    from problems.resnet import DenseNetwork, Regularisation

    comm = pint.world()
    levels = 1 if name == "sequential" else 2
    grid = pint.TimeGrid.uniform(FINAL_TIME, layers, COARSENING, levels, comm)
    network = DenseNetwork(2, WIDTH, 5)
    x, labels = peaks.generate(examples, seed=0)
    problem = network.problem(x, labels, Regularisation(1e-5, 1e-5, 1e-5, 1e-5))
    functional = pint.ReducedFunctional(problem, grid, relaxation="F")
    seen: list[tuple[float, Any, tuple[int, ...]]] = []

    def note(iterate: pint.Iterate, control: pint.Control, state: Any) -> None:
        seen.append((time.perf_counter(), control, iterate.steps_by_level))

    options: dict[str, Any] = {"iterations": updates, "gradient_tolerance": 0.0}
    method = pint.ReducedSpace(**options) if levels == 1 else pint.Lagged(cycles=1, **options)
    start = network.random_control(functional.controls, seed)
    comm.Barrier()
    began = time.perf_counter()
    pint.minimize(functional, start, method, callback=note)
    state, objectives = functional.state.new(), []
    for _, control, _ in seen:
        functional.state.solve(state, control, March())
        objectives.append(functional.objective(state).objective)
    if comm.rank == 0:
        seconds = [t - began for t, _, _ in seen]
        steps = np.diff([levels for _, _, levels in seen], axis=0).tolist()
        print(json.dumps({"seconds": seconds, "objectives": objectives, "steps": steps}))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the tables and write them; return the rows of the first and of the second."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        run(arguments[1], *map(int, arguments[2:]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    examples, layers, updates, marks = (50, 64, 4, (2, 4)) if options.quick else (
        5000, 1024, 40, (10, 20, 30))  # fmt: skip
    command = mpi_command()
    if command is None:
        rows: list[Row] = [{"method": name, "ranks": NOT_INSTALLED} for name in RANKS]
        print_table("One-shot on two ranks: no MPI, see `make environment`", rows)
        return rows
    # The seeds are the repeats: each method in turn for each of them.
    runs: dict[str, list[Row]] = {name: [] for name in RANKS}
    for seed in range(options.repeats):
        for name, ranks in RANKS.items():
            numbers = (seed, examples, layers, updates if name != "1 rank" else min(updates, 8))
            program = [__file__, "--rank-program", name, *map(str, numbers)]
            runs[name].append(on_ranks(command, ranks, *program))
    rows = updates_table(runs, examples, layers)
    times = same_objective_table(runs, marks)
    save("one_shot_update", rows, options.output)
    save("one_shot_same_objective", times, options.output)
    return rows + times


def updates_table(runs: dict[str, list[Row]], examples: int, layers: int) -> list[Row]:
    """Print the median time of an update by each method; the first solves are left out."""
    seconds = {
        name: statistics.median(
            after - before
            for run in several
            for before, after in zip(run["seconds"][:-1], run["seconds"][1:], strict=True)
        )
        for name, several in runs.items()
    }
    rows: list[Row] = [
        {"method": name, "update (s)": value, "sequential/this": seconds["sequential"] / value}
        for name, value in seconds.items()
    ]
    print_table(f"An update, B = {examples}, N = {layers}, width {WIDTH}", rows)
    return rows


def same_objective_table(runs: dict[str, list[Row]], marks: Sequence[int]) -> list[Row]:
    """Print times to the sequential objectives after some updates; NaN where not reached."""
    rows: list[Row] = []
    for mark in marks:
        ratios = []
        pairs = zip(runs["sequential"], runs["2 ranks"], strict=True)
        for seed, (sequential, one_shot) in enumerate(pairs):
            goal = sequential["objectives"][mark]
            reached = [i for i, value in enumerate(one_shot["objectives"]) if value <= goal]
            updates = reached[0] if reached else None
            took = one_shot["seconds"][updates] if reached else float("nan")
            first = next(i for i, value in enumerate(sequential["objectives"]) if value <= goal)
            ratios.append(sequential["seconds"][first] / took)
            rows.append({
                "objective": goal, "seed": seed, "updates": first,
                "one-shot": "not reached" if updates is None else updates,
                "sequential (s)": sequential["seconds"][first], "2 ranks (s)": took,
                "ratio": ratios[-1],
            })  # fmt: skip
        rows.append({"updates": mark, "one-shot": "median", "ratio": statistics.median(ratios)})
    print_table("The same objective: sequential on one rank, one-shot on two", rows)
    return rows


if __name__ == "__main__":
    main()
