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
from pint.verify.reports import Check, agreed

SAME = "is the same number on all ranks in space"
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
    values = [("terminal", "", calls.terminal(state.points[-1], theta))]
    if problem.objective.has_step_cost and grid.local_steps:
        here, _, s, u = next(calls.visit(range(1), control, 1))
        y0, y1 = state.points[:1][here], state.points[1:2][here]
        values.append(("step_cost", "", calls.step_cost(s, y0, y1, u, theta)))
    names = {"step_cost": "value"} if objective is not problem.objective else {}
    for name, field, value in values:
        whose = f"{type(objective).__name__}.{names.get(name, name)}"
        checks.append(_compared(whose, field, value, over))
    for term in problem.regularisers:
        value = float(term.value(control))
        checks.append(_compared(f"{type(term).__name__}.value", "", value, over))
    return agreed(agreed(_complete(checks, grid.comm), grid.comm), over)


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
