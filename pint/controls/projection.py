"""What the bounds leave of a gradient: zero where they allow for no descent."""

from __future__ import annotations

import numpy as np

from pint.controls.control import Control


def held_by_bounds(control: Control, gradient: Control) -> np.ndarray:
    """Return where a variable is at a bound towards which ``-g`` points, a local mask."""
    space, vector, slope = control.space, control.vector, gradient.vector
    held: np.ndarray = (vector <= space.lower) & (slope > 0)
    return held | (vector >= space.upper) & (slope < 0)


def projected_gradient(control: Control, gradient: Control) -> Control:
    """Return the gradient, with zeros where a bound holds the variable. Not collective.

    Unlike ``c - P[c - g]`` it does not mix the units of control and gradient.
    """
    if not control.space.bounded:
        return gradient
    return free_part(gradient, held_by_bounds(control, gradient))


def clipped_gradient(control: Control, gradient: Control) -> Control:
    """Return ``c - P[c - g]``, for controls that only approach their bounds. Not collective.

    It is formed as ``g`` clipped to ``[c - upper, c - lower]``, which is the same number: the
    difference of two large controls would lose a small gradient.
    """
    space, vector = control.space, control.vector
    return Control(space, np.clip(gradient.vector, vector - space.upper, vector - space.lower))


def free_part(direction: Control, held: np.ndarray) -> Control:
    """Return a control with zeros where the variables are `held`. Not collective."""
    return Control(direction.space, np.where(held, 0.0, direction.vector))
