"""The direction of L-BFGS: one sum over the ranks, against the two-loop recursion.

Controls of n numbers on each rank, and m pairs. Timed are, in turn, microseconds of

- `two loops`: the three inner products of a new pair, and the recursion with its 2m, each a sum
  over the ranks;
- `compact`: `InverseHessian.updated`, which forms the products of the new pair with the m that are
  known and keeps short vectors as a matrix, and `InverseHessian.apply`, with one sum each;
- `direction`: `InverseHessian.apply` alone.

`faster` is the ratio of the first two. Both directions must agree to 1e-10.

    python benchmarks/run_all.py quasi_newton [--quick]

On two ranks only in an environment with MPI: this Python's, or ``.venv-petsc``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
from measuring import (
    NOT_INSTALLED,
    Row,
    medians,
    mpi_command,
    on_ranks,
    options_of,
    plot_lines,
    print_table,
    save,
)

import pint

NUMBERS, PAIRS = (64, 4096, 65536, 1_000_000), (5, 20, 100)
MOST = 2e7
"""Numbers of all steps together: what fits the memory of a small machine."""


def two_loops(hessian: pint.optimise.InverseHessian, gradient: pint.Control) -> pint.Control:
    """Return H times a gradient by Alg. 7.4 of Nocedal and Wright."""
    space, q, factors = gradient.space, gradient.vector, []
    weights, local, sums = space.weights, space.local_pair, space.sums
    curvatures = hessian.products[0].diagonal().tolist()
    pairs = [(s.vector, y.vector) for s, y in hessian.pairs]
    for (s, y), curvature in zip(reversed(pairs), reversed(curvatures), strict=True):
        factors.append(sums(local(s * weights, q))[0] / curvature)
        q = q - factors[-1] * y
    q = hessian.scaling * q
    for (s, y), curvature, factor in zip(pairs, curvatures, reversed(factors), strict=True):
        q = q + (factor - sums(local(y * weights, q))[0] / curvature) * s
    return pint.Control(space, q)


def measure(numbers: int, pairs: int, repeats: int) -> Row:
    """Return the times of one size on the ranks of this run. Collective."""
    comm = pint.world()
    grid = pint.TimeGrid.uniform(1.0, numbers * comm.size, comm=comm)
    space = pint.ControlSpace(grid, u=pint.TimeControl(()))
    random = np.random.default_rng(comm.rank)
    matrix = 100 ** random.uniform(0, 1, numbers)

    def pair() -> tuple[pint.Control, pint.Control]:
        step = random.standard_normal(numbers)
        return pint.Control(space, step), pint.Control(space, matrix * step)

    hessian = pint.lbfgs(pairs)
    for _ in range(pairs):
        hessian = hessian.updated(*pair())
    s, y = pair()
    first, second = two_loops(hessian, y), hessian.apply(y)
    if not space.norm(first - second) <= 1e-10 * space.norm(first):
        raise AssertionError(f"the directions differ: n = {numbers}, m = {pairs}")
    inner = space.inner
    seconds = medians(
        {
            "two loops": lambda: (inner(s, y), inner(y, y), inner(s, s), two_loops(hessian, y)),
            "compact": lambda: hessian.updated(s, y).apply(y),
            "direction": lambda: hessian.apply(y),
        },
        repeats,
    )
    row: Row = {"ranks": comm.size, "n": numbers, "m": pairs}
    row |= {f"{name} (us)": 1e6 * value for name, value in seconds.items()}
    return row | {"faster": seconds["two loops"] / seconds["compact"]}


def sizes(quick: bool) -> list[tuple[int, int]]:
    if quick:
        return [(16, 3), (2000, 3)]
    return [(n, m) for n in NUMBERS for m in PAIRS if n * m <= MOST]


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--rank-program"]:
        repeats, *numbers = map(int, arguments[1:])
        several = zip(numbers[::2], numbers[1::2], strict=True)
        rows = [measure(n, m, repeats) for n, m in several]
        if pint.world().rank == 0:
            print(json.dumps(rows))
        return rows
    options = options_of(__doc__, arguments, repeats=15)
    rows = [measure(n, m, options.repeats) for n, m in sizes(options.quick)]
    m = rows[-1]["m"]
    lines = {f"{name}, m = {m}": {
        row["n"]: 1e-6 * row[f"{name} (us)"] for row in rows if row["m"] == m
    } for name in ("two loops", "compact", "direction")}  # fmt: skip
    command = mpi_command()
    if command is None:
        rows.append({"ranks": NOT_INSTALLED})
    else:
        flat = [str(number) for size in sizes(options.quick) for number in size]
        program = (__file__, "--rank-program", str(options.repeats), *flat)
        rows += on_ranks(command, 2, *program)
    print_table("A direction of L-BFGS, n numbers a rank, m pairs", rows)
    save("quasi_newton", rows, options.output)
    plot_lines(options.output / "quasi_newton.png", "L-BFGS", "numbers n", lines)
    return rows


if __name__ == "__main__":
    main()
