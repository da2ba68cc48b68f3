"""Why an objective or a derivative is NaN or infinite."""

from __future__ import annotations

import math

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.equations import StateEquation, Value


def cause_of(equation: StateEquation, value: Value, derivative: Control | None = None) -> str:
    """Return why an objective or a derivative is NaN or infinite, "" if neither. Collective.

    They belong to the last solve of the state equation, and of its adjoint. The sentence quotes
    the NumericalError that one of the problem's methods has raised, or names the level and its step
    size.
    """
    space, comm = equation.calls.space, equation.calls.grid.comm
    if math.isfinite(value.objective):
        finite = derivative is None or bool(np.isfinite(derivative.vector).all())
        if reduce(space.comm, reduce(comm, finite, "min"), "min")[0]:
            return ""
        return _failure(equation) or _in_adjoint(equation, value)
    return _failure(equation) or _in_state(equation, value)


def _failure(equation: StateEquation) -> str:
    """Return the NumericalError of a user's method, if there was one. Collective."""
    space, comm = equation.calls.space, equation.calls.grid.comm
    texts = [
        text
        for some in comm.allgather(space.comm.allgather(equation.calls.guard.failure))
        for text in some
    ]
    failed = (f"{text} (on rank {i} of {len(texts)})" for i, text in enumerate(texts) if text)
    return next(failed, "")


def _in_adjoint(equation: StateEquation, value: Value) -> str:
    problem = equation.calls.problem
    adjoint, cost = (type(part).__name__ for part in (problem.adjoint, problem.objective))
    return (
        f"the derivative is NaN or infinite although J = {value.objective}: check "
        f"`{adjoint}.vjp` and the derivatives of `{cost}` and the regularisers, or use fewer "
        "levels."
    )


def _in_state(equation: StateEquation, value: Value) -> str:
    """Return what is wrong with the states, or that they are finite. Collective."""
    calls, grid = equation.calls, equation.calls.grid
    # The last solve has left y_0 on the first rank.
    start = calls.space.as_array(equation.start) if grid.comm.rank == 0 else 0.0
    known = reduce(calls.space.comm, bool(np.isfinite(start).all()), "min")
    if not reduce(grid.comm, known, "min")[0]:
        stepper = calls.problem.stepper
        name = type(getattr(stepper, "ode", stepper)).__name__
        return f"the initial state, `{name}.initial`, is NaN or infinite."
    level = equation.solver.bad_level()
    if level is None:
        return (
            f"the objective is {value.objective} although all states are finite: check "
            "`Objective` and the regularisers."
        )
    size = (grid.t[-1] - grid.t[0]) / grid.steps * grid.strides[level]
    ways = "more steps" if level == 0 else "fewer levels, a smaller coarsening factor"
    return (
        f"the states of level {level} (step size {size:.3g}) are not finite: the model "
        "leaves its domain or grows without bounds for this control, or the step is too "
        f"long for its scheme, an explicit one above all. Use {ways} or another control."
    )
