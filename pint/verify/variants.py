"""Ways to call a method that must not change its result: in place, with kept values, a guess."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.interface import Problem
from pint.states import StateSpace
from pint.verify.arguments import (
    Arguments,
    Place,
    Sample,
    attempt,
    batches_of_one,
    entry,
    label,
    mapped,
    moved,
    pick,
    places,
    scale,
)
from pint.verify.claims import (
    KNOWN,
    RUNS,
    UNCHANGED,
    Outcomes,
    difference,
    finding_of,
    known_fields,
)
from pint.verify.methods import Method, step_methods
from pint.verify.products import DOUBLE, precision_of
from pint.verify.reports import Check, Finding, worst

WRITE_TOLERANCE = 1e-14
TRANSPOSE_TOLERANCE = 1e-12
"""Transposes may be formed in another way: dy alone, or from what the step kept."""
GUESS_TOLERANCE = 3e-10
"""An iteration that starts elsewhere ends at the solution to rounding times its condition."""

OUT = "is the same with `out=`"
RETURNED = "is returned"
ALONE = "is the first result of `vjp`"
KEPT = "is the same with `s.kept` as without"
FILLED = "is filled with finite numbers"
GUESS = "changes with `s.guess` by rounding only"

_NEAR = 1e-3
"""Relative distance of a guess from the result."""


@dataclass(frozen=True)
class _Variant:
    """A method, the plain call that it is compared with, and the way it is called.

    Attributes
    ----------
    method, plain : Method
        The second is called without kept values or guess.
    out : bool
        Whether it is given a place for its result.
    step : Method or None
        The step that fills ``s.kept``, or finds the result that the guess is near to.
    kept, guess : bool
        Whether ``s.kept``, or ``s.guess``, is given.
    """

    method: Method
    plain: Method
    claim: str
    tolerance: float
    out: bool = False
    step: Method | None = None
    kept: bool = False
    guess: bool = False

    @property
    def fills(self) -> bool:
        """Whether the method itself fills ``s.kept``."""
        return self.kept and self.method is self.step


def variant_checks(
    problem: Problem,
    space: StateSpace,
    stepper: Any,
    adjoint: Any,
    samples: list[Sample],
    level: int,
) -> Iterator[Check]:
    """Yield checks of a level's methods, called in each way that their classes offer.

    Places to write to hold NaN before, and are rows of a block that is not contiguous.
    """
    known = places(problem, "y", "lam")
    if problem.stepper.batched:
        samples = [*samples, *(one for sample in samples for one in batches_of_one(sample)[:1])]
    for variant in _variants(space, stepper, adjoint, level):
        method = variant.method
        arguments = [place for place in known if place[0] in method.takes]
        results = [place for place in known if place[0] in method.gives]
        claims = [("call", RUNS, 0.0)]
        claims += [(label(place), UNCHANGED, 0.0) for place in arguments]
        claims += [(key, KNOWN, 0.0) for key in ("u", "theta") if key in method.gives]
        claims += [(label(place), variant.claim, variant.tolerance) for place in results]
        claims += [("out", RETURNED, 0.0)] if variant.out else []
        claims += [("s.kept", FILLED if variant.fills else UNCHANGED, 0.0)] if variant.kept else []
        claims += [("s.guess", UNCHANGED, 0.0)] if variant.guess else []
        outcomes = [_examine(variant, problem, one, arguments, results) for one in samples]
        precise = precision_of(samples[0].at) if samples else DOUBLE
        for field, claim, tolerance in claims:
            found = worst(
                [finding_of(one, field, claim, method) for one in outcomes] or [Finding()]
            )
            yield Check(
                str(method), level, field, claim, found.error, precise.at_least(tolerance), False,
                found.entry, found.note,
            )  # fmt: skip


def _variants(space: StateSpace, stepper: Any, adjoint: Any, level: int) -> Iterator[_Variant]:
    """Yield the variants that the classes offer; none where they only have `step` and `vjp`."""
    ((step, transposes),) = step_methods(space, stepper, adjoint)
    methods = [(step, stepper.in_place, WRITE_TOLERANCE)]
    methods += [(transpose, adjoint.in_place, TRANSPOSE_TOLERANCE) for transpose in transposes]
    for method, in_place, tolerance in methods:
        if in_place:
            yield _Variant(method, method, OUT, WRITE_TOLERANCE, out=True)
        if level == 0 and stepper.kept_shape is not None:
            yield _Variant(method, method, KEPT, tolerance, in_place, step, kept=True)
        if stepper.uses_guess:
            yield _Variant(method, method, GUESS, GUESS_TOLERANCE, in_place, step, guess=True)
    for alone in transposes[1:]:
        yield _Variant(alone, transposes[0], ALONE, TRANSPOSE_TOLERANCE)


def _examine(
    variant: _Variant,
    problem: Problem,
    sample: Sample,
    arguments: list[Place],
    results: list[Place],
) -> Outcomes:
    """Return the findings about each claim about one method."""
    batched, method = problem.stepper.batched, variant.method
    found: Outcomes = {("call", RUNS): Finding()}
    expected, _ = attempt(lambda: _plain(variant, sample, batched))
    if expected is None:
        note = f"not run, because {variant.plain} raises an error"
        return {("call", RUNS): Finding(math.nan, note=note)}
    at, _ = attempt(lambda: _arguments(variant, sample, batched))
    if at is None:
        note = f"not run, because {variant.step} raises an error"
        return {("call", RUNS): Finding(math.nan, note=note)}
    before = mapped({"kept": at["s"].kept, "guess": at["s"].guess}, np.copy)
    called, raised = attempt(lambda: _called(method, at, batched, variant.out))
    if called is None:
        return {("call", RUNS): Finding(math.inf, note=raised)}
    result, returned = known_fields(called[0], results, found), called[1]
    found["out", RETURNED] = Finding(
        0.0 if returned else math.inf, note="" if returned else "another object is returned"
    )
    for place in arguments:
        found[label(place), UNCHANGED] = difference(
            pick(at, place), pick(sample.at, place), sample, batched and place[0] != "theta"
        )
    found |= _extra_findings(variant, at["s"], before, sample, batched)
    for place in results:
        found[label(place), variant.claim] = _relative(
            pick(result, place), pick(expected, place), sample, batched and place[0] != "theta"
        )
    return found


def _plain(variant: _Variant, sample: Sample, batched: bool) -> dict[str, Any]:
    """Return the results of the plain call.

    Kept values and guesses are compared in place, so that not each of them shows a wrong result
    in place.
    """
    out = variant.out and variant.claim != OUT
    results, _ = _called(variant.plain, mapped(sample.at, np.copy), batched, out)
    return mapped(results, np.copy)


def _extra_findings(
    variant: _Variant, s: Steps, before: Arguments, sample: Sample, batched: bool
) -> Outcomes:
    """Return the findings about ``s.kept`` and ``s.guess``."""
    found: Outcomes = {}
    if variant.guess:
        found["s.guess", UNCHANGED] = difference(s.guess, before["guess"], sample, batched)
    if variant.kept and s.kept.dtype == object:  # None where a step has kept nothing
        same = variant.fills or all(a is b for a, b in zip(s.kept, before["kept"], strict=True))
        found["s.kept", FILLED if variant.fills else UNCHANGED] = Finding(0.0 if same else math.inf)
    elif variant.fills:
        bad = np.argwhere(~np.isfinite(s.kept))
        where = entry(sample, bad[0], batched) if len(bad) else ""
        found["s.kept", FILLED] = Finding(float(len(bad)), where)
    elif variant.kept:
        found["s.kept", UNCHANGED] = difference(s.kept, before["kept"], sample, batched)
    return found


def _called(
    method: Method, at: dict[str, Any], batched: bool, out: bool
) -> tuple[dict[str, Any], bool]:
    """Return the results of a method, y as written to its place; and whether it returns that."""
    if not out:
        return method(at), True
    place = _nans(np.shape(at["y"]), batched, float)
    result = method(at, out=place)
    # PETSc vectors return an array of their own over the same memory.
    return {**result, "y": place}, bool(np.may_share_memory(result["y"], place))


def _arguments(variant: _Variant, sample: Sample, batched: bool) -> dict[str, Any]:
    """Return copies of the arguments, with kept values or a guess if the variant has them."""
    at, elsewhere = (mapped(one.at, np.copy) for one in (sample, moved(sample, 0.01)))
    if variant.step is None:
        return at
    if variant.guess:
        result = np.nan_to_num(variant.step(mapped(sample.at, np.copy))["y"])
        # Entries may be of very different size, and the next solution near the smallest.
        normal = sample.along["y"] / scale(sample.along["y"])
        at["s"] = at["s"]._replace(guess=result + _NEAR * np.abs(result) * normal)
        return at
    for arguments in (at, elsewhere):  # the last step elsewhere: only `s.kept` tells of the first
        s, owner = arguments["s"], variant.step.owner
        shape = (*np.shape(s.index), *owner.kept_shape)
        arguments["s"] = s._replace(kept=_nans(shape, batched, owner.kept_type))
        if not variant.fills:
            variant.step(mapped(arguments, np.copy))
    return at


def _nans(shape: tuple[int, ...], batched: bool, kind: type) -> np.ndarray:
    """Return NaN, or None for objects, for a batch in every second row of a block."""
    nothing: Any = None if kind is object else np.nan
    if not batched:
        return np.full(shape, nothing, kind)
    return np.full((2 * shape[0], *shape[1:]), nothing, kind)[::2]


def _relative(value: Any, expected: Any, sample: Sample, rows: bool) -> Finding:
    """Return the difference relative to the largest entry; a field left out is zero."""
    if value is None or expected is None:
        value, expected = (
            np.zeros(np.shape(other)) if one is None else one
            for one, other in ((value, expected), (expected, value))
        )
        if value is None:
            return Finding()
    found = difference(value, expected, sample, rows)
    size = float(np.max(np.abs(expected), initial=0.0))
    return replace(found, error=found.error / (size if 0 < size < math.inf else 1.0))
