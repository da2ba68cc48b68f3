"""A problem whose steps and costs are those of another one, at other times and controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pint.controls import ControlField
from pint.errors import overrides
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, Problem, TimeStepper
from pint.states import StateSpace, Transfer

Result = Callable[[Steps, Fields, Fields], Any]
"""What a method returns, as a function of steps, blocks and shared fields."""


class Change(ABC):
    """How times and fields of the problem itself follow from those of the changed one."""

    @abstractmethod
    def arguments(self, s: Steps, u: Fields, theta: Fields) -> tuple[Steps, Fields, Fields]:
        """Return the steps, blocks and shared fields of the problem itself."""

    def shared(self, theta: Fields) -> Fields:
        """Return the shared fields of the problem itself; by default all."""
        return theta

    @abstractmethod
    def derivatives(
        self,
        s: Steps,
        u: Fields,
        theta: Fields,
        du: Fields,
        dtheta: Fields,
        name: str,
        result: Result,
        weights: Any,
    ) -> tuple[Fields, Fields]:
        """Return derivatives by field, from those by the fields of the problem itself.

        They are those of what the problem's own method `name`, 'step' or 'step_cost', returns,
        times `weights`; `result` calls it at other steps and fields of its own.
        """


def changed(problem: Problem, change: Change, controls: Mapping[str, ControlField]) -> Problem:
    """Return a problem with other controls, from which a change makes those of `problem`.

    Its steps have no tangent of their own.
    """
    stepper = _Stepper(problem.stepper, change)
    return replace(
        problem,
        stepper=stepper,
        adjoint=_Adjoint(problem.adjoint, stepper),
        objective=_Objective(problem.objective, change),
        controls=controls,
        tangent=None,
    )


class _Stepper(TimeStepper):
    def __init__(self, stepper: TimeStepper, change: Change) -> None:
        self.stepper, self.change = stepper, change
        self.batched, self.in_place = stepper.batched, stepper.in_place
        self.uses_guess, self.kept_shape = stepper.uses_guess, stepper.kept_shape
        self.kept_type = stepper.kept_type

    @property
    def space(self) -> StateSpace:
        return self.stepper.space

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, **out: Any) -> Any:
        s, u, theta = self.change.arguments(s, u, theta)
        return self.stepper.step(s, y, u, theta, **out)

    def initial(self, theta: Fields) -> Any:
        return self.stepper.initial(self.change.shared(theta))

    def coarsen(self, level: int) -> TimeStepper:
        coarse = self.stepper.coarsen(level)
        return self if coarse is self.stepper else _Stepper(coarse, self.change)

    def transfer(self, level: int) -> Transfer | None:
        return self.stepper.transfer(level)


class _Adjoint(Adjoint):
    def __init__(self, adjoint: Adjoint, stepper: _Stepper) -> None:
        self.adjoint, self.stepper = adjoint, stepper
        if overrides(adjoint, Adjoint, "step"):
            # No method of this class: a reference to itself would keep it, and what it holds.
            self.step = partial(_step, stepper.change, adjoint)  # type: ignore[method-assign]

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        change, step = self.stepper.change, self.stepper.stepper.step
        inner, blocks, shared = change.arguments(s, u, theta)
        dy, du, dtheta = self.adjoint.vjp(inner, y, blocks, shared, lam)

        def result(s: Steps, u: Fields, theta: Fields) -> Any:
            return step(s._replace(kept=None), y, u, theta)

        return dy, *change.derivatives(s, u, theta, du, dtheta, "step", result, lam)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.adjoint.initial_vjp(self.stepper.change.shared(theta), lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarsen(level)
        assert isinstance(coarse, _Stepper)
        return _Adjoint(self.adjoint.coarsen(level), coarse)


def _step(
    change: Change, adjoint: Adjoint, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
) -> Any:
    """Return ``Phi_y^T lam`` by the method of the problem itself."""
    s, u, theta = change.arguments(s, u, theta)
    return adjoint.step(s, y, u, theta, lam)


class _Objective(Objective):
    def __init__(self, objective: Objective, change: Change) -> None:
        self.objective, self.change = objective, change

    @property
    def has_outer(self) -> bool:
        return self.objective.has_outer

    @property
    def has_step_cost(self) -> bool:
        return self.objective.has_step_cost

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        s, u, theta = self.change.arguments(s, u, theta)
        return self.objective.step_cost(s, y0, y1, u, theta)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        cost, slopes = self.objective.step_cost, self.objective.step_cost_derivative
        inner, blocks, shared = self.change.arguments(s, u, theta)
        dy0, dy1, du, dtheta = slopes(inner, y0, y1, blocks, shared)

        def result(s: Steps, u: Fields, theta: Fields) -> Any:
            return cost(s, y0, y1, u, theta)

        return dy0, dy1, *self.change.derivatives(s, u, theta, du, dtheta, "step_cost", result, 1.0)

    def terminal(self, y: Any, theta: Fields) -> float:
        return self.objective.terminal(y, self.change.shared(theta))

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return self.objective.terminal_derivative(y, self.change.shared(theta))

    def outer(self, value: float) -> float:
        return self.objective.outer(value)

    def outer_derivative(self, value: float) -> float:
        return self.objective.outer_derivative(value)
