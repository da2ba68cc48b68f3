"""The contracts of the methods that a user writes: pure, finite, and batched like a loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.sweep import coarsened
from pint.verify.arguments import (
    Method,
    Pairs,
    Place,
    Sample,
    batches_of_one,
    cost_methods,
    end_methods,
    end_sample,
    label,
    mapped,
    moved,
    pick,
    places,
    samples_by_level,
    step_methods,
)
from pint.verify.reports import Check, Report, agreed, finite

BATCH_TOLERANCE = 1e-14

UNCHANGED = "argument is left as it is"
SHAPE = "has the right shape"
FINITE = "is finite"
REPEATED = "is the same when called again, whatever was called before"
BATCH = "a batch is the same as a loop"
KNOWN = "has only names of fields"


def stepper_test(problem: Problem, control: Control, seed: int = 0) -> Report:
    """Test what the solver relies on, on every level. Collective.

    The methods of stepper, adjoint and objective return finite arrays of the right shapes, leave
    their arguments as they are, and return bitwise the same when called again, whatever they
    were called with before (also with other step sizes: an object that has just been made gives
    the same). A batch is the same as a loop over batches of one step, to 1e-14.

    Parameters
    ----------
    problem : Problem
        One that has not been used yet shows more: what it keeps from its first calls is then
        compared with what it keeps from others.
    control : Control
    seed : int
        Of the adjoints, and of other states in between.
    """
    comm = problem.grid.comm
    with ending_all_ranks(comm):
        fresh = _fresh_copy(problem)
        spare = Control(control.space, control.vector.copy())  # a bad step may change it
        functional = ReducedFunctional(problem)
        state = functional.new_state()
        checks = list(agreed(_initial_shapes(problem, spare), comm))
        if any(not check.passed for check in checks):
            return Report("stepper_test", tuple(checks))
        functional.propagate(state, spare)
        for level, parts, samples in samples_by_level(problem, state, control, seed):
            pairs, fresh_pairs = step_methods(*parts), None
            if fresh is not None:
                stepper, adjoint = copy.deepcopy(fresh)
                fresh_pairs = step_methods(
                    coarsened(stepper, level + 1)[level], coarsened(adjoint, level + 1)[level]
                )
            checks += _contracts(problem, pairs, fresh_pairs, samples, level)
            if level == 0:
                checks += _contracts(problem, cost_methods(problem.objective), None, samples, 0)
        ends = end_sample(problem, state, control, seed, total=1.0)
        checks += _contracts(problem, end_methods(problem)[:2], None, [ends], None)
        return Report("stepper_test", agreed(checks, comm))


def _fresh_copy(problem: Problem) -> tuple[Any, Any] | None:
    """Return copies of stepper and adjoint, None if they cannot be copied."""
    try:
        return copy.deepcopy((problem.stepper, problem.adjoint))
    except (TypeError, ValueError, AttributeError, NotImplementedError, copy.Error):
        return None


def _initial_shapes(problem: Problem, control: Control) -> list[Check]:
    """Return checks of the shapes of y_0 and of one step; without them there is no trajectory."""
    grid, space, theta = problem.grid, problem.space, control.shared
    initial, name = problem.stepper.initial(theta), type(problem.stepper).__name__
    fits = np.shape(initial) == space.shape
    wrong_step = False
    if fits and grid.local_steps:
        y = space.allocate(1)
        y[0] = initial
        u = {name: values[:1].copy() for name, values in control.time.items()}
        if problem.stepper.batched:
            s = grid.batch(0, range(grid.first, grid.first + 1), len(space.shape))
        else:
            s, y, u = grid.single(0, grid.first), y[0], {name: u[name][0] for name in u}
        wrong_step = np.shape(problem.stepper.step(s, y, u, theta)) != np.shape(y)
    return [
        Check(f"{name}.initial", None, "y", SHAPE, 0.0 if fits else math.inf),
        Check(f"{name}.step", 0, "y", SHAPE, math.inf if wrong_step else 0.0),
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
    known = places(problem, "y", "y0", "y1", "lam", "cost")
    for method, fresh_method in zip(methods, fresh, strict=True):
        arguments = [place for place in known if place[0] in method.takes]
        results = [place for place in known if place[0] in method.gives]
        outcomes = [
            _examine(method, fresh_method, methods, sample, batched, arguments, results)
            for sample in samples
        ]
        claims = [(label(place), UNCHANGED) for place in arguments]
        claims += [(key, KNOWN) for key in ("u", "theta") if key in method.gives]
        wanted = (SHAPE, FINITE, REPEATED, BATCH) if batched else (SHAPE, FINITE, REPEATED)
        claims += [(label(place), claim) for place in results for claim in wanted]
        for field, claim in claims:
            worst = max((outcome.get((field, claim), 0.0) for outcome in outcomes), default=0.0)
            tolerance = BATCH_TOLERANCE if claim == BATCH else 0.0
            yield Check(str(method), level, field, claim, finite(worst), tolerance)


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
) -> dict[tuple[str, str], float]:
    """Return the error of each claim about one method, by field and claim."""
    errors: dict[tuple[str, str], float] = {}
    at = mapped(sample.at, np.copy)
    first = mapped(_known(method(at), results, errors), np.copy)
    for place in arguments:
        errors[label(place), UNCHANGED] = _difference(pick(at, place), pick(sample.at, place))

    elsewhere = moved(sample, 0.01).at
    for other in others:
        other(mapped(elsewhere, np.copy))
    again = [method(mapped(sample.at, np.copy))]
    again += [fresh(mapped(sample.at, np.copy))] if fresh is not None else []
    singles = [method(row.at) for row in batches_of_one(sample)] if batched else []

    for place in results:
        field, value = label(place), pick(first, place)
        if value is None:
            continue
        shapes = _shapes(sample, place, batched)
        errors[field, SHAPE] = 0.0 if np.shape(value) in shapes else math.inf
        errors[field, FINITE] = float(np.size(value) - np.isfinite(value).sum())
        errors[field, REPEATED] = max(_difference(pick(other, place), value) for other in again)
        if singles:
            parts = [pick(single, place) for single in singles]
            errors[field, BATCH] = _batch_error(place, value, parts)
    return errors


def _known(
    result: dict[str, Any], results: list[Place], errors: dict[tuple[str, str], float]
) -> dict[str, Any]:
    """Return a result without names that are no field, which count as errors."""
    known = {}
    for key, value in result.items():
        if isinstance(value, Mapping):
            names = [name for name in value if (key, name) in results]
            errors[key, KNOWN] = float(len(value) - len(names))
            value = {name: value[name] for name in names}
        known[key] = value
    return known


def _shapes(sample: Sample, place: Place, batched: bool) -> list[tuple[int, ...]]:
    """Return the allowed shapes of a result."""
    if place[0] == "cost":
        return [np.shape(sample.at["y"])[:1] if batched else ()]
    shape = np.shape(pick(sample.at, place))
    return [shape, ()] if place[0] in ("y0", "y1") else [shape]


def _difference(a: Any, b: Any) -> float:
    """Return the largest difference, 0 if bitwise equal, infinity if shapes differ."""
    if a is None or np.shape(a) != np.shape(b):
        return math.inf
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    return float(np.max(np.abs(np.asarray(a) - b)))


def _batch_error(place: Place, value: Any, parts: list[Any]) -> float:
    """Return the difference of a batch to single steps, relative to its largest entry."""
    if any(part is None for part in parts):
        return math.inf
    if place[0] == "theta":
        loop = np.sum(parts, axis=0)
    else:
        loop = np.broadcast_to(value, ()) if np.ndim(value) == 0 else np.concatenate(parts)
    if np.array_equal(loop, value, equal_nan=True):
        return 0.0
    largest = float(np.max(np.abs(value))) or 1.0
    return _difference(loop, value) / largest
