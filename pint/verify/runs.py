"""Methods that make many steps in one call, compared with the steps that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.controls import Control
from pint.equations import State
from pint.errors import overrides
from pint.grid import LevelLayout, Runs, as_slice
from pint.interface import Adjoint, Objective, Problem, TimeStepper
from pint.verify.arguments import Levels, attempt
from pint.verify.claims import RUNS
from pint.verify.products import precision_of
from pint.verify.reports import Check

TOLERANCE = 1e-12
"""Many steps may be formed in another order of operations."""

STEPS = "makes the steps of `step`"
BACK = "makes the transposes of `vjp`"
ADDS = "adds what `step_cost_derivative` returns"
OUTSIDE = "leaves rows outside of its runs as they are"


def run_checks(problem: Problem, state: State, control: Control, seed: int) -> Iterator[Check]:
    """Yield the checks of `advance` and `add_step_cost_derivative`, where they are defined.

    Of each level two runs with a gap between them, and one run of which only the last result is
    wanted. Collective.
    """
    grid = control.space.grid
    restricted = control.space.restrict(control, reverse=True)
    levels = Levels(problem, grid.levels)
    for layout, u in zip(grid.layouts(reverse=True), restricted, strict=True):
        level = layout.level
        stepper, adjoint = levels.steppers[level], levels.adjoints[level]
        forward = overrides(stepper, TimeStepper, "advance")
        backward = overrides(adjoint, Adjoint, "advance")
        if not (forward or backward):
            continue
        part = _Part(problem, levels, state, control, layout, u, stepper, adjoint, seed)
        if forward:
            yield from _checks(
                f"{type(stepper).__name__}.advance", level, STEPS, part, part.forward
            )
        if backward:
            name = f"{type(adjoint).__name__}.advance"
            yield from _checks(name, level, BACK, part, part.backward)
    if overrides(problem.objective, Objective, "add_step_cost_derivative"):
        yield _added(problem, state, control, seed)


def _checks(
    name: str, level: int, claim: str, part: _Part, compare: Callable[[Runs, bool], list[float]]
) -> Iterator[Check]:
    """Yield the checks of one method: the worst of the runs of this rank."""
    worst, note = [0.0, 0.0], ""
    for runs, whole in part.cases():
        found, raised = attempt(lambda runs=runs, whole=whole: compare(runs, whole))  # type: ignore[misc]
        note = note or raised
        worst = [max(pair) for pair in zip(worst, found or worst, strict=True)]
    yield Check(name, level, "call", RUNS, math.inf if note else 0.0, note=note)
    missing = f"not run, because {name} raises an error" if note else ""
    for one, error, tolerance in zip((claim, OUTSIDE), worst, (part.tolerance, 0.0), strict=True):
        yield Check(name, level, "y", one, math.nan if missing else error, tolerance, note=missing)


@dataclass
class _Part:
    """The steps of a level on this rank, and the two ways to make them."""

    problem: Problem
    levels: Levels
    state: State
    control: Control
    layout: LevelLayout
    u: dict[str, np.ndarray]
    stepper: Any
    adjoint: Any
    seed: int

    def __post_init__(self) -> None:
        grid, count, stride = self.control.space.grid, self.layout.local_steps, self.layout.stride
        # Level points from the end backward, so that all begin on this rank.
        first = grid.steps - self.layout.last * stride
        self.starts = range(first, first + count * stride, stride)
        self.theta = {name: values.copy() for name, values in self.control.shared.items()}
        points, spare = (
            self.state.points[: grid.local_steps],
            np.random.default_rng([self.seed, self.layout.level, grid.first]),
        )
        fine = np.array(points[as_slice(self.starts, -grid.first)]) if count else points[:0]
        self.y = self.levels.restricted(fine, self.layout.level)
        self.rhs, self.lam = (spare.standard_normal(self.y.shape) for _ in range(2))
        self.tolerance = precision_of({"y": self.y}).at_least(TOLERANCE)

    def cases(self) -> Iterator[tuple[Runs, bool]]:
        """Yield runs, and whether all of their results are wanted."""
        count, grid, level = len(self.starts), self.control.space.grid, self.layout.level
        if count == 0:
            return
        yield Runs(grid, level, self.starts, 1, count, count), False
        apart = max(count // 2, 1)
        length, number = max(apart - 1, 1), min(count, 2)
        rows = (number - 1) * apart + length
        yield Runs(grid, level, self.starts[:rows], number, length, apart), True

    def forward(self, runs: Runs, whole: bool) -> list[float]:
        """Return the error of `TimeStepper.advance`, and how much it writes elsewhere."""
        starts = self.y[:: runs.apart][: runs.count].copy()
        rows = len(runs.starts)
        expected = np.full((rows, *self.y.shape[1:]), np.nan)
        for run in range(runs.count):
            y = starts[run : run + 1]
            for row in range(run * runs.apart, run * runs.apart + runs.length):
                y = self.stepper.step(self._steps(row), y, self._blocks(row), self.theta)
                y = expected[row : row + 1] = y + self.rhs[row : row + 1]
        out = _place(expected, whole)
        self.stepper.advance(
            runs, starts, self._blocks(0, rows), self.theta, out, self.rhs[:rows].copy()
        )
        return _errors(out, expected, whole, -1)

    def backward(self, runs: Runs, whole: bool) -> list[float]:
        """Return the error of `Adjoint.advance`, and how much it writes elsewhere."""
        rows = len(runs.starts)
        starts = self.lam[:: runs.apart][: runs.count].copy()
        expected = np.full((rows, *self.y.shape[1:]), np.nan)
        sums, into = self._places(rows), self._places(rows)
        for run in range(runs.count):
            lam = starts[run : run + 1]
            for row in reversed(range(run * runs.apart, run * runs.apart + runs.length)):
                y = self.y[row : row + 1]
                lam, du, dtheta = self.adjoint.vjp(
                    self._steps(row), y, self._blocks(row), self.theta, lam
                )
                lam = expected[row : row + 1] = lam + self.rhs[row : row + 1]
                for name, values in du.items():
                    sums[0][name][row : row + 1] += values
                for name, values in dtheta.items():
                    sums[1][name] += values
        out = _place(expected, whole)
        self.adjoint.advance(
            runs, self.y[:rows].copy(), self._blocks(0, rows), self.theta, starts, out,
            self.rhs[:rows].copy(), into,
        )  # fmt: skip
        error, outside = _errors(out, expected, whole, 0)
        fields = zip(_all(into), _all(sums), strict=True)
        return [max([error, *(_relative(a, b) for a, b in fields)]), outside]

    def _steps(self, row: int) -> Any:
        grid, start = self.control.space.grid, self.starts[row]
        stride = self.layout.stride
        return grid.batch(self.layout.level, range(start, start + stride, stride), self.y.ndim - 1)

    def _blocks(self, row: int, count: int = 1) -> dict[str, np.ndarray]:
        return {name: values[row : row + count].copy() for name, values in self.u.items()}

    def _places(self, rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return places for the derivatives with respect to the control, which are not zero."""
        time = {name: np.ones(values[:rows].shape) for name, values in self.u.items()}
        return time, {name: np.ones(values.shape) for name, values in self.theta.items()}


