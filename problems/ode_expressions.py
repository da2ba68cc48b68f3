"""The problems of `problems.ode` as expressions, for steps in machine code; needs sympy."""

from __future__ import annotations

from typing import Any, Literal

import sympy

import pint
from pint.steppers.symbolic import SympyODE
from problems.ode import (
    FishingODE,
    LinearODE,
    ODEProblem,
    PendulumODE,
    SwingUp,
    Tracking,
    VanDerPolODE,
)


def expressions(definition: ODEProblem) -> SympyODE:
    """Return state equation and cost of a problem as expressions."""
    ode, cost = definition.ode(), definition.cost()
    initial = ode.initial({})
    y, u = sympy.symbols(f"y:{len(initial)}"), sympy.symbols(f"u:{definition.controls}")
    running, terminal = _costs(cost, y, u)
    return SympyODE(
        y,
        _right_hand_side(ode, y, u),
        {"u": u},
        running_cost=running,
        terminal_cost=terminal,
        initial_state=initial.tolist(),
    )


def problem(
    definition: ODEProblem,
    scheme: str | None = None,
    lower: float | None = None,
    upper: float | None = None,
    *,
    coarse: Any = None,
    backend: Literal["numpy", "compiled", "auto"] = "compiled",
    steps: int | None = None,
) -> pint.Problem:
    """Return the problem as `ODEProblem.problem` does, of expressions.

    Parameters
    ----------
    definition : ODEProblem
    scheme, lower, upper
        As there.
    coarse, backend, steps
        As in `SympyODE.problem`.
    """
    by_hand = definition.problem(scheme, lower, upper)
    name = next(iter(definition.schemes)) if scheme is None else scheme
    rule: Any = definition.schemes[name]
    return expressions(definition).problem(
        name, rule, controls=by_hand.controls, coarse=coarse, backend=backend, steps=steps
    )


def _right_hand_side(ode: Any, y: Any, u: Any) -> list[Any]:
    if isinstance(ode, LinearODE):
        return list(sympy.Matrix(ode.A) * sympy.Matrix(y) + sympy.Matrix(ode.B) * sympy.Matrix(u))
    if isinstance(ode, VanDerPolODE):
        return [(1 - y[1] ** 2) * y[0] - y[1] + u[0], y[0]]
    if isinstance(ode, FishingODE):
        return [
            y[0] * (1 - y[1] - ode.catch[0] * u[0]),
            y[1] * (y[0] - 1 - ode.catch[1] * u[0]),
        ]
    if isinstance(ode, PendulumODE):
        return [y[1], -ode.gravity * sympy.sin(y[0]) - ode.damping * y[1] + u[0]]
    raise TypeError(f"there are no expressions of {type(ode).__name__}.")


def _costs(cost: Any, y: Any, u: Any) -> tuple[Any, Any]:
    """Return running and terminal cost."""
    if isinstance(cost, Tracking):
        distance = sum((one - cost.target) ** 2 for one in y)
        return cost.q * distance + cost.r * sum(one**2 for one in u), cost.s * distance
    if isinstance(cost, SwingUp):
        upright = 1 + sympy.cos(y[0]) + y[1] ** 2 / 2
        return cost.r * sum(one**2 for one in u) / 2, cost.s * upright
    raise TypeError(f"there are no expressions of {type(cost).__name__}.")
