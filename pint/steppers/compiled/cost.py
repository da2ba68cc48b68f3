"""Running costs in machine code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.interface import Fields, Objective
from pint.steppers.compiled.machine import Machine
from pint.steppers.compiled.stepper import NO_NUMBERS, FlatFields, are_floats
from pint.steppers.running_cost import RunningCost


class CompiledCost(Objective):
    """A `RunningCost` whose running cost is computed by machine code.

    Parameters
    ----------
    cost : RunningCost
        It also computes what is not of float64.
    machine : Machine
    names, shared : sequence of str
        As for `CompiledStepper`.
    """

    def __init__(
        self, cost: RunningCost, machine: Machine, names: Sequence[str], shared: Sequence[str]
    ) -> None:
        self.cost, self.machine, self.fields = cost, machine, FlatFields(names, shared)
        weights = dict(cost.nodes)
        self.weights = tuple(weights.get(place, 0.0) for place in (0.0, 0.5, 1.0))

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        if not are_floats(y0, u, {**theta, "y1": y1}):
            return self.cost.step_cost(s, y0, y1, u, theta)
        values = np.empty(len(y0))
        self.machine.kernels["costs"](*self._inputs(s, y0, y1, u, theta), *self.weights, values)
        return values

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        if not are_floats(y0, u, {**theta, "y1": y1}):
            return self.cost.step_cost_derivative(s, y0, y1, u, theta)
        dy0, dy1 = np.zeros(y0.shape), np.zeros(y1.shape)
        du = {name: np.zeros(block.shape) for name, block in u.items()}
        dtheta = {name: np.zeros(values.shape) for name, values in theta.items()}
        self.add_step_cost_derivative(s, y0, y1, u, theta, 1.0, dy0, dy1, (du, dtheta))
        return dy0, dy1, du, dtheta

    def add_step_cost_derivative(
        self,
        s: Steps,
        y0: Any,
        y1: Any,
        u: Fields,
        theta: Fields,
        scale: float,
        dy0: Any,
        dy1: Any,
        into: tuple[Fields, Fields],
    ) -> None:
        inputs = self._inputs(s, y0, y1, u, theta)
        sums = np.zeros(len(inputs[-1]))
        places = self.fields.blocks(into[0])
        self.machine.kernels["cost_slopes"](
            *inputs, *self.weights, scale, dy0, dy1, places, sums, len(y0)
        )
        self.fields.add_numbers(into[1], sums)

    @property
    def has_hessian(self) -> bool:
        return self.cost.has_hessian

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        return self.cost.step_cost_hessian(s, y0, y1, u, theta)

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        return self.cost.terminal_hessian(y, theta)

    def terminal(self, y: Any, theta: Fields) -> float:
        return self.cost.terminal(y, theta)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return self.cost.terminal_derivative(y, theta)

    def _inputs(self, s: Any, y0: Any, y1: Any, u: Fields, theta: Fields) -> tuple[Any, ...]:
        times = s.t0.reshape(-1) if self.machine.code.timed else NO_NUMBERS
        sizes = np.array([s.size]) if s.size is not None else (s.t1 - s.t0).reshape(-1)
        return times, sizes, y0, y1, self.fields.blocks(u), self.fields.numbers(theta)
