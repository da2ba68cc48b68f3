"""The cost."""

from __future__ import annotations

from abc import ABC
from typing import Any

from pint.errors import overrides
from pint.grid import Steps
from pint.interface.fields import Fields


class Objective(ABC):
    """The cost ``F(sum_n l_n(y_n, y_{n+1}, u_n, theta) + psi(y_N, theta))``.

    Implement the step cost l, the terminal cost psi, or both, each with its derivative: a `Problem`
    insists on that. Step costs and their derivatives take and return batches as the stepper of the
    problem does.
    """

    @property
    def has_outer(self) -> bool:
        """Whether the class defines `outer`."""
        return overrides(self, Objective, "outer")

    @property
    def has_step_cost(self) -> bool:
        """Whether the class defines `step_cost`."""
        return overrides(self, Objective, "step_cost")

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return l of one step, or of each step of a batch, shape (B,)."""
        return 0.0

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        """Return the derivatives of l with respect to y0, y1, u and theta.

        The last two as in `Adjoint.vjp`: by field name, the last one summed over a batch. The
        first two may be the number 0.0 where l does not depend on the state.
        """
        raise TypeError(f"{type(self).__name__} defines `step_cost` but not its derivative.")

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
        """Add what `step_cost_derivative` returns, times `scale`, where it belongs, in place.

        Define it, beside that method, if it is much cheaper. `dy0` and `dy1` may share memory:
        they are rows of one block, one row apart.
        """
        raise NotImplementedError

    @property
    def has_hessian(self) -> bool:
        """Whether the class defines `step_cost_hessian` and `terminal_hessian`."""
        names = ("step_cost_hessian", "terminal_hessian")
        return all(overrides(self, Objective, name) for name in names)

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        """Return the second derivatives of l of each step of a batch, shape (B, k, k).

        The k numbers are those of y0, y1, the blocks of u and theta, one after the other, in the
        order of the mappings. Optional, for batched steps: `GaussNewton` takes differences of
        `step_cost_derivative` otherwise.
        """
        raise NotImplementedError

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        """Return the second derivatives of psi in the numbers of y_N and theta."""
        raise NotImplementedError

    def terminal(self, y: Any, theta: Fields) -> float:
        """Return psi(y_N, theta)."""
        return 0.0

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        """Return the derivatives of psi with respect to y_N and to theta by field name.

        The first one may be the number 0.0.
        """
        return 0.0, {}

    def outer(self, value: float) -> float:
        """Return F(value); by default the value itself."""
        return value

    def outer_derivative(self, value: float) -> float:
        """Return F'(value)."""
        return 1.0
