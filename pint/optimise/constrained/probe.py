"""How the objective bends in the direction that reduces the violations: for first penalties."""

from __future__ import annotations

import math
from typing import Any

from pint.controls import Control
from pint.equations import March, State
from pint.interface import Fields, Objective
from pint.reduced_functional import ReducedFunctional


class Nothing(Objective):
    """The cost zero."""

    def terminal(self, y: Any, theta: Fields) -> float:
        return 0.0

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return 0.0, {}


def solved(functional: ReducedFunctional, control: Control) -> State:
    """Return the exact state of a control. Collective."""
    state = functional.state.new()
    functional.state.solve(state, Control(functional.controls, control.vector), March())
    return state


def slope(functional: ReducedFunctional, state: State) -> Control:
    """Return the exact derivative at an exact state. Collective."""
    adjoint = functional.adjoint.new(all_points=False)
    functional.adjoint.solve(adjoint, state, March())
    return functional.derivative_of(state, adjoint)


def curvature(
    functional: ReducedFunctional, penalties: ReducedFunctional, state: State, start: Control
) -> float:
    r"""Return half the second derivative of J along a step s, 0.0 if it is not known. Collective.

    The step of steepest descent that would remove the violation if constraints were linear:
    :math:`s = -2P/|\nabla P|^2 \nabla P`.

    Parameters
    ----------
    functional : ReducedFunctional
        J.
    penalties : ReducedFunctional
        P, half the sum of the squared violations over the squares of their sizes.
    state : State
        The exact state of `penalties` at `start`.
    start : Control
        In the space of `functional`.
    """
    space = functional.controls
    value = penalties.objective(state).objective
    if not 0 < value < math.inf:
        return 0.0
    derivative = Control(space, slope(penalties, state).vector)
    gradient = space.riesz(derivative)
    squared = space.pair(derivative, gradient)
    if not 0 < squared < math.inf:
        return 0.0
    ahead = space.project(start - (2.0 * value / squared) * gradient)
    before = slope(functional, solved(functional, start))
    change = slope(functional, solved(functional, ahead)) - before
    found = 0.5 * abs(space.pair(change, ahead - start))
    return found if math.isfinite(found) else 0.0
