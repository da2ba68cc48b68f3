"""The dot test of every derivative that a problem defines."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.verify.arguments import (
    Arguments,
    Method,
    Pairs,
    Place,
    Sample,
    cost_methods,
    end_methods,
    end_sample,
    label,
    mapped,
    pick,
    places,
    random_direction,
    replaced,
    samples_by_level,
    step_methods,
)
from pint.verify.reports import Check, Report, agreed, finite

COMPLEX_STEP_TOLERANCE = 1e-12
DIFFERENCES_TOLERANCE = 1e-6

_COMPLEX_STEP = 1e-30
# Richardson-extrapolated central differences: truncation h^4, rounding eps / h.
_DIFFERENCE_STEP = 1e-4
_ROUNDOFF = float(np.finfo(float).eps)
_ComplexWarning: Any = getattr(np, "exceptions", np).ComplexWarning  # its place before numpy 1.25


def adjoint_dot_test(problem: Problem, control: Control, seed: int = 0) -> Report:
    """Test all derivatives of a problem: ``<lam, dPhi v> = <dPhi^T lam, v>``. Collective.

    For the first, middle and last step of every level, linearised at the states that follow
    from `control`: `Adjoint.step`, and `Adjoint.control_derivative` for every time-dependent and
    shared field; once: `Adjoint.initial_derivative`, the derivatives of the objective, and those
    of the regularisers. lam and v are random. The error is the difference relative to the mean
    of ``|lam| |dPhi v|`` and ``|dPhi^T lam| |v|``.

    dPhi v is taken by the complex step (tolerance 1e-12). Where a method does not accept complex
    numbers or is not analytic, which comparison with differences shows, extrapolated central
    differences take over (tolerance 1e-6).

    Parameters
    ----------
    problem : Problem
    control : Control
        Where to linearise; take a random one, because zeros hide errors.
    seed : int
        Of lam and v.

    Raises
    ------
    NotFiniteError
        If the states of `control` are not finite; `stepper_test` tells more.
    """
    comm = problem.grid.comm
    with ending_all_ranks(comm):
        control = Control(control.space, control.vector.copy())
        functional = ReducedFunctional(problem)
        state = functional.new_state()
        functional.propagate(state, control)
        functional.require_finite(functional.objective(state))
        checks: list[Check] = []
        for level, parts, samples in samples_by_level(problem, state, control, seed):
            pairs = step_methods(*parts)
            if level == 0:
                pairs += cost_methods(problem.objective)
            checks += _transposes(problem, pairs, samples, level)
        total = functional._summed_cost(state)
        ends = end_sample(problem, state, control, seed, total)
        checks += _transposes(problem, end_methods(problem), [ends], None)
        checks += _regulariser_checks(problem, control, seed)
        return Report("adjoint_dot_test", agreed(checks, comm))


def _transposes(
    problem: Problem, pairs: Pairs, samples: list[Sample], level: int | None
) -> Iterator[Check]:
    """Yield a check of each transpose with respect to each argument, the worst of the samples."""
    for function, transposes in pairs:
        for transpose in transposes:
            for place in places(problem, "y", "y0", "y1", "sum"):
                if place[0] not in transpose.gives:
                    continue
                outcomes = [_dot_error(function, transpose, sample, place) for sample in samples]
                yield _derivative_check(
                    str(transpose), level, label(place), f"transpose of {function}", outcomes
                )


def _derivative_check(
    method: str, level: int | None, field: str, claim: str, outcomes: list[tuple[float, bool]]
) -> Check:
    differences = any(by_differences for _, by_differences in outcomes)
    tolerance = DIFFERENCES_TOLERANCE if differences else COMPLEX_STEP_TOLERANCE
    worst = max((finite(error) for error, _ in outcomes), default=0.0)
    return Check(method, level, field, claim, worst, tolerance, differences)


def _dot_error(
    function: Method, transpose: Method, sample: Sample, place: Place
) -> tuple[float, bool]:
    """Return the relative difference of the two products, and whether differences were used."""
    at, v = sample.at, pick(sample.along, place)
    result = function.gives[0]
    tangent, by_differences = _tangent(lambda arguments: function(arguments)[result], at, place, v)
    lam = at["lam"] if result == "y" else np.ones(np.shape(tangent))
    dual = pick(transpose(at), place)
    dual = np.zeros(np.shape(v)) if dual is None else np.asarray(dual)
    if dual.shape not in ((), np.shape(v)) or np.shape(lam) != np.shape(tangent):
        return math.inf, by_differences
    dual = np.broadcast_to(dual, np.shape(v))
    difference = abs(np.vdot(lam, tangent) - np.vdot(dual, v))
    scale = 0.5 * (_norm(lam) * _norm(tangent) + _norm(dual) * _norm(v))
    return float(difference / scale) if scale else float(difference), by_differences


def _norm(values: Any) -> float:
    return float(np.linalg.norm(np.ravel(values)))


def _tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> tuple[Any, bool]:
    """Return the derivative of a function along v, and whether it was taken by differences."""
    h = _DIFFERENCE_STEP

    def moved(distance: float) -> Any:
        return np.array(function(replaced(at, place, pick(at, place) + distance * v)), dtype=float)

    forward = moved(h)
    wide = (forward - moved(-h)) / (2 * h)
    narrow = (moved(h / 2) - moved(-h / 2)) / h
    differences = (4 * narrow - wide) / 3
    tangent = _complex_tangent(function, at, place, v)
    # A function that is not analytic (abs, real, norm) drops the imaginary part without a word.
    uncertainty = _norm(narrow - wide) + 1e3 * _ROUNDOFF * _norm(forward) / h
    if tangent is None or not _norm(tangent - differences) <= uncertainty:
        return differences, True
    return tangent, False


def _complex_tangent(
    function: Callable[[Arguments], Any], at: Arguments, place: Place, v: Any
) -> Any:
    """Return the derivative by the complex step, None if the function does not take it.

    All arguments are made complex, so that the function may work in place on any of them.
    """
    at = mapped(at, lambda value: np.asarray(value) + 0j)
    at = replaced(at, place, pick(at, place) + 1j * _COMPLEX_STEP * v)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", _ComplexWarning)
            return np.imag(function(at)) / _COMPLEX_STEP
    except (TypeError, ValueError, ArithmeticError, AttributeError, _ComplexWarning):
        return None


def _regulariser_checks(problem: Problem, control: Control, seed: int) -> Iterator[Check]:
    """Yield a check of each regulariser's derivative for each field. Collective."""
    space, h = problem.controls, _DIFFERENCE_STEP
    direction = random_direction(control, seed)
    for regulariser in problem.regularisers:
        method, derivative = f"{type(regulariser).__name__}.derivative", None
        derivative = regulariser.derivative(control)
        size = abs(float(regulariser.value(control)))
        for place in places(problem):
            v = space.zeros()
            v[str(place[1])][...] = direction[str(place[1])]
            wide, narrow = (
                (regulariser.value(control + d * v) - regulariser.value(control - d * v)) / (2 * d)
                for d in (h, h / 2)
            )
            slope, claimed = (4 * narrow - wide) / 3, space.pair(derivative, v)
            scale = max(abs(slope), abs(claimed), size)
            error = abs(slope - claimed) / scale if scale else 0.0
            yield Check(
                method,
                None,
                label(place),
                "derivative of value",
                finite(error),
                DIFFERENCES_TOLERANCE,
                by_differences=True,
            )
