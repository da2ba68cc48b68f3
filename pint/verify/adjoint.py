"""The dot test of every derivative that a problem defines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, Regulariser
from pint.equations import March, State
from pint.interface import Problem
from pint.reduced_functional import ReducedFunctional
from pint.verify.arguments import (
    Place,
    Sample,
    attempt,
    attempt_collectively,
    end_sample,
    label,
    mapped,
    pick,
    places,
    random_direction,
    require_alike,
    require_testable,
    samples_by_level,
)
from pint.verify.blame import explained
from pint.verify.diagnosis import diagnose
from pint.verify.methods import (
    Method,
    Pairs,
    cost_methods,
    end_methods,
    inner_methods,
    step_methods,
)
from pint.verify.products import DOUBLE, norm, precision_of, tangent
from pint.verify.reports import Check, Finding, Report, agreed, finite, worst
from pint.verify.transfers import transfer_checks

Broken = Mapping[tuple[str, int | None], str]
"""Why methods are not tested, by name and level."""


def adjoint_dot_test(problem: Problem, control: Control, seed: int = 0) -> Report:
    """Test all derivatives of a problem: ``<lam, dPhi v> = <dPhi^T lam, v>``. Collective.

    For the first, middle and last step of every level, linearised at the states that follow
    from `control`: each result of `Adjoint.vjp`, and `Adjoint.step` if it is defined; once:
    `Adjoint.initial_vjp`, the maps of `TimeStepper.transfer`, and the derivatives of the objective
    and of the regularisers. With
    ready-made steppers and objectives also `ODE.f_vjp`, `ODE.jacobian` and `Lagrangian.gradient`.
    lam and v are random. The error is the difference relative to the mean of ``|lam| |dPhi v|``
    and ``|dPhi^T lam| |v|``.

    The complex step gives dPhi v (tolerance 1e-11). Extrapolated central differences replace it
    (tolerance 1e-6; 3e-3 for float32 states) where a method does not accept complex numbers, or
    is not analytic: a comparison of the two shows that.

    Parameters
    ----------
    problem : Problem
    control : Control
        Where to linearise, on the grid to test; take a random one, because zeros hide errors.
    seed : int
        Of lam and v.

    Raises
    ------
    TypeError
        If the states are neither numpy arrays nor PETSc vectors.
    ValueError
        If states or controls are distributed over ranks in space: the products are formed on
        one rank.
    NotFiniteError
        If the states of `control` are not finite; `stepper_test` says where.
    """
    require_alike(problem, control, "adjoint_dot_test", seed)
    require_testable(problem, control.space, "adjoint_dot_test")
    comm = control.space.comm
    with ending_all_ranks(comm):
        control = Control(control.space, control.vector.copy())
        functional = ReducedFunctional(problem, control.space.grid)
        functional.calls.unwatch()
        state = functional.state.new()
        functional.state.solve(state, control, March())
        functional.require_finite(functional.objective(state))
        checks = agreed(dot_checks(functional, state, control, seed), comm)
        return Report("adjoint_dot_test", explained(problem, checks))


def dot_checks(
    functional: ReducedFunctional,
    state: State,
    control: Control,
    seed: int,
    broken: Broken | None = None,
) -> Iterator[Check]:
    """Yield the dot tests at the given states. Collective.

    Methods in `broken`, by name and level, are not tested; the value says why.
    """
    problem, grid, broken = functional.problem, functional.grid, broken or {}
    for level, space, parts, samples in samples_by_level(problem, state, control, seed):
        pairs = step_methods(space, *parts)
        if level == 0:
            pairs += inner_methods(problem) + cost_methods(problem)
        yield from transpose_checks(problem, pairs, samples, level, grid.strides[level], broken)
    total = math.nan
    if not any(level in (0, None) for _, level in broken):
        total = attempt_collectively(grid.comm, lambda: functional.cost.summed(state))[0] or 0.0
    ends = end_sample(state, control, seed, total if math.isfinite(total) else 1.0)
    yield from transpose_checks(problem, end_methods(problem), [ends], None, 1, broken)
    yield from transfer_checks(functional, seed)
    yield from _regulariser_checks(problem, control, seed)


def transpose_checks(
    problem: Problem,
    pairs: Pairs,
    samples: list[Sample],
    level: int | None,
    stride: int,
    broken: Broken,
) -> Iterator[Check]:
    """Yield a check of each transpose with respect to each argument, the worst of the samples."""
    precision = precision_of(samples[0].at) if samples else DOUBLE
    for function, transposes in pairs:
        for transpose in transposes:
            why = broken.get((str(transpose), level)) or broken.get((str(function), level))
            for place in places(problem, "y", "y0", "y1", "sum"):
                if place[0] not in transpose.gives:
                    continue
                claim = f"transpose of {function}"
                if why:
                    found, differences = Finding(math.nan, note=f"not run, because {why}"), False
                else:
                    outcomes = [
                        _dot_error(function, transpose, one, place, stride) for one in samples
                    ]
                    found = worst([found for found, _ in outcomes] or [Finding()])
                    differences = any(by_differences for _, by_differences in outcomes)
                yield Check(
                    str(transpose), level, label(place), claim, found.error,
                    precision.tolerance(differences), differences, found.entry, found.note,
                )  # fmt: skip


def _dot_error(
    function: Method, transpose: Method, sample: Sample, place: Place, stride: int
) -> tuple[Finding, bool]:
    """Return the relative difference of the two products, and whether differences were used."""
    at, v = sample.at, pick(sample.along, place)
    result = function.gives[0]
    outcome, raised = attempt(
        lambda: (
            tangent(lambda arguments: function(arguments)[result], at, place, v),
            pick(transpose(mapped(at, np.copy)), place),
        )
    )
    if outcome is None:
        return Finding(math.inf, note=raised), False
    (slope, by_differences), dual = outcome
    lam = at[function.dual] if function.dual else np.ones(np.shape(slope))
    dual = np.zeros(np.shape(v)) if dual is None else np.asarray(dual)
    if dual.shape not in ((), np.shape(v)) or np.shape(lam) != np.shape(slope):
        note = f"shapes are {dual.shape} and {np.shape(slope)}"
        return Finding(math.inf, note=f"{note}, should be {np.shape(v)} and {np.shape(lam)}"), False
    dual = np.broadcast_to(dual, np.shape(v))
    difference = abs(np.vdot(lam, slope) - np.vdot(dual, v))
    scale = 0.5 * (norm(lam) * norm(slope) + norm(dual) * norm(v))
    error = finite(float(difference / scale) if scale else float(difference))
    if error <= precision_of(at).tolerance(by_differences):
        return Finding(error), by_differences
    where, _ = attempt(lambda: diagnose(function, sample, place, dual, stride))
    return Finding(error, *(where or ("", ""))), by_differences


def _regulariser_checks(problem: Problem, control: Control, seed: int) -> Iterator[Check]:
    """Yield a check of each regulariser's derivative for each field. Collective."""
    direction = random_direction(control, seed)
    for regulariser in problem.regularisers:
        for place in places(problem):
            found, raised = attempt_collectively(
                control.space.comm,
                lambda r=regulariser, p=place: _regulariser_error(r, p, control, direction),  # type: ignore[misc]
            )
            yield Check(
                f"{type(regulariser).__name__}.derivative",
                None,
                label(place),
                "derivative of value",
                math.inf if found is None else found,
                DOUBLE.by_differences,
                by_differences=True,
                note=raised,
            )


def _regulariser_error(
    regulariser: Regulariser, place: Place, control: Control, direction: Control
) -> float:
    """Return the relative error of the slope in the directions of one field. Collective."""
    space, h, field = control.space, DOUBLE.step, str(place[1])
    v = space.zeros()
    v[field][...] = direction[field]
    derivative = regulariser.derivative(control)
    size = abs(float(regulariser.value(control)))
    wide, narrow = (
        (regulariser.value(control + d * v) - regulariser.value(control - d * v)) / (2 * d)
        for d in (h, h / 2)
    )
    slope, claimed = (4 * narrow - wide) / 3, space.pair(derivative, v)
    scale = max(abs(slope), abs(claimed), size)
    return finite(abs(slope - claimed) / scale if scale else 0.0)
