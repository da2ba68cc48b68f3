"""Constraints on states, controls and parameters: at the end, along the path, and integrals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np

from pint.interface import Fields

Place = Literal["begin", "end"]


class Constraint(ABC):
    r"""k equations ``c = 0``, or k inequalities ``c <= 0``.

    Derive from `TerminalConstraint`, `PathConstraint` or `IntegralConstraint`, or let
    `pint.steppers.symbolic.SympyODE` make them of expressions. `pint.AugmentedLagrangian` solves
    problems with constraints.

    Attributes
    ----------
    count : int
        k.
    equality : bool
        Whether ``c = 0``.
    name : str
        For messages.
    """

    count: int = 1
    equality: bool = False
    name: str = ""


class TerminalConstraint(Constraint):
    """``c(y_N, theta) = 0`` or ``<= 0`` at the final state."""

    equality = True

    @abstractmethod
    def value(self, y: Any, theta: Fields) -> Any:
        """Return c of one state, shape (k,)."""

    @abstractmethod
    def vjp(self, y: Any, theta: Fields, weight: np.ndarray) -> tuple[Any, Fields]:
        """Return the derivatives of ``sum_i weight_i c_i`` to y and to theta by field name.

        `weight` has shape (k,).
        """


class _Along(Constraint):
    """A function of time, states, controls and parameters, in batches of B times.

    States have shape (B, *shape), blocks of u (B, *field shape), times (B,), also where the
    stepper of the problem makes single steps.
    """

    @abstractmethod
    def value(self, t: np.ndarray, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return the function, shape (B, k)."""

    @abstractmethod
    def vjp(
        self, t: np.ndarray, y: Any, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[Any, Fields, Fields]:
        """Return the derivatives of ``sum_bi weight_bi value_bi`` to y, u and theta.

        `weight` has shape (B, k). The last two are by field name; the first two have a leading
        axis of length B, the last is summed over the batch. A field left out has derivative zero.
        """


class PathConstraint(_Along):
    """``g(t, y, u, theta) <= 0`` or ``= 0`` once for each step, with the control of the step.

    Attributes
    ----------
    at : 'end' or 'begin'
        The state and the time of the step that count. With 'end' the initial state is free of it.
    """

    at: Place = "end"


class IntegralConstraint(_Along):
    r"""``int g(t, y, u, theta) dt - bound = 0`` or ``<= 0``.

    The integral becomes a state: `pint.AugmentedLagrangian` appends it to the states while it
    solves.

    Attributes
    ----------
    bound : array_like of shape (k,) or number
    quadrature : 'left', 'right', 'midpoint' or 'trapezoid'
        As in `RunningCost`.
    """

    equality = True
    bound: Any = 0.0
    quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid"


KINDS: tuple[type[Constraint], ...] = (
    TerminalConstraint,
    PathConstraint,
    IntegralConstraint,
)
