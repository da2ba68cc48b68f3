"""How many states are advanced together: V-cycles with chunks of different sizes.

For states of several sizes, the time of a V-cycle (heat in one dimension, three levels, coarsening
factor 8, FCF-relaxation) with `chunk_bytes` from 16 KiB to 8 MiB, relative to the default, the size
of a core's L2 cache.

    python benchmarks/run_all.py chunk_size [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from measuring import Row, medians, options_of, print_table, save

import pint
from pint.equations import Cycles
from pint.mgrit.hierarchy import CHUNK_BYTES
from problems.heat import Heat, zero_target

SIZES = [2**14, 2**16, 2**18, 2**20, 2**23]


def cycle_of(points: int, steps: int, chunk_bytes: int | None) -> partial[None]:
    """Return a function that does a V-cycle of the state."""
    heat = Heat(points=points)
    grid = pint.TimeGrid.uniform(1.0, steps, 8, 3)
    problem = heat.problem(zero_target(heat))
    functional = pint.ReducedFunctional(problem, grid, chunk_bytes=chunk_bytes, guess="constant")
    state, control = functional.state.new(), functional.control()
    return partial(functional.state.solve, state, control, Cycles(pint.Accuracy(1)))


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=7)
    cases = [(15, 1024)] if options.quick else [(15, 16384), (127, 8192), (1023, 4096), (8191, 512)]
    rows: list[Row] = []
    for points, steps in cases:
        cycles = {"default": cycle_of(points, steps, None)}
        cycles |= {str(size): cycle_of(points, steps, size) for size in SIZES}
        seconds = medians(cycles, options.repeats)
        row: Row = {"bytes of a state": 8 * points, "steps": steps, "default (s)": 0.0}
        row["default (s)"] = default = seconds.pop("default")
        row |= {f"{int(size) // 1024} KiB": value / default for size, value in seconds.items()}
        rows.append(row)
    print_table(f"A V-cycle, relative to chunks of {CHUNK_BYTES // 1024} KiB", rows)
    save("chunk_size", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
