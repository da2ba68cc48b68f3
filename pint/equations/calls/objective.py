"""The calls of an objective: step costs, terminal cost, and their derivatives."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pint.equations.calls.guard import NOTHING, Guard
from pint.equations.results import Views, checked, checked_number, checked_slope, spoil, unpacked
from pint.errors import overrides
from pint.grid import Steps
from pint.interface import Fields, Objective


class ObjectiveCalls:
    """The calls of an objective; a method that fails has the result NaN.

    Parameters
    ----------
    objective : Objective
    batched : bool
        Whether step costs are those of many steps.
    guard : Guard
    """

    def __init__(self, objective: Objective, batched: bool, guard: Guard) -> None:
        self.objective, self.batched, self.guard = objective, batched, guard

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> float:
        """Return the sum of the costs of some steps, as `visit` gives them."""
        objective, name = self.objective, "step_cost"
        costs = self.guard.returned(objective, name, (1, 2), s, y0, y1, u, theta)
        if self.batched and costs is not NOTHING:
            expected = np.broadcast_to(0.0, len(y0))
            return float(checked(costs, expected, objective, name).sum())
        return checked_number(costs, objective, name)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        """Return the derivatives of some steps' costs; the first two may be 0.0 or NaN."""
        objective, name = self.objective, "step_cost_derivative"
        slopes = self.guard.returned(objective, name, (1, 2), s, y0, y1, u, theta)
        if slopes is NOTHING:
            return slopes, slopes, {}, {}
        dy0, dy1, du, dtheta = unpacked(slopes, 4, objective, name)
        return (
            checked_slope(dy0, y0, objective, name),
            checked_slope(dy1, y1, objective, name),
            du,
            dtheta,
        )

    @cached_property
    def adds_slopes(self) -> bool:
        """Whether the objective adds the derivatives of step costs where they belong."""
        return overrides(self.objective, Objective, "add_step_cost_derivative")

    def add_step_cost_derivative(self, *arguments: Any, into: Views) -> None:
        """Add the derivatives of some steps' costs, in place; arguments as of the objective."""
        objective, name = self.objective, "add_step_cost_derivative"
        if self.guard.returned(objective, name, (), *arguments, into) is NOTHING:
            spoil(into)

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return the second derivatives of some steps' costs, or the number NaN."""
        return self._hessian("step_cost_hessian", (1, 2), s, y0, y1, u, theta)

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        """Return the second derivatives of psi, or the number NaN."""
        return self._hessian("terminal_hessian", (0,), y, theta)

    def _hessian(self, name: str, states: tuple[int, ...], *arguments: Any) -> Any:
        objective, (*first, theta) = self.objective, arguments
        lead: tuple[int, ...] = ()
        sizes = [sum(np.size(part) for part in theta.values())]
        if name == "terminal_hessian":
            sizes.append(np.size(first[0]))
        else:
            lead = (len(first[1]),)
            blocks = (first[1], first[2], *first[3].values())
            sizes += [int(np.prod(np.shape(block)[1:], dtype=int)) for block in blocks]
        found = self.guard.returned(objective, name, states, *arguments)
        expected = np.broadcast_to(0.0, (*lead, sum(sizes), sum(sizes)))
        return found if found is NOTHING else checked(found, expected, objective, name)

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi(y_N, theta)."""
        objective = self.objective
        value = self.guard.returned(objective, "terminal", (0,), y, theta)
        return checked_number(value, objective, "terminal")

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi; the first one may be 0.0 or NaN."""
        objective, name = self.objective, "terminal_derivative"
        slopes = self.guard.returned(objective, name, (0,), y, theta)
        if slopes is NOTHING:
            return slopes, {}
        dy, dtheta = unpacked(slopes, 2, objective, name)
        return checked_slope(dy, y, objective, name), dtheta
