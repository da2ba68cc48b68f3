"""The linear systems of implicit steps: dense, banded or sparse matrices ``M - h f_y``."""

from pint.steppers.systems.kinds import Systems
from pint.steppers.systems.mass import Mass
from pint.steppers.systems.system import System

__all__ = ["Mass", "System", "Systems"]
