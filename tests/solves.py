"""Ways to solve state and adjoint, for tests that compare what storages and memories give."""

import numpy as np

import pint
from pint.equations import Cycles, Lagged, March, Relax

ONE = Cycles(pint.Accuracy(1))
NEXT = Cycles(pint.Accuracy(1), relaxed=True)
TO_TOLERANCE = Cycles(pint.Accuracy(30, relative=1e-13))


def both(rf, state, adjoint, control, how):
    rf.state.solve(state, control, how)
    rf.adjoint.solve(adjoint, state, how)


def cycles(rf, state, adjoint, control):
    """From the first guess and from a warm start; what each solve reports."""
    for factor in (0.9, 1.0):
        rf.state.solve(state, factor * control, Cycles(pint.Accuracy(2)))
        yield "objective", rf.objective(state).objective
        yield "residuals", state.convergence.residuals
        rf.adjoint.solve(adjoint, state, Cycles(pint.Accuracy(2)))
        yield "residuals", adjoint.convergence.residuals
        yield "correction", rf.state.correction(state, adjoint)
        yield "derivative", rf.derivative_of(state, adjoint)


def relaxed(rf, state, adjoint, control):
    """Cycles, then F-points at another control and state, by one solve that starts with them."""
    both(rf, state, adjoint, 0.5 * control, ONE)
    both(rf, state, adjoint, control, Relax())
    yield "derivative", rf.derivative_of(state, adjoint)
    rf.state.solve(state, control, NEXT)
    rf.adjoint.solve(adjoint, state, Relax())
    rf.adjoint.solve(adjoint, state, NEXT)
    yield "objective", rf.objective(state).objective
    yield "derivative", rf.derivative_of(state, adjoint)


def lagged(rf, state, adjoint, control):
    other = rf.state.new()
    for factor in (0.8, 0.9, 1.0):
        known = adjoint if adjoint.is_known else None
        rf.state.solve(other, factor * control, Lagged(1, known, state if known else None))
        state, other = other, state
        rf.adjoint.solve(adjoint, state, Lagged(1))
        yield "objective", rf.objective(state).corrected(state.correction).objective
        yield "residuals", (*state.convergence.residuals, *adjoint.convergence.residuals)
        yield "derivative", rf.derivative_of(state, adjoint)


def corrected(rf, state, adjoint, control):
    """The correction makes the steps that were missing; the adjoint then reads all of them."""
    both(rf, state, adjoint, control, ONE)
    yield "correction", rf.state.correction(state, adjoint)
    rf.adjoint.solve(adjoint, state, ONE)
    yield "derivative", rf.derivative_of(state, adjoint)


def to_tolerance(rf, state, adjoint, control):
    both(rf, state, adjoint, control, TO_TOLERANCE)
    yield "objective", rf.objective(state).objective
    yield "derivative", rf.derivative_of(state, adjoint)


def marched(rf, state, adjoint, control):
    both(rf, state, adjoint, control, March())
    yield "objective", rf.objective(state).objective
    yield "derivative", rf.derivative_of(state, adjoint)


def interrupted(rf, state, adjoint, control):
    """What is kept belongs to another state when the adjoint is solved."""
    rf.state.solve(state, control, ONE)
    trial = rf.state.new()
    rf.state.copy_guess(state, trial)
    rf.state.solve(trial, 0.5 * control, ONE)
    rf.adjoint.solve(adjoint, state, ONE)
    yield "derivative", rf.derivative_of(state, adjoint)


SOLVES = {
    solve.__name__: solve
    for solve in (cycles, relaxed, lagged, corrected, to_tolerance, marched, interrupted)
}


def numbers(rf, solve, control):
    """Return what a solve yields, by kind; controls gathered."""
    state, adjoint, found = rf.state.new(), rf.adjoint.new(), []
    for kind, value in SOLVES[solve](rf, state, adjoint, control):
        if kind == "derivative":
            value = np.concatenate([values.ravel() for values in value.gather().values()])
        found.append((kind, np.atleast_1d(value)))
    if solve not in ("lagged", "interrupted"):
        found.append(("states", rf.space.as_array(rf.states(state))))
    return found


def assert_same_numbers(found, expected, tolerance=1e-12):
    """Compare, relative to the largest number of the same kind."""
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    size = {}
    for kind, value in expected:
        size[kind] = max(size.get(kind, 0.0), np.abs(value).max(initial=0.0))
    # Differences of states, and products with them.
    size["residuals"] = size["correction"] = max(1.0, *size.values())
    assert np.isfinite(size["residuals"])
    for (kind, value), (_, other) in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=tolerance * size[kind], err_msg=kind)
