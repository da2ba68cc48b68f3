"""All checks of a problem together, in one report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, ControlSpace
from pint.equations import March, State
from pint.equations.calls.levels import spaces_of
from pint.errors import check_kind, integer
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.steppers import Constraint
from pint.verify.adjoint import Broken, dot_checks
from pint.verify.arguments import (
    attempt,
    attempt_collectively,
    by_level,
    label,
    places,
    random_direction,
    require_alike,
    require_testable,
)
from pint.verify.blame import explained, without_wrong_vjp
from pint.verify.claims import (
    ALL_FINITE,
    BATCH,
    FINITE,
    KNOWN,
    REPEATED,
    RUNS,
    SHAPE,
    UNCHANGED,
)
from pint.verify.constraints import constraint_checks
from pint.verify.in_space import SAME, cost_checks, step_checks
from pint.verify.methods import end_methods
from pint.verify.reports import Check, Report, TaylorReport, agreed, finite
from pint.verify.second_order import defined_checks
from pint.verify.stepper import (
    contract_checks,
    fresh_copy,
    initial_shapes,
    replace_bad_states,
    too_large,
)
from pint.verify.taylor import inward, taylor_test
from pint.verify.transfers import transfer_checks
from pint.verify.variants import FILLED, GUESS, KEPT, OUT, RETURNED

TAYLOR = "derivative of the objective"


def check_problem(
    problem: Problem,
    grid: TimeGrid,
    control: Control | None = None,
    seed: int = 0,
    *,
    constraints: Sequence[Constraint] = (),
) -> Report:
    """Test everything that a problem defines, and say what is wrong and where. Collective.

    Together, on every level and for every field: `stepper_test`, that the states of all steps
    are finite, `adjoint_dot_test`, a `taylor_test` for each field, and the tangent and the second
    derivatives that are defined, as in `second_order_test`. Later checks still run
    after a failure; the report lists checks that depend on a failed one as not run. If the states
    cannot be computed, random states replace them.

    Parameters
    ----------
    problem : Problem
        A problem that has not been used yet shows more, see `stepper_test`.
    grid : TimeGrid
        More than one level, steps of different sizes and a few steps on each rank show most; 10 to
        20 steps suffice.
    control : Control, optional
        Where to test, on this grid; by default a random control within the bounds.
    seed : int
        Of all random numbers.
    constraints : sequence of Constraint
        Whose `vjp` is compared with `value`, too.

    Returns
    -------
    Report
        ``report.passed``; ``print(report)``; ``report.require()`` raises `pint.VerificationError`
        with the text, which makes a test of its own::

            def test_my_problem():
                grid = pint.TimeGrid.uniform(1.0, 12, coarsening=3, levels=2)
                pint.verify.check_problem(my_problem(), grid).require()

    Raises
    ------
    TypeError
        If `grid` is no TimeGrid, or the states are neither numpy arrays nor PETSc vectors.

    Notes
    -----
    If states or controls are distributed over ranks in space, each cost must be the same number on
    all of these ranks, a step of each level is compared with its transposes by differences, and the
    `taylor_test` shows the rest.

    On one process a method that raises an error is reported with the others. On several, an
    error in a sweep ends the run.
    """
    if not isinstance(grid, TimeGrid):
        raise TypeError(f"`check_problem(grid=...)` must be a TimeGrid, got {type(grid).__name__}.")
    check_kind("check_problem", "problem", problem, Problem, "a pint.Problem")
    integer("check_problem", "seed", seed, 0)
    constraints = (constraints,) if isinstance(constraints, Constraint) else tuple(constraints)
    for constraint in constraints:
        check_kind("check_problem", "constraints", constraint, Constraint, "a list of constraints")
    space = problem.control_space(grid)
    distributed = problem.space.comm.size > 1 or space.space_comm.size > 1
    if not distributed:
        require_testable(problem, space, "check_problem")
    if control is None:
        control = random_control(space, seed)
    require_alike(problem, control, "check_problem", seed)
    control = control.copy()
    if distributed:
        return Report("check_problem", _checks_in_space(problem, control, seed))
    with ending_all_ranks(grid.comm):
        checks = _all_checks(problem, control, seed, constraints)
        return Report("check_problem", _distinct(explained(problem, checks)))


def _checks_in_space(problem: Problem, control: Control, seed: int) -> tuple[Check, ...]:
    """Return the checks of a problem that is distributed in space. Collective."""
    functional = ReducedFunctional(problem, control.space.grid)
    functional.calls.unwatch()
    with ending_all_ranks(functional.ranks_to_end):
        checks = cost_checks(functional, control, seed)
        if all(check.passed for check in checks if check.claim == ALL_FINITE):
            checks += step_checks(functional, control, seed)
        checks += agreed(transfer_checks(functional, seed), functional.comm)
        # Where ranks have different costs they would not agree when the Taylor test ends.
        reasons = {ALL_FINITE: "gives states that are not finite", SAME: "differs between ranks"}
        broken = _broken(checks, reasons)
        return (*checks, *_taylor_checks(functional, control, seed, broken))


def _all_checks(
    problem: Problem, control: Control, seed: int, constraints: Sequence[Constraint]
) -> tuple[Check, ...]:
    """Return all checks of a problem. Collective."""
    comm, fresh = control.space.comm, fresh_copy(problem)
    functional, raised = attempt_collectively(
        comm, lambda: ReducedFunctional(problem, control.space.grid)
    )
    if functional is None:
        check = _raised(_at_fault(problem, control.space.grid.levels), raised)
        return (check, *_nothing_else(problem, check))
    functional.calls.unwatch()
    checks = agreed(_set_up_checks(problem, control), comm)
    state, states = _states(functional, control, seed)
    checks += agreed(states, comm)
    checks += agreed(contract_checks(problem, state, control, seed, fresh), comm)
    broken = _broken(checks, _USELESS)
    mixed = _broken(checks, {BATCH: "mixes up the steps of a batch"})
    checks += agreed(dot_checks(functional, state, control, seed, {**mixed, **broken}), comm)
    checks += agreed(constraint_checks(problem, constraints, state, control, seed), comm)
    infinite = _broken(checks, {ALL_FINITE: "gives states that are not finite"})
    checks += tuple(_taylor_checks(functional, control, seed, {**infinite, **broken}))
    if not infinite and not broken:
        second, raised = attempt_collectively(
            comm, lambda: list(defined_checks(functional, state, seed))
        )
        checks += (_raised("hessian_product", raised),) if second is None else agreed(second, comm)
    return without_wrong_vjp(checks)


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


def _raised(method: str, error: str, level: int | None = None) -> Check:
    return Check(method, level, "call", RUNS, math.inf if error else 0.0, note=error)


def _at_fault(problem: Problem, levels: int) -> str:
    """Return the method without which there is no functional."""
    stepper = type(problem.stepper).__name__
    steppers, _ = attempt(lambda: by_level(problem.stepper, levels))
    if steppers is None:
        return f"{stepper}.coarsen"
    spaces, _ = attempt(lambda: spaces_of(steppers, problem.space))
    return f"{stepper}.transfer" if spaces is None else str(end_methods(problem)[0][0])


def _nothing_else(problem: Problem, cause: Check) -> Iterator[Check]:
    """Yield the checks that cannot be run without an initial state."""
    for part in (problem.stepper, problem.adjoint, problem.objective):
        initial = cause.method.endswith(".initial")
        what = "gives no initial state" if initial else "fails"
        note = f"not run, because {cause.method} {what}"
        yield Check(type(part).__name__, None, "", "all methods", math.nan, note=note)


def _set_up_checks(problem: Problem, control: Control) -> list[Check]:
    """Return checks of the shapes of y_0 and of the first step."""
    spare = Control(control.space, control.vector.copy())
    found, raised = attempt_collectively(control.space.comm, lambda: initial_shapes(problem, spare))
    step = f"{type(problem.stepper).__name__}.step"
    return [_raised(step, raised, 0)] if found is None else found


def _states(
    functional: ReducedFunctional, control: Control, seed: int
) -> tuple[State, list[Check]]:
    """Return the states of the control, random where there are none, and checks. Collective."""
    grid, state = functional.grid, functional.state.new()
    method = f"{type(functional.problem.stepper).__name__}.step"
    spare, where, note = Control(control.space, control.vector.copy()), "", ""
    _, raised = attempt_collectively(
        grid.comm, lambda: functional.state.solve(state, spare, March())
    )
    level: int | None = 0
    found = [] if raised else np.argwhere(too_large(state.points)).tolist()
    bad = [(grid.first + row, entry) for row, *entry in found]
    first = min(grid.comm.allgather(min(bad) if bad else (grid.steps + 1, [])))
    if first[0] <= grid.steps:
        method = method if first[0] else str(end_methods(functional.problem)[0][0])
        level = 0 if first[0] else None
        where = f"step {first[0] - 1}, entry {first[1]}" if first[0] else f"entry {first[1]}"
        note = "the first that is NaN, infinite or huge; the steps after it follow from it"
        note += "; an explicit step may be unstable at this size: test with shorter steps"
    checks = [
        _raised(method, raised and f"{raised}, stepping through all steps", 0),
        Check(method, level, "y", ALL_FINITE, math.inf if note else 0.0,
              entry=where, note=note),
    ]  # fmt: skip
    replace_bad_states(functional, state, seed, every=bool(raised))
    return state, checks


_USELESS = {
    RUNS: "raises an error",
    SHAPE: "returns a wrong shape",
    FINITE: "returns values that are not finite",
    KNOWN: "returns unknown fields",
    UNCHANGED: "changes its arguments",
    REPEATED: "does not return the same when called again",
    OUT: "does not write its result to `out`",
    RETURNED: "does not return `out`",
    GUESS: "changes with `s.guess`",
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
    space, normal = control.space, random_direction(control, seed)
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
    """Return the order that was found, and the relative error of the slope; "" if all is well."""
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
