"""Finite elements: updates that do not depend on the mesh, and orders of convergence.

Three tables, all of counts and errors:

- graded: heat equation on (0, 1), nodes (i / n)^g; updates to 1e-6 of the first gradient norm in
  the metric of each step alone, of the mass matrix, and of the lumped mass matrix;
- meshes: the problems of `problems.finite_elements`, updates to 1e-6 for h = 1/16 ... 1/128 with
  N = 32 (heat-boundary to 1/64), and for N = 32 ... 512 with h = 1/32;
- orders: errors of control and state against the known optimum, h and dt shrinking together, and
  the slopes between the rows.

    python benchmarks/run_all.py finite_elements [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from measuring import Row, options_of, print_table, save

import pint
from problems.finite_elements import PROBLEMS, Advection, AllenCahn, Burgers, HeatBoundary


def minimised(problem: pint.Problem, steps: int, T: float, **tolerance: float) -> pint.Result:
    """Return the optimum, from the control 0, step after step."""
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(T, steps))
    return pint.minimize(functional, method=pint.ReducedSpace(iterations=400, **tolerance))


def updates(problem: pint.Problem, steps: int, T: float = 1.0, reduction: float = 1e-6) -> int:
    """Return the number of updates until the gradient norm is so many times the first."""
    result = minimised(
        problem, steps, T, gradient_tolerance=0.0, relative_gradient_tolerance=reduction
    )
    assert result.status is pint.Status.CONVERGED
    return len(result.history) - 1


def graded(quick: bool) -> list[Row]:
    """Return the updates on graded meshes, in three metrics."""
    rows = []
    for power in (1, 3) if quick else (1, 2, 3, 4):
        for cells in (16,) if quick else (16, 64, 128):
            nodes = tuple(((np.arange(cells + 1) / cells) ** power).tolist())
            heat = Advection(nodes=nodes, speed=0.0, nu=0.1, stabilisation="none")
            mass, lumped = heat.problem(), heat.problem(lumped=True)
            alone = replace(mass, controls={"u": pint.TimeControl(mass.controls["u"].shape)})
            counts = {"dt": alone, "mass": mass, "lumped": lumped}
            row: Row = {"grading": power, "n": cells}
            for name, problem in counts.items():
                row[name] = updates(problem, 32)
            rows.append(row)
    return rows


def meshes(quick: bool) -> list[Row]:
    """Return the updates of all problems for some h and some N."""
    rows = []
    for name, kind in list(PROBLEMS.items())[: 1 if quick else None]:
        widths = (16, 32, 64) if kind is HeatBoundary else (16, 32, 64, 128)
        counts: tuple[int, ...] = (32, 64, 128, 256, 512)
        if quick:
            widths, counts = widths[:1], counts[:1]
        row: Row = {"problem": name}
        for cells in widths:
            row[f"h = 1/{cells}"] = updates(kind(cells=cells).problem(), 32)
        for steps in counts:
            row[f"N = {steps}"] = updates(kind(cells=32).problem(), steps)
        rows.append(row)
    return rows


ORDERS: dict[str, tuple[Any, str, tuple[tuple[int, int], ...]]] = {
    "burgers, P1": (Burgers(), "crank-nicolson", ((16, 16), (32, 32), (64, 64))),
    "burgers, P1, midpoint": (Burgers(), "midpoint", ((16, 16), (32, 32), (64, 64))),
    "burgers, P1, SDIRK2": (Burgers(), "sdirk2", ((16, 16), (32, 32), (64, 64))),
    "burgers, P1, Euler": (Burgers(), "implicit-euler", ((8, 16), (16, 64), (32, 256))),
    "burgers, P2": (Burgers(degree=2, nu=0.1), "crank-nicolson", ((4, 16), (8, 48), (16, 136))),
    "allen-cahn": (AllenCahn(), "crank-nicolson", ((16, 16), (32, 32), (64, 64))),
    "allen-cahn, 2-D": (AllenCahn(dim=2), "crank-nicolson", ((8, 8), (16, 16), (32, 32))),
    "heat-boundary": (HeatBoundary(), "crank-nicolson", ((8, 16), (16, 32), (24, 48))),
    "advection, SUPG": (Advection(nu=0.1), "crank-nicolson", ((32, 32), (64, 64), (128, 128))),
    "advection, upwind": (
        Advection(nu=0.1, stabilisation="upwind"),
        "crank-nicolson",
        ((32, 32), (64, 64), (128, 128)),
    ),
}
"""Problem and scheme, and the pairs of cells and N."""


def orders(quick: bool) -> list[Row]:
    """Return the errors of control and state, and the slopes in h."""
    rows = []
    for name, (problem, scheme, sizes) in list(ORDERS.items())[: 1 if quick else None]:
        before: Row | None = None
        for cells, steps in sizes[: 2 if quick else None]:
            of = replace(problem, cells=cells // (4 if quick else 1))
            optimum = of.manufactured()
            made = of.problem(optimum.data, scheme)
            result = minimised(made, steps // (4 if quick else 1), of.T, gradient_tolerance=1e-8)
            grid = result.control.space.grid
            found = result.control["u"], result.states()
            errors = optimum.errors(made.stepper.ode, grid.t[:], *found)
            row: Row = {"problem": name, "n": of.cells, "N": grid.steps,
                        "control": errors[0], "state": errors[1]}  # fmt: skip
            if before is not None:
                for what in ("control", "state"):
                    slope = np.log(before[what] / row[what]) / np.log(row["n"] / before["n"])
                    row[f"slope of {what}"] = round(float(slope), 3)
            before = row
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print and save the tables; return all their rows."""
    options = options_of(__doc__, arguments, repeats=1)
    tables = {"graded": graded, "meshes": meshes, "orders": orders}
    found: list[Row] = []
    for name, table in tables.items():
        rows = table(options.quick)
        print_table(f"Finite elements: {name}", rows)
        found += [{"table": name, **row} for row in rows]
    save("finite_elements", found, options.output)
    return found


if __name__ == "__main__":
    main()
