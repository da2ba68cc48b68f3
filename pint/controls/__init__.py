"""Controls: fields, their space and metric, regularisers, and controls on other time grids."""

from pint.controls.control import Control
from pint.controls.fields import ControlField, SharedControl, TimeControl
from pint.controls.lifted import Lifted, on_host
from pint.controls.projection import (
    clipped_gradient,
    free_part,
    held_by_bounds,
    projected_gradient,
)
from pint.controls.prolongation import prolong, prolong_states
from pint.controls.regularisers import Regulariser, Smoothness, Tikhonov
from pint.controls.space import ControlSpace

__all__ = [
    "Control",
    "ControlField",
    "ControlSpace",
    "Lifted",
    "Regulariser",
    "SharedControl",
    "Smoothness",
    "Tikhonov",
    "TimeControl",
    "clipped_gradient",
    "free_part",
    "held_by_bounds",
    "on_host",
    "projected_gradient",
    "prolong",
    "prolong_states",
]
