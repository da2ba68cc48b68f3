"""Time points, their levels, and which rank owns which of them."""

from pint.grid.runs import Runs
from pint.grid.steps import Steps
from pint.grid.timegrid import LevelLayout, TimeGrid, as_slice
from pint.grid.uniform import UniformTimes

__all__ = ["LevelLayout", "Runs", "Steps", "TimeGrid", "UniformTimes", "as_slice"]
