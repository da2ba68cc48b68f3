"""The contracts of the methods that a user writes: pure, finite, and batched like a loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.equations import March, State
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.verify.arguments import (
    Place,
    Sample,
    attempt,
    batches_of_one,
    by_level,
    end_sample,
    entry,
    label,
    mapped,
    moved,
    pick,
    places,
    require_alike,
    require_testable,
    samples_by_level,
)
from pint.verify.blame import explained
from pint.verify.claims import (
    BATCH,
    FINITE,
    KNOWN,
    READ_ONLY,
    REPEATED,
    RUNS,
    SHAPE,
    UNCHANGED,
    Outcomes,
    difference,
    finding_of,
    known_fields,
)
from pint.verify.methods import (
    Method,
    Pairs,
    cost_methods,
    end_methods,
    inner_methods,
    step_methods,
)
from pint.verify.products import DOUBLE, precision_of
from pint.verify.reports import Check, Finding, Report, agreed, worst
from pint.verify.runs import run_checks
from pint.verify.variants import variant_checks

BATCH_TOLERANCE = 1e-14


def stepper_test(problem: Problem, control: Control, seed: int = 0) -> Report:
    """Test the contracts that the solver relies on, on every level. Collective.

    The methods of stepper, adjoint and objective return finite arrays of the right shapes, leave
    their arguments as they are, accept read-only ones (batches in rows that do not follow each
    other in memory), and return bitwise the same when called
    again, whatever they were called with before (also with other step sizes: an object that has
    just been made gives the same, where stepper and adjoint can be copied). A batch is the same as
    a loop over batches of one step, to 1e-14.

    `Adjoint.step`, if it is defined, is the first result of `Adjoint.vjp`, to 1e-12. With
    `in_place` the methods write the same to ``out``, and return it, to 1e-14. With a `kept_shape`
    the step fills all of ``s.kept`` and returns the same, and the transposes read it, leave it as
    it is, and are the same to 1e-12. With `uses_guess`, ``s.guess`` changes no result by more than
    3e-10 of its largest entry. `advance` makes the steps of `step`, that of the adjoint the
    transposes of `vjp`, to 1e-12, and writes nothing else.

    Parameters
    ----------
    problem : Problem
        A problem that has not been used yet shows more: a cache that its first calls fill is then
        compared with a cache that other calls fill.
    control : Control
        On the grid to test.
    seed : int
        Of the adjoints, and of other states in between.

    Raises
    ------
    TypeError
        If the states are neither numpy arrays nor PETSc vectors.
    ValueError
        If states or controls are distributed over ranks in space.
    """
    require_alike(problem, control, "stepper_test", seed)
    require_testable(problem, control.space, "stepper_test")
    comm = control.space.comm
    with ending_all_ranks(comm):
        fresh = fresh_copy(problem)
        spare = Control(control.space, control.vector.copy())  # a bad step may change it
        functional = ReducedFunctional(problem, control.space.grid)
        functional.calls.unwatch()
        state = functional.state.new()
        checks = list(agreed(initial_shapes(problem, spare), comm))
        if any(not check.passed for check in checks):
            return Report("stepper_test", explained(problem, tuple(checks)))
        functional.state.solve(state, spare, March())
        replace_bad_states(functional, state, seed)
        checks += contract_checks(problem, state, control, seed, fresh)
        return Report("stepper_test", explained(problem, agreed(checks, comm)))


def contract_checks(
    problem: Problem, state: State, control: Control, seed: int, fresh: tuple[Any, Any] | None
) -> Iterator[Check]:
    """Yield the checks of all methods at the given states. Collective.

    `fresh` are a stepper and an adjoint that have not been used yet, which give the same.
    """
    for level, space, parts, samples in samples_by_level(problem, state, control, seed):
        fresh_pairs = None
        if fresh is not None:
            fresh_parts = (by_level(part, level + 1)[level] for part in copy.deepcopy(fresh))
            fresh_pairs = step_methods(space, *fresh_parts)
        yield from _contracts(problem, step_methods(space, *parts), fresh_pairs, samples, level)
        yield from variant_checks(problem, space, *parts, samples, level)
        if level == 0:
            others = inner_methods(problem) + cost_methods(problem)
            yield from _contracts(problem, others, None, samples, 0)
    yield from run_checks(problem, state, control, seed)
    ends = end_sample(state, control, seed, total=1.0)
    yield from _contracts(problem, end_methods(problem)[:2], None, [ends], None)


def replace_bad_states(
    functional: ReducedFunctional, state: State, seed: int, every: bool = False
) -> None:
    """Replace states that are too large to test at, or every one, by random ones, in place."""
    for row in range(len(state.points)):
        if every or too_large(state.points[row]).any():
            random = np.random.default_rng([seed, functional.grid.first + row])
            state.points[row] = random.standard_normal(functional.space.shape)


def too_large(states: np.ndarray) -> np.ndarray:
    """Return which numbers are not finite, or so large that products of them would not be."""
    return ~(np.abs(states) < (1e30 if states.dtype == np.float64 else 1e12))


def fresh_copy(problem: Problem) -> tuple[Any, Any] | None:
    """Return copies of stepper and adjoint, None if they cannot be copied."""
    return attempt(lambda: copy.deepcopy((problem.stepper, problem.adjoint)))[0]


def initial_shapes(problem: Problem, control: Control) -> list[Check]:
    """Return checks of the shapes of y_0 and of one step; without them there is no trajectory."""
    grid, space, theta = control.space.grid, problem.space, control.shared
    initial = end_methods(problem)[0][0]
    ((step, _),) = step_methods(space, problem.stepper, problem.adjoint)
    start = initial({"theta": theta})["y"]
    fits = np.shape(start) == space.shape
    wrong_step = False
    if fits and grid.local_steps:
        y = space.allocate(1)
        y[0] = start
        u = {name: values[:1].copy() for name, values in control.time.items()}
        if problem.stepper.batched:
            s = grid.batch(0, range(grid.first, grid.first + 1), len(space.shape))
        else:
            s, y, u = grid.single(0, grid.first), y[0], {name: u[name][0] for name in u}
        new = step({"s": s, "y": y, "u": u, "theta": theta})["y"]
        wrong_step = np.shape(new) != np.shape(y)
    return [
        Check(str(initial), None, "y", SHAPE, 0.0 if fits else math.inf),
        Check(str(step), 0, "y", SHAPE, math.inf if wrong_step else 0.0),
    ]


def _contracts(
    problem: Problem,
    pairs: Pairs,
    fresh_pairs: Pairs | None,
    samples: list[Sample],
    level: int | None,
) -> Iterator[Check]:
    """Yield the checks of all methods, the worst of the samples."""
    methods = _flat(pairs)
    fresh: Iterable[Method | None] = _flat(fresh_pairs) if fresh_pairs else [None] * len(methods)
    batched = problem.stepper.batched and level is not None
    known = places(problem, "t", "y", "y0", "y1", "lam", "weight", "cost")
    for method, fresh_method in zip(methods, fresh, strict=True):
        arguments = [place for place in known if place[0] in method.takes]
        results = [place for place in known if place[0] in method.gives]
        outcomes = [
            _examine(method, fresh_method, methods, sample, batched, arguments, results)
            for sample in samples
        ]
        claims = [("call", RUNS), ("call", READ_ONLY)]
        claims += [(label(place), UNCHANGED) for place in arguments]
        claims += [(key, KNOWN) for key in ("u", "theta") if key in method.gives]
        wanted = (SHAPE, FINITE, REPEATED, BATCH) if batched else (SHAPE, FINITE, REPEATED)
        claims += [(label(place), claim) for place in results for claim in wanted]
        for field, claim in claims:
            found = [finding_of(outcome, field, claim, method) for outcome in outcomes]
            worse = worst(found or [Finding()])
            precise = precision_of(samples[0].at) if samples else DOUBLE
            tolerance = precise.at_least(BATCH_TOLERANCE) if claim == BATCH else 0.0
            yield Check(
                str(method), level, field, claim, worse.error, tolerance, False,
                worse.entry, worse.note,
            )  # fmt: skip


def _flat(pairs: Pairs) -> list[Method]:
    return [method for function, transposes in pairs for method in (function, *transposes)]


def _examine(
    method: Method,
    fresh: Method | None,
    others: list[Method],
    sample: Sample,
    batched: bool,
    arguments: list[Place],
    results: list[Place],
) -> Outcomes:
    """Return the findings about each claim about one method."""
    found: Outcomes = {}
    at = mapped(sample.at, np.copy)
    first, raised = attempt(lambda: mapped(known_fields(method(at), results, found), np.copy))
    found["call", RUNS] = Finding(math.inf if raised else 0.0, note=raised)
    if first is None:
        return found
    for place in arguments:
        rows = batched and place[0] != "theta"
        found[label(place), UNCHANGED] = difference(
            pick(at, place), pick(sample.at, place), sample, rows
        )

    changed = any(found[label(place), UNCHANGED].error for place in arguments)
    if not changed:
        _, raised = attempt(lambda: method(mapped(sample.at, _read_only)))
        found["call", READ_ONLY] = Finding(math.inf if raised else 0.0, note=raised)

    elsewhere = moved(sample, 0.01).at
    for other in others:
        attempt(lambda other=other: other(mapped(elsewhere, np.copy)))  # type: ignore[misc]
    again = [attempt(lambda: method(mapped(sample.at, np.copy)))]
    if fresh is not None:
        again.append(attempt(lambda: fresh(mapped(sample.at, np.copy))))
    rows_of = batches_of_one(sample) if batched else ()
    singles = [attempt(lambda row=row: method(row.at)) for row in rows_of]  # type: ignore[misc]

    for place in results:
        field, value = label(place), pick(first, place)
        if value is None and place[1] is not None:
            continue  # a field that is left out
        rows = batched and place[0] != "theta"
        found[field, SHAPE] = _shape_of(method, value, sample, place, batched)
        if found[field, SHAPE].error:
            continue
        found[field, FINITE] = _finiteness(value, sample, rows)
        found[field, REPEATED] = worst(
            Finding(math.inf, note=raised)
            if result is None
            else difference(pick(result, place), value, sample, rows)
            for result, raised in again
        )
        if singles and found[field, FINITE].error:
            found[field, BATCH] = Finding(math.nan, note=f"not run, because {field} is not finite")
        elif singles:
            failed = [Finding(math.inf, note=raised) for _, raised in singles if raised]
            parts = [pick(result, place) for result, _ in singles if result is not None]
            batch = [] if failed else [_batch_error(place, value, parts, sample)]
            found[field, BATCH] = worst(failed + batch)
    return found


def _read_only(value: Any) -> Any:
    """Return a copy that cannot be written to, of a batch in every second row of a block."""
    copied = np.copy(value)
    if copied.ndim > 1:  # as the sweeps give batches: every m-th row of a block
        copied = np.repeat(copied, 2, axis=0)[::2]
    copied.flags.writeable = False
    return copied


def _shape_of(method: Method, value: Any, sample: Sample, place: Place, batched: bool) -> Finding:
    """Return an infinite error unless a result has one of the allowed shapes."""
    shapes, shape = _shapes(method, sample, place, batched), np.shape(value)
    kind = np.asarray(value).dtype
    if kind.kind not in "iuf":
        got = kind if kind.kind == "c" else "no array of numbers"
        return Finding(math.inf, note=f"must have shape {shapes[0]} and be real, is {got}")
    note = "" if shape in shapes else f"must have shape {shapes[0]}, got {shape}"
    return Finding(math.inf if note else 0.0, note=note)


def _finiteness(value: Any, sample: Sample, rows: bool) -> Finding:
    """Return the number of entries that are not finite, and the first of them."""
    bad = np.argwhere(~np.isfinite(value))
    if not len(bad):
        return Finding()
    return Finding(float(len(bad)), entry(sample, bad[0], rows), f"is {value[tuple(bad[0])]}")


def _shapes(method: Method, sample: Sample, place: Place, batched: bool) -> list[tuple[int, ...]]:
    """Return the allowed shapes of a result."""
    if place[0] == "cost":
        return [np.shape(sample.at["y"])[:1] if batched else ()]
    shape = np.shape(pick(sample.at, place))
    may_be_zero = method.name in ("step_cost_derivative", "terminal_derivative")
    return [shape, ()] if may_be_zero and place[1] is None else [shape]


def _batch_error(place: Place, value: Any, parts: list[Any], sample: Sample) -> Finding:
    """Return the difference of a batch to single steps, relative to its largest entry."""
    if any(part is None for part in parts):
        return Finding(math.inf, note="is left out by a batch of one step")
    if place[0] == "theta":
        loop = np.sum(parts, axis=0)
    else:
        loop = np.broadcast_to(value, ()) if np.ndim(value) == 0 else np.concatenate(parts)
    found = difference(value, loop, sample, rows=place[0] != "theta")
    return replace(found, error=found.error / (float(np.max(np.abs(value))) or 1.0))
