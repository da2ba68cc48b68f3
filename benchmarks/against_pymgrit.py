"""MGRIT of `pint` and of PyMGRIT (PyPI: pymgrit) on one problem, with one residual history.

What both must have in common, apart from the problem, for equal histories:

- FCF-relaxation (PyMGRIT: ``cf_iter=1``), V-cycles, weight 1, the same points on each level;
- the first guess: zero, then nested iteration, that is a march on the coarsest level, and on the
  way to the finest injection and one V-cycle on each intermediate level; on the finest level
  C-points only. PyMGRIT does it in its constructor, so that it counts as set-up here for both;
- the place where the residual is measured. PyMGRIT takes ``|Phi(u_{C-1}) - u_C|`` over the C-points
  *after* each cycle; `pint` after the relaxation of each cycle, before its coarse correction, which
  costs no step more. The histories compared are PyMGRIT's: cycle by cycle `MGRIT.residual` is
  called. In the timed solves each measures in its own way, and stops below the same tolerance;
- the norm: Euclidean over points in time and components of the state, unweighted.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import NOT_INSTALLED, Row, installed, plot_bars

import pint
from pint.equations import Calls
from pint.equations.sweeps import Sweep

Posed = tuple[pint.Problem, pint.TimeGrid, dict[str, Any]]
"""A problem, its grid, and the values of its control by field name."""


@dataclass(frozen=True)
class Solved:
    """Seconds of set-up and solve, number of cycles, last residual norm, states (points, ...)."""

    setup: float
    solve: float
    cycles: int
    residual: float
    states: np.ndarray

    @property
    def seconds(self) -> float:
        return self.setup + self.solve


@dataclass(frozen=True)
class Ours:
    """The side of `pint`: a function that makes problem, grid and control, and a tolerance."""

    make: Callable[[], Posed]
    tolerance: float

    def start(self) -> tuple[pint.MGRIT, Sweep, Any]:
        problem, grid, values = self.make()
        controls = problem.control_space(grid)
        control = controls.control(**values)
        sweep = Sweep(Calls(problem, grid), control, controls.restrict(control))
        solver = pint.MGRIT(grid, pint.ArraySpace(problem.space.shape))
        trajectory = solver.allocate()
        trajectory[0] = problem.stepper.initial(control.shared)
        solver.set_guess(sweep, trajectory, "nested")
        return solver, sweep, trajectory

    def solve(self) -> Solved:
        start = time.perf_counter()
        solver, sweep, trajectory = self.start()
        middle = time.perf_counter()
        done = solver.solve(sweep, trajectory, pint.Accuracy(50, absolute=self.tolerance))
        end = time.perf_counter()
        return Solved(middle - start, end - middle, len(done.residuals), done.residual, trajectory)

    def history(self, cycles: int) -> list[float]:
        """Return the residual norm after each cycle."""
        solver, sweep, trajectory = self.start()
        norms = []
        for _ in range(cycles):
            solver.solve(sweep, trajectory, pint.Accuracy(1))
            residuals = [part for _, part in solver.residual(sweep, trajectory)]
            norms.append(math.sqrt(sum(float((part**2).sum()) for part in residuals)))
        return norms


@dataclass(frozen=True)
class Theirs:
    """The side of PyMGRIT: a function that makes the applications of all levels, a tolerance."""

    make: Callable[[], list[Any]]
    tolerance: float

    def solve(self) -> Solved:
        return self.solve_and_history()[0]

    def solve_and_history(self) -> tuple[Solved, list[float]]:
        from pymgrit.core.mgrit import Mgrit

        start = time.perf_counter()
        solver = Mgrit(self.make(), tol=self.tolerance, cf_iter=1, max_iter=50, logging_lvl=30)
        middle = time.perf_counter()
        history = solver.solve()["conv"]
        end = time.perf_counter()
        states = np.array([np.atleast_1d(vector.get_values()) for vector in solver.u[0]])
        solved = Solved(middle - start, end - middle, len(history), history[-1], states)
        return solved, list(history)


def check(ours: Ours, theirs: Theirs, relative: float, states: float) -> None:
    """Raise AssertionError unless residual histories and states agree."""
    solved, history = theirs.solve_and_history()
    mine = ours.solve()
    # A residual is a difference of states of norm 1 and more: less than 1e-16 of it is rounding.
    np.testing.assert_allclose(ours.history(len(history)), history, rtol=relative, atol=1e-16)
    np.testing.assert_allclose(mine.states, solved.states, rtol=0, atol=states)


def compare(label: Row, ours: Ours, theirs: Theirs, repeats: int, target: float) -> list[Row]:
    """Return a row for each program, solved in turn; PyMGRIT's is empty where it is missing."""
    programs = {"pint": ours}
    if installed("pymgrit"):
        programs["PyMGRIT"] = theirs  # type: ignore[dict-item]
    runs: dict[str, list[Solved]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            runs[name].append(program.solve())
    rows = []
    medians: dict[str, tuple[float, float]] = {}
    for name, several in runs.items():
        whole = statistics.median(run.seconds for run in several)
        solve = statistics.median(run.solve for run in several)
        medians[name] = whole, solve
        faster: Row = {"pint faster by": "", "target": "", "solve only": ""}
        if name == "PyMGRIT":
            faster = {
                "pint faster by": whole / medians["pint"][0],
                "target": target,
                "solve only": solve / medians["pint"][1],
            }
        rows.append(
            label
            | {"program": name, "cycles": several[0].cycles, "residual": several[0].residual}
            | {"set-up (s)": whole - solve, "solve (s)": solve, "total (s)": whole}
            | faster
        )
    if "PyMGRIT" not in runs:
        rows.append(label | {"program": "PyMGRIT", "cycles": NOT_INSTALLED})
    return rows


def plot(path: Path, title: str, rows: Sequence[Row], label: str) -> None:
    """Draw the total times."""
    seconds = {
        f"{row['program']}, {row[label]} {label}": row["total (s)"]
        for row in rows
        if "total (s)" in row
    }
    plot_bars(path, title, seconds)
