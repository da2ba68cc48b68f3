"""The table of README: four ratios, and beside each what does not depend on the machine.

Each row is a case of another benchmark: `all_at_once`, `compiled_steps`, `heat_against_pymgrit` and
`one_shot_on_two_ranks`. Both sides run in turn and must agree first: in the objective, the
gradient, the residuals of all cycles. Times are medians. ``counted`` has iterations, cycles, or the
steps of an update that are made one after the other, which are the same on every machine.

    python benchmarks/run_all.py front_page [--quick] [--output FOLDER]
    python benchmarks/front_page.py --rows training --output benchmarks/measured

README has the rows of ``benchmarks/measured/front_page.csv``, a file that this program wrote; its
last column names the machine. What is not installed is said in the table.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import all_at_once
import compiled_steps
import heat_against_pymgrit
import numpy as np
import one_shot_on_two_ranks
from against_pymgrit import Ours, Theirs, check, compare
from measuring import (
    NOT_INSTALLED,
    Row,
    installed,
    machine,
    medians,
    mpi_command,
    on_ranks,
    options_of,
    save,
)

NAMES = ("control", "gradient", "heat", "training")


def optimal_control(steps: int, repeats: int) -> Row:
    """Gauss-Newton against CasADi with IPOPT, the making of the problem included."""
    row: Row = {"measured": f"optimal control of van der Pol, {steps:,} steps"}
    row["compared with"] = "CasADi + IPOPT"
    functions: dict[str, Callable[[], Row]] = {
        "pint": partial(all_at_once.gauss_newton, "van-der-pol", steps)
    }
    if installed("casadi"):
        functions["other"] = partial(all_at_once.interior_point, "van-der-pol", steps)
    functions["pint"]()  # compiles, if need be
    runs = [{name: one() for name, one in functions.items()} for _ in range(repeats)]
    counted = f"{runs[0]['pint']['iterations']} iterations"
    if "other" not in functions:
        return row | {"faster by": NOT_INSTALLED, "counted": counted}
    np.testing.assert_allclose(runs[0]["other"]["J"], runs[0]["pint"]["J"], rtol=1e-8)
    mine, other = (statistics.median(run[name]["seconds"] for run in runs) for name in functions)
    counted += f", IPOPT {runs[0]['other']['iterations']}"
    return row | {"faster by": other / mine, "counted": counted}


def gradient(steps: int, repeats: int) -> Row:
    """Value and gradient with steps in machine code against a scan of JAX."""
    row: Row = {"measured": f"gradient of van der Pol in machine code, {steps:,} steps"}
    row["compared with"] = "JAX, `jit(value_and_grad(scan))`"
    if not installed("jax"):
        return row | {"faster by": NOT_INSTALLED, "counted": ""}
    final_time = compiled_steps.FINAL_TIME["van-der-pol"]
    u = 0.3 * np.sin(np.arange(steps) / 7.0)[:, None]
    problem = compiled_steps.van_der_pol().problem("rk4", backend="compiled")
    mine = compiled_steps.by_pint(problem, final_time, u)
    other = partial(compiled_steps.by_jax("van-der-pol"), u, final_time / steps)
    (value, slope), (their_value, their_slope) = mine(), other()
    np.testing.assert_allclose(value, their_value, rtol=1e-11)
    largest = np.abs(their_slope).max()
    np.testing.assert_allclose(slope["u"] * final_time / steps, their_slope, atol=1e-9 * largest)
    calls = {"pint": partial(compiled_steps.repeat, mine, 5)}
    calls["other"] = partial(compiled_steps.repeat, other, 5)
    seconds = medians(calls, repeats)
    faster = seconds["other"] / seconds["pint"]
    return row | {"faster by": faster, "counted": "the same gradient to 1e-9"}


def heat(points: int, levels: int, repeats: int) -> Row:
    """The heat equation by MGRIT against PyMGRIT."""
    row: Row = {"measured": f"heat equation by MGRIT, {points:,} points in time and space"}
    row["compared with"] = "PyMGRIT"
    sizes, tolerance = (points, points, levels), heat_against_pymgrit.TOLERANCE
    mine = Ours(lambda: heat_against_pymgrit.ours(*sizes), tolerance)
    other = Theirs(lambda: heat_against_pymgrit.theirs(*sizes), tolerance)
    if installed("pymgrit"):
        check(mine, other, relative=1e-6, states=1e-7)
    first, second = compare({}, mine, other, repeats, heat_against_pymgrit.TARGET)
    counted = f"{first['cycles']} cycles"
    if "pint faster by" not in second:
        return row | {"faster by": NOT_INSTALLED, "counted": counted}
    counted += f", PyMGRIT {second['cycles']}; the same residuals to 1e-6"
    return row | {"faster by": second["pint faster by"], "counted": counted}


def training(examples: int, layers: int, updates: int) -> Row:
    """Layer-parallel training on two ranks against sequential training, an update of each."""
    row: Row = {"measured": f"an update of {layers:,} layers, trained on two ranks"}
    row["compared with"] = "sequential training"
    command = mpi_command()
    if command is None:
        return row | {"faster by": NOT_INSTALLED, "counted": ""}
    runs: dict[str, list[Row]] = {}
    for name, ranks in one_shot_on_two_ranks.RANKS.items():
        numbers = (0, examples, layers, updates)
        program = (one_shot_on_two_ranks.__file__, "--rank-program", name, *map(str, numbers))
        runs[name] = [on_ranks(command, ranks, *program)]
    table = one_shot_on_two_ranks.updates_table(runs, examples, layers)
    sequential, one, two = (np.median(runs[name][0]["steps"], axis=0) for name in runs)
    # Ranks share the fine steps; those of the coarse level follow each other.
    counted = f"{two[0] + one[1]:,.0f} steps one after the other, not {sequential[0]:,.0f}"
    return row | {"faster by": table[-1]["sequential/this"], "counted": counted}


def measured(folder: Path) -> list[Row]:
    """Return the rows of a file that this program wrote."""
    with open(folder / "front_page.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as README has it; numbers may be text, as in a file."""
    columns = ("measured", "compared with", "faster by", "counted")
    lines = [list(columns), ["---"] * len(columns)]
    for row in rows:
        ratio = row["faster by"]
        shown = ratio if ratio == NOT_INSTALLED else f"{float(ratio):.2g}"
        lines.append([row["measured"], row["compared with"], shown, row["counted"]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it; return its rows."""
    more = {"--rows": {"nargs": "+", "choices": NAMES, "help": "those alone; others from the file"}}
    options = options_of(__doc__, arguments, repeats=3, more=more)
    quick, repeats = options.quick, options.repeats
    cases = (
        partial(optimal_control, 256 if quick else 65_536, repeats),
        partial(gradient, 256 if quick else 16_384, 2 if quick else 15),
        partial(heat, 33 if quick else 513, 3 if quick else 5, repeats),
        partial(training, *((20, 32, 3) if quick else (5000, 1024, 9))),
    )
    kept = [] if options.rows is None else measured(options.output)
    where = machine(("numpy", "numba", "casadi", "jax", "pymgrit"))
    rows = [
        case() | {"machine": where} if not kept or name in options.rows else kept[i]
        for i, (name, case) in enumerate(zip(NAMES, cases, strict=True))
    ]
    print(f"\n{where}\n\n{markdown(rows)}", flush=True)
    save("front_page", rows, options.output)
    return rows


if __name__ == "__main__":
    main()
