"""The methods that are tested, each with the methods that return its transposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pint.interface import Adjoint, Problem, TimeStepper
from pint.states import StateSpace
from pint.steppers import (
    DIRK,
    ODE,
    RKC,
    SDIRK,
    DIRKAdjoint,
    RKCAdjoint,
    RungeKutta,
    RungeKuttaAdjoint,
    RunningCost,
    SDIRKAdjoint,
    SplitODE,
    Theta,
    ThetaAdjoint,
)
from pint.steppers.systems import Systems
from pint.verify.arguments import Arguments

_OF_ODE = (
    *(RungeKutta, RungeKuttaAdjoint, Theta, ThetaAdjoint),
    *(SDIRK, SDIRKAdjoint, RKC, RKCAdjoint, DIRK, DIRKAdjoint),
)
"""The ready-made parts that call the methods of an ODE."""

_STATES = ("y", "y0", "y1", "lam")


def user_of(part: Any) -> Any:
    """Return the object that a user wrote: the ODE or the Lagrangian of a ready-made part."""
    if isinstance(part, _OF_ODE):
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
    space : StateSpace or None
        Makes states of the user's kind from arrays; None for methods that take arrays.
    """

    owner: Any
    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    dual: str = ""
    space: StateSpace | None = None

    def __str__(self) -> str:
        return f"{type(self.owner).__name__}.{self.name}"

    def __call__(self, arguments: Arguments, **options: Any) -> dict[str, Any]:
        method = getattr(self.owner, self.name)
        if self.space is not None:
            places = tuple(i for i, name in enumerate(self.takes) if name in _STATES)
            method = self.space.native(method, places)
        result = method(*(arguments[name] for name in self.takes), **options)
        if len(self.gives) == 1:
            return {self.gives[0]: result}
        return dict(zip(self.gives, result, strict=True))


class Jacobian(Method):
    """`ODE.jacobian`, called for its product with lam."""

    def __call__(self, arguments: Arguments, **options: Any) -> dict[str, Any]:
        t, y, u, theta, lam = (arguments[name] for name in self.takes)
        systems = Systems(self.owner, y.shape[-1])
        return {"y": systems.transposed_products(self.owner.jacobian(t, y, u, theta), lam)}


Pairs = list[tuple[Method, list[Method]]]
"""Functions, each with the methods that return its transposes."""


def step_methods(space: StateSpace, stepper: TimeStepper, adjoint: Adjoint) -> Pairs:
    """Return the methods of one level."""
    arguments = ("s", "y", "u", "theta")
    results = {"vjp": ("y", "u", "theta"), "step": ("y",)}
    if type(adjoint).step is Adjoint.step:
        del results["step"]
    transposes = [
        Method(adjoint, name, (*arguments, "lam"), gives, space=space)
        for name, gives in results.items()
    ]
    return [(Method(stepper, "step", arguments, ("y",), "lam", space), transposes)]


def inner_methods(problem: Problem) -> Pairs:
    """Return the methods that a user wrote for ready-made steppers and objectives."""
    ode, cost, pairs = user_of(problem.stepper), user_of(problem.objective), []
    arguments = ("t", "y", "u", "theta")
    if ode is not problem.stepper:
        for part in (ode.implicit, ode.explicit) if isinstance(ode, SplitODE) else (ode,):
            transposes = [Method(part, "f_vjp", (*arguments, "lam"), ("y", "u", "theta"))]
            if type(part).jacobian is not ODE.jacobian or part.bands is not None:
                transposes.append(Jacobian(part, "jacobian", (*arguments, "lam"), ("y",)))
            pairs.append((Method(part, "f", arguments, ("y",), "lam"), transposes))
    if cost is not problem.objective and problem.stepper.batched:
        gradient = Method(cost, "gradient", (*arguments, "weight"), ("y", "u", "theta"))
        pairs.append((Method(cost, "value", arguments, ("cost",), "weight"), [gradient]))
    return pairs


def cost_methods(problem: Problem) -> Pairs:
    """Return the methods of the step cost, which is evaluated on level 0 only."""
    objective, space = problem.objective, problem.space
    if not objective.has_step_cost:
        return []
    arguments = ("s", "y0", "y1", "u", "theta")
    gives = ("y0", "y1", "u", "theta")
    derivative = Method(objective, "step_cost_derivative", arguments, gives, space=space)
    return [(Method(objective, "step_cost", arguments, ("cost",), space=space), [derivative])]


def end_methods(problem: Problem) -> Pairs:
    """Return the methods at the ends of time."""
    first, last = user_of(problem.stepper), user_of(problem.objective)
    transposed, space = user_of(problem.adjoint), problem.space
    end, shared, objective = ("y", "theta"), ("theta",), problem.objective
    return [
        (
            Method(first, "initial", shared, ("y",), "lam", space),
            [Method(transposed, "initial_vjp", ("theta", "lam"), shared, space=space)],
        ),
        (
            Method(last, "terminal", end, ("cost",), space=space),
            [Method(last, "terminal_derivative", end, end, space=space)],
        ),
        (
            Method(objective, "outer", ("sum",), ("cost",)),
            [Method(objective, "outer_derivative", ("sum",), ("sum",))],
        ),
    ]
