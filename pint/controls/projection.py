"""What the bounds leave of a gradient: zero where they allow for no descent."""

from __future__ import annotations

import numpy as np

from pint.controls.control import Control


def projected_gradient(control: Control, gradient: Control) -> Control:
    """Return ``c - P[c - g]``, the gradient itself without bounds. Not collective.

    It is formed as ``g`` clipped to ``[c - upper, c - lower]``, which is the same number: the
    difference of two large controls would lose a small gradient.
    """
    space = control.space
    if not space.bounded:
        return gradient
    vector = control.vector
    return Control(space, np.clip(gradient.vector, vector - space.upper, vector - space.lower))


def held_by_bounds(control: Control, gradient: Control) -> np.ndarray:
    """Return which variables are at a bound towards which ``-g`` points. Not collective.

    Unlike ``c - P[c - g]`` this does not compare the control with the gradient, whose units have
    nothing to do with each other: it is the same in any units of objective and control.
    """
    space, vector, slope = control.space, control.vector, gradient.vector
    return ((vector <= space.lower) & (slope > 0)) | ((vector >= space.upper) & (slope < 0))


def free_part(direction: Control, held: np.ndarray) -> Control:
    """Return a control with zeros where the variables are `held`. Not collective."""
    return Control(direction.space, np.where(held, 0.0, direction.vector))
