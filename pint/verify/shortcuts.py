"""Methods that save time do what those do that they stand for, also with what steps keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.interface import Adjoint, Problem, TimeStepper
from pint.verify.arguments import (
    Arguments,
    Method,
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
    step_methods,
)
from pint.verify.claims import (
    KNOWN,
    RUNS,
    UNCHANGED,
    Outcomes,
    difference,
    known_fields,
)
from pint.verify.reports import Check, Finding, worst

WRITE_TOLERANCE = 1e-14
TRANSPOSE_TOLERANCE = 1e-12
"""Transposes may be formed in another way: together, or from what steps keep."""

STEP = "is what `step` returns"
BOTH = "is what `step` and `control_derivative` return"
KEPT = "is the same with `s.kept` as without"
FILLED = "is filled with finite numbers"

_IN_PLACE = ("step_into", "step_with_derivative")


@dataclass(frozen=True)
class _Shortcut:
    """A method, those whose results it must give, and the step that fills ``s.kept`` for it.

    Without the last, ``s.kept`` is None.
    """

    method: Method
    stands_for: tuple[Method, ...]
    claim: str
    tolerance: float
    filled_by: Method | None = None

    @property
    def fills(self) -> bool:
        """Whether the method itself fills ``s.kept``."""
        return self.method is self.filled_by


def shortcut_checks(
    problem: Problem, stepper: Any, adjoint: Any, samples: list[Sample], level: int
) -> Iterator[Check]:
    """Yield checks of what the classes of a level define beyond the abstract methods.

    Places to be written to hold NaN before, and are rows of a block that is not contiguous.
    """
    known = places(problem, "y", "lam")
    if problem.stepper.batched:
        samples = [*samples, *(one for sample in samples for one in batches_of_one(sample))]
    for shortcut in _shortcuts(stepper, adjoint, level):
        method = shortcut.method
        arguments = [place for place in known if place[0] in method.takes]
        results = [place for place in known if place[0] in method.gives]
        claims = [("call", RUNS, 0.0)]
        claims += [(label(place), UNCHANGED, 0.0) for place in arguments]
        claims += [(key, KNOWN, 0.0) for key in ("u", "theta") if key in method.gives]
        claims += [(label(place), shortcut.claim, shortcut.tolerance) for place in results]
        if shortcut.filled_by is not None:
            claims += [("s.kept", FILLED if shortcut.fills else UNCHANGED, 0.0)]
        outcomes = [_examine(shortcut, problem, one, arguments, results) for one in samples]
        for field, claim, tolerance in claims:
            found = worst([_of(one, field, claim, method) for one in outcomes] or [Finding()])
            yield Check(
                str(method), level, field, claim, found.error, tolerance, False,
                found.entry, found.note,
            )  # fmt: skip


def stepping_name(stepper: Any) -> str:
    """Return which method of a stepper the sweeps call, if it is not the default one."""
    return "step" if type(stepper).step_into is TimeStepper.step_into else "step_into"


def _of(outcome: Outcomes, field: str, claim: str, method: Method) -> Finding:
    """Return what was found about a claim; not run if a method raised an error."""
    missing = Finding(math.nan, note=f"not run, because {method} raises an error")
    if math.isnan(outcome["call", RUNS].error):
        missing = outcome["call", RUNS]
    return outcome.get((field, claim), missing)


def _shortcuts(stepper: Any, adjoint: Any, level: int) -> Iterator[_Shortcut]:
    """Yield what the classes define; nothing where they define the abstract methods alone."""
    ((step, (transpose, derivative)),) = step_methods(stepper, adjoint)
    step_into = replace(step, name="step_into")
    transpose_into = replace(transpose, name="step_into")
    both = replace(transpose, name="step_with_derivative", gives=("y", "u", "theta"))
    stepping, transposes = step, [transpose, derivative]
    if stepping_name(stepper) == "step_into":
        stepping = step_into
        yield _Shortcut(step_into, (step,), STEP, WRITE_TOLERANCE)
    if type(adjoint).step_into is not Adjoint.step_into:
        transposes.append(transpose_into)
        yield _Shortcut(transpose_into, (transpose,), STEP, WRITE_TOLERANCE)
    if adjoint.combines:
        transposes.append(both)
        yield _Shortcut(both, (transpose, derivative), BOTH, TRANSPOSE_TOLERANCE)
    if level == 0 and stepper.kept_shape is not None:
        yield _Shortcut(stepping, (stepping,), KEPT, WRITE_TOLERANCE, stepping)
        for method in transposes:
            yield _Shortcut(method, (method,), KEPT, TRANSPOSE_TOLERANCE, stepping)


def _examine(
    shortcut: _Shortcut,
    problem: Problem,
    sample: Sample,
    arguments: list[Place],
    results: list[Place],
) -> Outcomes:
    """Return what is found about each claim about one method."""
    batched, method = problem.stepper.batched, shortcut.method
    found: Outcomes = {("call", RUNS): Finding()}
    expected, raised = attempt(lambda: _expected(shortcut, sample, batched))
    if expected is None:
        plain = " or ".join(map(str, shortcut.stands_for))
        return {("call", RUNS): Finding(math.nan, note=f"not run, because {plain} raises an error")}
    at, raised = attempt(lambda: _arguments(shortcut, sample, batched))
    if at is None:
        note = f"not run, because {shortcut.filled_by} raises an error"
        return {("call", RUNS): Finding(math.nan, note=note)}
    before = np.copy(at["s"].kept)
    result, raised = attempt(
        lambda: mapped(known_fields(_called(method, at, batched), results, found), np.copy)
    )
    if result is None:
        return {("call", RUNS): Finding(math.inf, note=raised)}
    for place in arguments:
        found[label(place), UNCHANGED] = difference(
            pick(at, place), pick(sample.at, place), sample, batched and place[0] != "theta"
        )
    if shortcut.fills:
        bad = np.argwhere(~np.isfinite(at["s"].kept))
        where = entry(sample, bad[0], batched) if len(bad) else ""
        found["s.kept", FILLED] = Finding(float(len(bad)), where)
    elif shortcut.filled_by is not None:
        found["s.kept", UNCHANGED] = difference(at["s"].kept, before, sample, batched)
    for place in results:
        found[label(place), shortcut.claim] = _relative(
            pick(result, place), pick(expected, place), sample, batched and place[0] != "theta"
        )
    return found


def _called(method: Method, at: Arguments, batched: bool) -> dict[str, Any]:
    """Call a method, with a place for its first result if it writes in place."""
    if method.name not in _IN_PLACE:
        return method(at)
    out = _nans(np.shape(at["y"]), batched)
    result = getattr(method.owner, method.name)(out, *(at[name] for name in method.takes))
    return {"y": out, **dict(zip(method.gives[1:], result or (), strict=True))}


def _expected(shortcut: _Shortcut, sample: Sample, batched: bool) -> dict[str, Any]:
    """Return the results of the methods that a shortcut stands for, all without ``s.kept``."""
    results: dict[str, Any] = {}
    for method in shortcut.stands_for:
        results |= mapped(_called(method, mapped(sample.at, np.copy), batched), np.copy)
    return results


def _arguments(shortcut: _Shortcut, sample: Sample, batched: bool) -> dict[str, Any]:
    """Return copies of the arguments, ``s.kept`` filled if the method reads it."""
    at, elsewhere = (mapped(one.at, np.copy) for one in (sample, moved(sample, 0.01)))
    if shortcut.filled_by is None:
        return at
    for arguments in (at, elsewhere):  # the last step elsewhere: only `s.kept` tells of the first
        s, shape = arguments["s"], shortcut.filled_by.owner.kept_shape
        arguments["s"] = s._replace(kept=_nans((*np.shape(s.index), *shape), batched))
        if not shortcut.fills:
            _called(shortcut.filled_by, mapped(arguments, np.copy), batched)
    return at


def _nans(shape: tuple[int, ...], batched: bool) -> np.ndarray:
    """Return NaN, for a batch in every second row of a block."""
    if not batched:
        return np.full(shape, np.nan)
    return np.full((2 * shape[0], *shape[1:]), np.nan)[::2]


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
