"""Receding horizons: the same problem from another state, and the last solution as a warm start."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from pint.errors import check_kind, real_array
from pint.interface import Problem


def starting_at(problem: Problem, state: Any) -> Problem:
    """Return the same problem with another initial state, which depends on no parameter.

    Everything else is shared with `problem`, machine code too. Not collective.

    Parameters
    ----------
    problem : Problem
        With states that are numpy arrays.
    state : array_like
        y_0, the same on all ranks.

    Raises
    ------
    TypeError, ValueError
        If it is no problem, or no state of it.
    """
    check_kind("starting_at", "problem", problem, Problem, "a pint.Problem")
    state = real_array("starting_at(state=...)", state)
    if state.shape != problem.space.shape:
        raise ValueError(
            f"`starting_at(state=...)` must have the shape {problem.space.shape}, got "
            f"{state.shape}."
        )
    if not np.isfinite(state).all():
        raise ValueError("`starting_at(state=...)` must be finite.")
    stepper, adjoint = copy.copy(problem.stepper), copy.copy(problem.adjoint)
    stepper.initial = _Given(state)  # type: ignore[method-assign]
    adjoint.initial_vjp = _no_derivative  # type: ignore[method-assign]
    return replace(problem, stepper=stepper, adjoint=adjoint, tangent=None)


class _Given:
    """An initial state as a function of the shared fields; can be pickled."""

    def __init__(self, state: np.ndarray) -> None:
        self.state = state

    def __call__(self, theta: Any) -> np.ndarray:
        return self.state


def _no_derivative(theta: Any, lam0: Any) -> dict[str, Any]:
    return {}
