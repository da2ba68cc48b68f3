"""Time to solve linear-quadratic problems: Riccati recursion, associative scan, machine code.

Random problems of n states, m controls and N steps, with cross and linear terms. ``pack`` is the
time to check the arrays and to put them together, once for each problem; it is part of no other
column. ``solve`` in numpy by the Riccati recursion and by the scan, and compiled; all in turn,
medians in nanoseconds a step. The last column solves compiled on two ranks, half of the steps each.

    python benchmarks/run_all.py lq_solvers [--quick] [--output FOLDER]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from measuring import (
    NOT_INSTALLED,
    Row,
    installed,
    medians,
    mpi_command,
    on_ranks,
    options_of,
    plot_lines,
    print_table,
    save,
)

from pint.comm import world
from pint.lq import LinearQuadratic, Solution, solve

CASES = ((2, 1, 1024), (2, 1, 65536), (4, 1, 65536), (6, 2, 16384), (12, 6, 4096))
QUICK = ((2, 1, 256), (3, 2, 300))


def arrays_of(n: int, m: int, N: int) -> dict[str, np.ndarray]:
    """Return a random problem with the A of a small time step."""
    rng = np.random.default_rng(0)
    dt = 10 / N
    factor = rng.normal(size=(N, n + m, n + m))
    hessians = dt * (factor @ factor.transpose(0, 2, 1) + np.eye(n + m))
    return {
        "A": np.eye(n) + dt * rng.normal(size=(N, n, n)),
        "B": dt * rng.normal(size=(N, n, m)),
        "Q": hessians[:, :n, :n],
        "S": hessians[:, n:, :n],
        "R": hessians[:, n:, n:],
        "q": dt * rng.normal(size=(N, n)),
        "r": dt * rng.normal(size=(N, m)),
        "d": dt * rng.normal(size=(N, n)),
        "Q_end": np.eye(n),
        "initial": np.ones(n),
    }


def packed(arrays: dict[str, np.ndarray]) -> LinearQuadratic:
    problem = LinearQuadratic(**arrays)
    _ = problem.matrices  # which the problem keeps
    return problem


def on_rank(n: int, m: int, N: int, repeats: int) -> None:
    """Print the median of the seconds to solve on all ranks, as JSON."""
    comm = world()
    arrays = arrays_of(n, m, N)
    own = slice(N * comm.rank // comm.size, N * (comm.rank + 1) // comm.size)
    common = ("Q_end", "initial")
    mine = {key: value if key in common else value[own].copy() for key, value in arrays.items()}
    problem = packed(mine)
    seconds = []
    for _ in range(repeats + 1):
        comm.Barrier()
        start = time.perf_counter()
        solve(problem, "riccati", comm, backend="compiled")
        comm.Barrier()
        seconds.append(time.perf_counter() - start)
    if comm.rank == 0:
        print(json.dumps(statistics.median(seconds[1:])))


def on_two_ranks(case: tuple[int, int, int], repeats: int) -> float | str:
    """Return the seconds on two ranks, or why there are none."""
    command = mpi_command()
    if command is None:
        return NOT_INSTALLED
    try:
        return float(on_ranks(command, 2, __file__, "--rank", *map(str, (*case, repeats))))
    except RuntimeError as error:
        if "needs numba" in str(error):
            return NOT_INSTALLED
        raise


def check(solutions: dict[str, Solution]) -> None:
    """Raise AssertionError unless all ways have the same result."""
    first = next(iter(solutions.values()))
    for name, found in solutions.items():
        error = np.abs(found.u - first.u).max() / np.abs(first.u).max()
        assert error < 1e-10, f"controls of {name} differ by {error:.1e}"


def row_of(case: tuple[int, int, int], repeats: int) -> Row:
    n, m, N = case
    arrays = arrays_of(*case)
    problem = packed(arrays)
    ways: dict[str, Callable[[], Any]] = {
        "riccati": lambda: solve(problem, "riccati", backend="numpy"),
        "scan": lambda: solve(problem, "scan"),
    }
    if installed("numba"):
        ways["compiled"] = lambda: solve(problem, "riccati", backend="compiled")
    check({name: way() for name, way in ways.items()})
    seconds: dict[str, Any] = medians({"pack": lambda: packed(arrays)} | ways, repeats)
    seconds.setdefault("compiled", NOT_INSTALLED)
    seconds["2 ranks"] = on_two_ranks(case, 5 * repeats)
    cells = {k: v if isinstance(v, str) else 1e9 * v / N for k, v in seconds.items()}
    return {"n": n, "m": m, "N": N, **cells}


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank"]:
        on_rank(*map(int, arguments[1:]))
        return []
    options = options_of(__doc__, arguments, repeats=3)
    rows = [row_of(case, options.repeats) for case in (QUICK if options.quick else CASES)]
    print_table("Linear-quadratic problems, nanoseconds a step", rows)
    save("lq_solvers", rows, options.output)
    lines = {
        way: {i: 1e-9 * row[way] * row["N"] for i, row in enumerate(rows, 1)}
        for way in ("riccati", "scan", "compiled")
        if not isinstance(rows[0][way], str)
    }
    plot_lines(options.output / "lq_solvers.png", "Linear-quadratic", "row", lines)
    return rows


if __name__ == "__main__":
    main()
