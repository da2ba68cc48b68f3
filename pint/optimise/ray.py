"""The search direction of an update, and the controls along it."""

from __future__ import annotations

from dataclasses import dataclass

from pint.controls import Control, free_part, held_by_bounds
from pint.optimise.lbfgs import InverseHessian


@dataclass(frozen=True)
class Ray:
    """The controls ``P[c + a d]``, a >= 0, from a control c along a direction d.

    Attributes
    ----------
    origin, direction : Control
        c and d.
    slope : float
        Of the objective at c, (g, d); negative.
    is_plain : bool
        Whether d is the negative gradient, whose length says nothing about the step.
    """

    origin: Control
    direction: Control
    slope: float
    is_plain: bool

    def at(self, step: float) -> Control:
        """Return ``P[c + step d]``."""
        return self.origin.space.project(self.origin + step * self.direction)

    def slope_at(self, control: Control, step: float, gradient: Control) -> float:
        """Return the slope of the objective at ``control = at(step)``. Collective."""
        space, direction = control.space, self.direction
        if space.bounded:  # what the bounds hold does not move along the ray
            free = control.vector == (self.origin + step * direction).vector
            direction = free_part(direction, ~free)
        return space.inner(gradient, direction)


def descent_ray(control: Control, gradient: Control, hessian: InverseHessian) -> Ray:
    """Return the ray along ``-H g`` on the variables that the bounds leave free. Collective.

    A variable at a bound towards which ``-g`` points stays there. The negative gradient takes
    over where ``-H g`` is not a descent direction, (g, d) > -1e-8 |g| |d|.
    """
    space = control.space
    free = gradient
    if space.bounded:
        held = held_by_bounds(control, gradient)
        # Pairs restricted likewise: the curvature of held variables must not bend the others.
        free = free_part(gradient, held)
        hessian = hessian.restricted(~held)
    direction = -hessian.apply(free)
    slope, norm = space.inner(free, direction), space.norm(free)
    if not slope < -1e-8 * norm * space.norm(direction):
        return Ray(control, -free, -norm * norm, is_plain=True)
    return Ray(control, direction, slope, is_plain=not hessian.pairs)
