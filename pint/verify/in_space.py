"""Checks of a problem whose states or controls are distributed over ranks in space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.equations import March
from pint.reduced_functional import ReducedFunctional
from pint.verify.claims import ALL_FINITE
from pint.verify.methods import user_of
from pint.verify.products import norm
from pint.verify.reports import Check, agreed

SAME = "is the same number on all ranks in space"
STEP = 1e-2
"""Of differences of fourth order: iterative solvers in space leave errors that it must exceed."""

DIFFERENCES = 1e-5
TOLERANCE = 1e-12
"""Sums over the ranks may be rounded in another order on each."""


def cost_checks(functional: ReducedFunctional, control: Control, seed: int) -> tuple[Check, ...]:
    """Return checks of the states, and that each cost is summed over the ranks. Collective.

    The costs are those of random states, to which each rank contributes other numbers: a cost of
    the local part alone then differs from rank to rank.
    """
    problem, grid, calls = functional.problem, functional.grid, functional.calls
    over = problem.space.comm if problem.space.comm.size > 1 else control.space.space_comm
    state = functional.state.new()
    functional.state.solve(state, control, March())
    size = problem.space.squared_norm(state.points)
    method = f"{type(user_of(problem.stepper)).__name__}.step"
    checks = [Check(method, 0, "y", ALL_FINITE, 0.0 if math.isfinite(size) else math.inf)]
    random = np.random.default_rng([seed, over.rank, grid.comm.rank])
    for row in state.points:
        row[...] = random.standard_normal(np.shape(row))
    objective, theta = user_of(problem.objective), control.shared
    values = [("terminal", "", calls.objective.terminal(state.points[-1], theta))]
    if problem.objective.has_step_cost and grid.local_steps:
        here, _, s, u = next(calls.visit(range(1), control, 1))
        y0, y1 = state.points[:1][here], state.points[1:2][here]
        values.append(("step_cost", "", calls.objective.step_cost(s, y0, y1, u, theta)))
    names = {"step_cost": "value"} if objective is not problem.objective else {}
    for name, field, value in values:
        whose = f"{type(objective).__name__}.{names.get(name, name)}"
        checks.append(_compared(whose, field, value, over))
    for term in problem.regularisers:
        value = float(term.value(control))
        checks.append(_compared(f"{type(term).__name__}.value", "", value, over))
    return agreed(agreed(_complete(checks, grid.comm), grid.comm), over)


def step_checks(functional: ReducedFunctional, control: Control, seed: int) -> tuple[Check, ...]:
    """Return dot tests of a step of each level, with respect to y and each field. Collective.

    By central differences in random directions, of which each rank has its part; levels with
    states of another space are left out.
    """
    problem, grid, calls = functional.problem, functional.grid, functional.calls
    state = functional.state.new()
    functional.state.solve(state, control, March())
    method = f"{type(user_of(problem.adjoint)).__name__}.vjp"
    claim = f"transpose of {type(user_of(problem.stepper)).__name__}.step"
    fields = {
        "y": None,
        **{f"u[{name!r}]": ("time", name) for name in control.time},
        **{f"theta[{name!r}]": ("shared", name) for name in control.shared},
    }
    checks = []
    for level in range(grid.levels):
        if any(transfer is not None for transfer in calls.transfers[: level + 1]):
            break
        stride = grid.strides[level]
        start = -(-grid.first // stride) * stride
        errors = {field: 0.0 for field in fields}
        if start < grid.last and start + stride <= grid.steps:
            step = _Step(functional, control, state.points, level, range(start, start + 1))
            errors = {field: step.dot_error(place, seed) for field, place in fields.items()}
        for field, error in errors.items():
            note = "" if error <= DIFFERENCES else "does not fit differences of the step"
            finite = error if math.isfinite(error) else math.inf
            checks.append(Check(method, level, field, claim, finite, DIFFERENCES, True, note=note))
    return agreed(agreed(checks, grid.comm), functional.problem.space.comm)


class _Step:
    """One step of a level and its transposes, on the ranks that share its states."""

    def __init__(
        self, functional: ReducedFunctional, control: Control, points: Any, level: int, at: range
    ) -> None:
        self.functional, self.level, self.at = functional, level, at
        row = at.start - functional.grid.first
        self.space = functional.space
        self.comm = self.space.comm if self.space.comm.size > 1 else control.space.space_comm
        self.y = np.array(points[row : row + 1])
        self.time = {name: blocks[row : row + 1].copy() for name, blocks in control.time.items()}
        self.shared = {name: values.copy() for name, values in control.shared.items()}
        self.control_space = control.space

    def dot_error(self, place: tuple[str, str] | None, seed: int) -> float:
        """Return the relative difference of both products for one argument. Collective."""
        own = np.random.default_rng([seed, self.comm.rank])
        lam = own.standard_normal(self.y.shape)
        into = {name: np.zeros(values.shape) for name, values in self.time.items()}
        shared = {name: np.zeros(values.shape) for name, values in self.shared.items()}
        dy = self.space.allocate(1)
        calls = self.functional.calls
        arguments = self.level, self.at, self.time, self.shared
        calls.vjp(*arguments, self.y, lam, dy, into=(into, shared))
        if place is None:
            v, dual, summed = own.standard_normal(self.y.shape), np.asarray(dy), True
        else:
            kind, name = place
            dual = (into if kind == "time" else shared)[name]
            # Ranks that have the same numbers move them alike; each may have a part of their dual.
            distributed = self.control_space.fields[name].distributed
            same = np.random.default_rng(seed)
            v = (own if distributed else same).standard_normal(dual.shape)
            summed = distributed or self.control_space.part_comm.size > 1
        slope = self._slope(place, v)
        pairs = [np.vdot(lam, slope), np.vdot(dual, v), norm(lam * slope), norm(dual * v)]
        sums = reduce(self.comm, pairs)
        found = sums[1] if summed else pairs[1]
        scale = max(sums[2], sums[3], abs(sums[0])) or 1.0
        return float(abs(sums[0] - found) / scale)

    def _slope(self, place: tuple[str, str] | None, v: np.ndarray) -> np.ndarray:
        """Return the derivative of the step along v, by differences. Collective in space."""

        def moved(distance: float) -> np.ndarray:
            y, time, shared = self.y, self.time, self.shared
            if place is None:
                y = y + distance * v
            elif place[0] == "time":
                time = {**time, place[1]: time[place[1]] + distance * v}
            else:
                shared = {**shared, place[1]: shared[place[1]] + distance * v}
            out = self.space.allocate(1)
            self.functional.calls.step(self.level, self.at, time, shared, y, out)
            return np.array(out)

        wide = (moved(STEP) - moved(-STEP)) / (2 * STEP)
        narrow = (moved(STEP / 2) - moved(-STEP / 2)) / STEP
        return (4 * narrow - wide) / 3


def _compared(method: str, field: str, value: float, over: Any) -> Check:
    """Return the check that all ranks have got the same number. Collective."""
    least, most = float(reduce(over, value, "min")[0]), float(reduce(over, value, "max")[0])
    error = (most - least) / (max(abs(most), abs(least)) or 1.0)
    note = ""
    if not error <= TOLERANCE:
        error = error if math.isfinite(error) else math.inf
        note = f"lies between {least:.6g} and {most:.6g}: sum it over the ranks in space"
    return Check(method, None, field, SAME, error, TOLERANCE, note=note)


def _complete(checks: list[Check], comm: Any) -> Iterator[Check]:
    """Yield the checks that some rank in time has made, in one order; those of others pass."""
    own = {(check.method, check.claim): check for check in checks}
    known = dict.fromkeys(key for keys in comm.allgather(list(own)) for key in keys)
    for key in known:
        yield own.get(key, Check(key[0], None, "", key[1], 0.0))
