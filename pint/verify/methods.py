"""The methods that are tested, each with the methods that return its transposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.interface import Adjoint, Objective, Problem, TimeStepper
from pint.steppers import (
    ODE,
    RungeKutta,
    RungeKuttaAdjoint,
    RunningCost,
    Theta,
    ThetaAdjoint,
)
from pint.verify.arguments import Arguments


def user_of(part: Any) -> Any:
    """Return the object that a user wrote: the ODE or the Lagrangian of a ready-made part."""
    if isinstance(part, (RungeKutta, Theta, RungeKuttaAdjoint, ThetaAdjoint)):
        return part.ode
    return part.cost if isinstance(part, RunningCost) else part


@dataclass(frozen=True)
class Method:
    """A user's method, called with arguments by name; its results by name.

    Attributes
    ----------
    owner : object
    name : str
    takes, gives : tuple of str
        Names of the arguments and of the results.
    dual : str
        The argument that the result is paired with in the dot test; "" for the number one.
    """

    owner: Any
    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    dual: str = ""

    def __str__(self) -> str:
        return f"{type(self.owner).__name__}.{self.name}"

    def __call__(self, arguments: Arguments, **options: Any) -> dict[str, Any]:
        values = [arguments[name] for name in self.takes]
        result = getattr(self.owner, self.name)(*values, **options)
        if len(self.gives) == 1:
            return {self.gives[0]: result}
        return dict(zip(self.gives, result, strict=True))


class Jacobian(Method):
    """`ODE.jacobian`, called for its product with lam."""

    def __call__(self, arguments: Arguments, **options: Any) -> dict[str, Any]:
        t, y, u, theta, lam = (arguments[name] for name in self.takes)
        matrix = np.asarray(self.owner.jacobian(t, y, u, theta))
        shape = (*y.shape, y.shape[-1])
        if matrix.shape != shape:
            raise ValueError(f"must return an array of shape {shape}, got {matrix.shape}")
        return {"y": np.einsum("bij,bi->bj", matrix, lam)}


Pairs = list[tuple[Method, list[Method]]]
"""Functions, each with the methods that return its transposes."""


def step_methods(stepper: TimeStepper, adjoint: Adjoint) -> Pairs:
    """Return the methods of one level."""
    arguments = ("s", "y", "u", "theta")
    transposes = [Method(adjoint, "vjp", (*arguments, "lam"), ("y", "u", "theta"))]
    if type(adjoint).step is not Adjoint.step:
        transposes.append(Method(adjoint, "step", (*arguments, "lam"), ("y",)))
    return [(Method(stepper, "step", arguments, ("y",), "lam"), transposes)]


def inner_methods(problem: Problem) -> Pairs:
    """Return what a user wrote for ready-made steppers and objectives."""
    ode, cost, pairs = user_of(problem.stepper), user_of(problem.objective), []
    arguments = ("t", "y", "u", "theta")
    if ode is not problem.stepper:
        transposes = [Method(ode, "f_vjp", (*arguments, "lam"), ("y", "u", "theta"))]
        if type(ode).jacobian is not ODE.jacobian:
            transposes.append(Jacobian(ode, "jacobian", (*arguments, "lam"), ("y",)))
        pairs.append((Method(ode, "f", arguments, ("y",), "lam"), transposes))
    if cost is not problem.objective and problem.stepper.batched:
        gradient = Method(cost, "gradient", (*arguments, "weight"), ("y", "u", "theta"))
        pairs.append((Method(cost, "value", arguments, ("cost",), "weight"), [gradient]))
    return pairs


def cost_methods(objective: Objective) -> Pairs:
    """Return the methods of the step cost, which is evaluated on level 0 only."""
    if not objective.has_step_cost:
        return []
    arguments = ("s", "y0", "y1", "u", "theta")
    derivative = Method(objective, "step_cost_derivative", arguments, ("y0", "y1", "u", "theta"))
    return [(Method(objective, "step_cost", arguments, ("cost",)), [derivative])]


def end_methods(problem: Problem) -> Pairs:
    """Return the methods at the ends of time."""
    first, last, end = user_of(problem.stepper), user_of(problem.objective), ("y", "theta")
    transposed = user_of(problem.adjoint)
    objective = problem.objective
    return [
        (
            Method(first, "initial", ("theta",), ("y",), "lam"),
            [Method(transposed, "initial_vjp", ("theta", "lam"), ("theta",))],
        ),
        (
            Method(last, "terminal", end, ("cost",)),
            [Method(last, "terminal_derivative", end, ("y", "theta"))],
        ),
        (
            Method(objective, "outer", ("sum",), ("cost",)),
            [Method(objective, "outer_derivative", ("sum",), ("sum",))],
        ),
    ]
