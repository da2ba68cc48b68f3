"""The projected gradient: zero where the bounds allow for no descent."""

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
