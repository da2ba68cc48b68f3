"""Objectives that are integrals over time: a running cost and a quadrature rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from pint.errors import check_choice, check_methods, overrides
from pint.grid import Steps
from pint.interface import Fields, Objective
from pint.steppers.runge_kutta import add_fields


class Lagrangian(ABC):
    r"""The integrand L of a cost ``int L(t, y, u, theta) dt + psi(y(T), theta)``, and psi.

    `value` and `gradient` work on batches: states have shape (B, \*shape), blocks of u
    (B, \*field shape), times (B,).
    """

    @abstractmethod
    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        """Return L, shape (B,)."""

    @abstractmethod
    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        """Return the derivatives of ``sum_b weight_b L_b`` to y, u and theta.

        `weight` has shape (B,). The last two are by field name; the first two have a leading
        axis of length B, the last is summed over the batch. A field left out has derivative
        zero.
        """

    @property
    def has_hessian(self) -> bool:
        """Whether the class defines `hessian` and `terminal_hessian`."""
        names = ("hessian", "terminal_hessian")
        return all(overrides(self, Lagrangian, name) for name in names)

    def hessian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        """Return the second derivatives of L, shape (B, k, k); optional.

        The k numbers are those of y, the blocks of u and theta, in the order of the mappings.
        """
        raise NotImplementedError

    def terminal_hessian(self, y: Any, theta: Fields) -> np.ndarray:
        """Return the second derivatives of psi in the numbers of y and theta."""
        raise NotImplementedError

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi of one state; zero by default."""
        return 0.0

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi with respect to y and to theta by field name.

        The first one may be the number 0.0.
        """
        return 0.0, {}


NODES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "left": ((0.0, 1.0),),
    "right": ((1.0, 1.0),),
    "midpoint": ((0.5, 1.0),),
    "trapezoid": ((0.0, 0.5), (1.0, 0.5)),
}
"""The nodes in the step, 0 its beginning and 1 its end, each with its weight."""


class RunningCost(Objective):
    """A running cost, integrated by a quadrature rule, and a terminal cost.

    The control is constant over a step.

    ===============  ============================================================
    ``'left'``       ``dt L(t0, y0, u)``
    ``'right'``      ``dt L(t1, y1, u)``
    ``'midpoint'``   ``dt L((t0 + t1) / 2, (y0 + y1) / 2, u)``
    ``'trapezoid'``  ``dt / 2 (L(t0, y0, u) + L(t1, y1, u))``
    ===============  ============================================================

    Parameters
    ----------
    cost : Lagrangian
    quadrature : 'left', 'right', 'midpoint' or 'trapezoid'

    Raises
    ------
    TypeError
        If `cost` is not a Lagrangian, or defines `terminal` without its derivative.
    ValueError
        If the quadrature is unknown.

    Notes
    -----
    Steps are batches: use it with a stepper that has ``batched = True``.
    """

    def __init__(
        self,
        cost: Lagrangian,
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
    ) -> None:
        if not isinstance(cost, Lagrangian):
            raise TypeError(
                f"`RunningCost(cost=...)` must be a Lagrangian, got {type(cost).__name__}."
            )
        check_methods(cost, Lagrangian, {"terminal": "terminal_derivative"}, [])
        check_choice("RunningCost", "quadrature", quadrature, list(NODES))
        self.cost = cost
        self.quadrature = quadrature
        self.nodes = NODES[quadrature]

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        t0, dt = _flat(s.t0), _flat(s.dt)
        total: Any = 0.0
        for place, weight in self.nodes:
            value = self.cost.value(t0 + place * dt, between(y0, y1, place), u, theta)
            total = total + weight * dt * value
        return total

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        t0, dt = _flat(s.t0), _flat(s.dt)
        dy0: Any = 0.0
        dy1: Any = 0.0
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        for place, weight in self.nodes:
            of_y, of_u, of_theta = self.cost.gradient(
                t0 + place * dt, between(y0, y1, place), u, theta, weight * dt
            )
            if place < 1:
                dy0 = dy0 + (1 - place) * of_y
            if place > 0:
                dy1 = dy1 + place * of_y
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return dy0, dy1, du, dtheta

    @property
    def has_hessian(self) -> bool:
        return self.cost.has_hessian

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        t0, dt = np.reshape(s.t0, -1), np.reshape(s.dt, -1)
        n = int(np.prod(np.shape(y0)[1:], dtype=int))
        result: Any = None
        for place, weight in self.nodes:
            found = self.cost.hessian(t0 + place * dt, between(y0, y1, place), u, theta)
            found = (weight * dt)[:, None, None] * found
            size = n + found.shape[1]
            if result is None:
                result = np.zeros((len(dt), size, size))
            # y = (1 - place) y0 + place y1
            result[:, 2 * n :, 2 * n :] += found[:, n:, n:]
            ends = ((1.0 - place, slice(n)), (place, slice(n, 2 * n)))
            for factor, at in ends:
                if factor == 0.0:
                    continue
                result[:, at, 2 * n :] += factor * found[:, :n, n:]
                result[:, 2 * n :, at] += factor * found[:, n:, :n]
                for other, beside in ends:
                    result[:, at, beside] += factor * other * found[:, :n, :n]
        return result

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        return self.cost.terminal_hessian(y, theta)

    def terminal(self, y: Any, theta: Fields) -> float:
        return self.cost.terminal(y, theta)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return self.cost.terminal_derivative(y, theta)


def _flat(times: Any) -> Any:
    """Return times in one axis."""
    return times.reshape(-1) if hasattr(times, "reshape") else np.reshape(times, -1)


def between(y0: Any, y1: Any, place: float) -> Any:
    """Return the state at a place in the step, interpolated between its two ends."""
    if place in (0.0, 1.0):
        return y1 if place else y0
    return (1 - place) * y0 + place * y1