def _added(problem: Problem, state: State, control: Control, seed: int) -> Check:
    """Return the check of `Objective.add_step_cost_derivative` on this rank's steps."""
    grid, objective = control.space.grid, problem.objective
    name, scale = f"{type(objective).__name__}.add_step_cost_derivative", 0.7
    count, theta = grid.local_steps, control.shared
    if count == 0:
        return Check(name, 0, "y0", ADDS, 0.0, TOLERANCE)
    points = np.array(state.points[: count + 1])
    s = grid.batch(0, range(grid.first, grid.last), points.ndim - 1)
    u = {field: values.copy() for field, values in control.time.items()}
    before = np.random.default_rng([seed, grid.first]).standard_normal(points.shape)

    def places() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        fields = ({n: np.ones(v.shape) for n, v in part.items()} for part in (u, theta))
        return tuple(fields)  # type: ignore[return-value]

    def error() -> float:
        arguments = (s, points[:-1].copy(), points[1:].copy(), u, theta)
        found, into = before.copy(), places()
        objective.add_step_cost_derivative(*arguments, scale, found[:-1], found[1:], into)
        dy0, dy1, du, dtheta = objective.step_cost_derivative(*arguments)
        expected, sums = before.copy(), places()
        expected[:-1] += scale * dy0
        expected[1:] += scale * dy1
        for part, slopes in zip(sums, (du, dtheta), strict=True):
            for field, values in slopes.items():
                part[field] += scale * values
        pairs = zip((found, *_all(into)), (expected, *_all(sums)), strict=True)
        return max(_relative(a, b) for a, b in pairs)

    value, raised = attempt(error)
    tolerance = precision_of({"y": points}).at_least(TOLERANCE)
    return Check(name, 0, "y0", ADDS, math.inf if value is None else value, tolerance, note=raised)


def _place(expected: np.ndarray, whole: bool) -> np.ndarray:
    """Return a place for results, of rows that do not follow each other in memory."""
    rows = len(expected) if whole else 1
    return np.full((2 * rows, *expected.shape[1:]), np.nan)[::2]


def _errors(out: np.ndarray, expected: np.ndarray, whole: bool, last: int) -> list[float]:
    """Return the relative error of results, and 1 if something else was written to."""
    if not whole:
        return [_relative(out[0], expected[last]), 0.0]
    wanted = ~np.isnan(expected).all(axis=tuple(range(1, expected.ndim)))
    outside = 0.0 if np.isnan(out[~wanted]).all() else 1.0
    return [_relative(out[wanted], expected[wanted]), outside]


def _relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest entry."""
    if not np.isfinite(value).all():
        return math.inf
    size = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    return float(np.max(np.abs(value - expected), initial=0.0)) / size


def _all(fields: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> list[np.ndarray]:
    return [values for part in fields for values in part.values()]
