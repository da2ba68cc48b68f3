"""All checks of a problem together, in one report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, ControlSpace
from pint.equations.trajectory import State
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.verify.adjoint import Broken, dot_checks
from pint.verify.arguments import (
    attempt_collectively,
    label,
    name_of,
    places,
    random_direction,
    require_whole_states,
)
from pint.verify.claims import BATCH, FINITE, KNOWN, REPEATED, RUNS, SHAPE, UNCHANGED
from pint.verify.reports import Check, Report, TaylorReport, agreed, finite
from pint.verify.shortcuts import BOTH, FILLED, KEPT, STEP, stepping_name
from pint.verify.stepper import (
    contract_checks,
    fresh_copy,
    initial_shapes,
    replace_bad_states,
)
from pint.verify.taylor import inward, taylor_test

TAYLOR = "derivative of the objective"


def check_problem(problem: Problem, control: Control | None = None, seed: int = 0) -> Report:
    """Test everything that a problem defines, and say what is wrong and where. Collective.

    Together, on every level and for every field: `stepper_test`, that the states of all steps
    are finite, `adjoint_dot_test`, and a `taylor_test` for each field. A failure does not keep the
    other checks from being run; those that it leaves without a meaning say so. Where states
    cannot be computed, the methods are tested at random ones.

    Parameters
    ----------
    problem : Problem
        One that has not been used yet shows more, see `stepper_test`. More than one level, steps
        of different sizes and a few steps on each rank show most; 10 to 20 steps suffice.
    control : Control, optional
        Where to test; by default a random one within the bounds.
    seed : int
        Of all random numbers.

    Returns
    -------
    Report
        ``report.passed``; ``print(report)``; ``report.require()`` raises `pint.VerificationError`
        with the text, which makes a test of its own::

            def test_my_problem():
                pint.verify.check_problem(my_problem()).require()

    Raises
    ------
    ValueError
        If states or controls are distributed over ranks in space: the products are formed on
        one rank.

    Notes
    -----
    On one process a method that raises an error is reported with the others. On several, an
    error in a sweep ends the run.
    """
    comm = problem.grid.comm
    require_whole_states(problem, "check_problem")
    with ending_all_ranks(comm):
        if control is None:
            control = random_control(problem.controls, seed)
        control = Control(control.space, control.vector.copy())
        fresh = fresh_copy(problem)
        functional, raised = attempt_collectively(comm, lambda: ReducedFunctional(problem))
        if functional is None:
            check = _raised(f"{name_of(problem.stepper)}.initial", raised)
            return Report("check_problem", (check, *_nothing_else(problem, check)))
        checks = agreed(_set_up_checks(functional, control), comm)
        state, states = _states(functional, control, seed)
        checks += agreed(states, comm)
        checks += agreed(contract_checks(functional.problem, state, control, seed, fresh), comm)
        broken = _broken(checks, _USELESS)
        mixed = _broken(checks, {BATCH: "mixes up the steps of a batch"})
        checks += agreed(dot_checks(functional, state, control, seed, {**mixed, **broken}), comm)
        checks += tuple(_taylor_checks(functional, control, seed, broken))
        return Report("check_problem", _distinct(checks))


def random_control(space: ControlSpace, seed: int) -> Control:
    """Return a random control in the interior of its bounds. Collective.

    The same on any number of ranks.
    """
    random = np.random.default_rng(seed)
    zeros = space.zeros().gather()
    normal = space.control(**{n: random.standard_normal(v.shape) for n, v in zeros.items()}).vector
    lower, upper = space.lower, space.upper
    with np.errstate(invalid="ignore", over="ignore"):
        inside = lower + (upper - lower) * (0.5 + 0.4 * np.tanh(normal))
        above, below = lower + 0.1 + 0.5 * np.abs(normal), upper - 0.1 - 0.5 * np.abs(normal)
    vector = np.select(
        [np.isfinite(lower) & np.isfinite(upper), np.isfinite(lower), np.isfinite(upper)],
        [inside, above, below],
        0.5 * normal,
    )
    return Control(space, vector)


def _raised(method: str, what: str, level: int | None = None) -> Check:
    return Check(method, level, "call", RUNS, math.inf if what else 0.0, note=what)


def _nothing_else(problem: Problem, cause: Check) -> Iterator[Check]:
    """Yield what cannot be run without an initial state."""
    for part in (problem.stepper, problem.adjoint, problem.objective):
        note = f"not run, because {cause.method} gives no initial state"
        yield Check(name_of(part), None, "", "all methods", math.nan, note=note)


def _set_up_checks(functional: ReducedFunctional, control: Control) -> list[Check]:
    """Return checks of the shapes of y_0 and of the first step."""
    spare = Control(control.space, control.vector.copy())
    found, raised = attempt_collectively(
        functional.comm, lambda: initial_shapes(functional.problem, spare)
    )
    stepper = name_of(functional.problem.stepper)
    return [_raised(f"{stepper}.step", raised, 0)] if found is None else found


def _states(
    functional: ReducedFunctional, control: Control, seed: int
) -> tuple[State, list[Check]]:
    """Return the states of the control, random where there are none, and checks. Collective."""
    problem, grid = functional.problem, functional.problem.grid
    stepper, state = name_of(problem.stepper), functional.new_state()
    spare = Control(control.space, control.vector.copy())
    _, raised = attempt_collectively(grid.comm, lambda: functional.propagate(state, spare))
    method, where, note = f"{stepper}.{stepping_name(problem.stepper)}", "", ""
    level: int | None = 0
    found = [] if raised else np.argwhere(~np.isfinite(state.trajectory)).tolist()
    bad = [(grid.first + row, entry) for row, *entry in found]
    first = min(grid.comm.allgather(min(bad) if bad else (grid.steps + 1, [])))
    if first[0] <= grid.steps:
        method = method if first[0] else f"{stepper}.initial"
        level = 0 if first[0] else None
        where = f"step {first[0] - 1}, entry {first[1]}" if first[0] else f"entry {first[1]}"
        note = "the first that is not finite; the steps after it follow from it"
    checks = [
        _raised(method, raised and f"{raised}, stepping through all steps", 0),
        Check(method, level, "y", "all states are finite", math.inf if note else 0.0,
              entry=where, note=note),
    ]  # fmt: skip
    replace_bad_states(problem, state, seed, every=bool(raised))
    state.control = control
    return state, checks


_USELESS = {
    RUNS: "raises an error",
    SHAPE: "returns a wrong shape",
    FINITE: "returns what is not finite",
    KNOWN: "returns unknown fields",
    UNCHANGED: "changes its arguments",
    REPEATED: "does not return the same when called again",
    STEP: "does not write what `step` returns",
    BOTH: "does not give what `step` and `control_derivative` return",
    FILLED: "does not fill `s.kept`",
    KEPT: "gives something else with `s.kept`",
}


def _broken(checks: tuple[Check, ...], reasons: Mapping[str, str]) -> Broken:
    """Return the methods that break a contract among `reasons`, and how."""
    return {
        (check.method, check.level): f"{check.method} {reasons[check.claim]}"
        for check in checks
        if check.claim in reasons and not check.passed and not check.not_run
    }


def _taylor_checks(
    functional: ReducedFunctional, control: Control, seed: int, broken: Broken
) -> Iterator[Check]:
    """Yield a Taylor test for each field. Collective."""
    space, normal = functional.problem.controls, random_direction(control, seed)
    why = next((reason for (_, level), reason in broken.items() if level in (0, None)), "")
    for place in places(functional.problem):
        direction = space.zeros()
        direction[str(place[1])][...] = normal[str(place[1])]
        direction = inward(control, direction, h=0.1)
        error, note = math.nan, f"not run, because {why}"
        if not why:
            report, raised = attempt_collectively(
                functional.comm,
                lambda d=direction: taylor_test(functional, control, d),  # type: ignore[misc]
            )
            error = finite(max(0.0, 2.0 - report.rate)) if report else math.inf
            note = _taylor_note(report) if report else raised
        yield Check("taylor_test", None, label(place), TAYLOR, error, 0.1, note=note)


def _taylor_note(report: TaylorReport) -> str:
    """Return the order that was found, and the relative error of the slope if it is wrong."""
    if report.passed:
        return ""
    h, remainder = min(zip(report.h, report.remainders, strict=True), key=lambda one: one[1])
    slope = abs(report.derivative)
    relative = remainder / h / slope if slope else math.inf
    return f"the remainder falls with order {report.rate:.2f}, should be 2; dJ(v) = " + (
        f"{report.derivative:.6g} is wrong by {relative:.1e} of itself"
    )


def _distinct(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Return one check for each claim about a place: the worst."""
    found: dict[Any, Check] = {}
    for check in checks:
        key = (check.method, check.level, check.field, check.claim)
        if key not in found or not check.error <= found[key].error:
            found[key] = check
    return tuple(found.values())
