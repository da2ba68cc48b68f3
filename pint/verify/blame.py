"""Which method is wrong, where the failure of one makes others fail."""

from __future__ import annotations

import math
from dataclasses import replace

from pint.interface import Problem
from pint.verify.methods import user_of
from pint.verify.reports import Check
from pint.verify.variants import ALONE


def explained(problem: Problem, checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Return the checks; failures of ready-made parts count as not run if a user's part is wrong.

    `RungeKutta`, `Theta`, their adjoints and `RunningCost` call the methods of an `ODE` and of a
    `Lagrangian`, and fail with them.
    """
    for part in (problem.stepper, problem.adjoint, problem.objective):
        inner = user_of(part)
        if inner is not part:
            checks = _without_blame(checks, type(part).__name__, type(inner).__name__)
    return checks


def _without_blame(checks: tuple[Check, ...], part: str, inner: str) -> tuple[Check, ...]:
    """Return the checks; failures of `part` count as not run if `inner` has failures."""
    causes = [one.method for one in checks if one.failed and one.method.startswith(f"{inner}.")]
    if not causes:
        return checks
    note = f"not run, because {causes[0]} is wrong"
    return tuple(
        replace(check, error=math.nan, note=note)
        if check.failed and check.method.startswith(f"{part}.")
        else check
        for check in checks
    )


def without_wrong_vjp(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Return the checks; `Adjoint.step` need not be the first result of a `vjp` that is wrong."""
    wrong = {
        (check.method, check.level)
        for check in checks
        if check.failed and check.field == "y" and check.method.endswith(".vjp")
    }

    def vjp(check: Check) -> str:
        return check.method.rpartition(".")[0] + ".vjp"

    return tuple(
        replace(check, error=math.nan, note=f"not run, because {vjp(check)} is wrong")
        if check.failed and check.claim == ALONE and (vjp(check), check.level) in wrong
        else check
        for check in checks
    )
