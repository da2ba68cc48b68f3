"""Sweeps over C-points alone: the F-points between them are computed again where they are needed.

A step of level 0 of these sweeps goes over a whole interval, from a C-point to the next. It is
made of the m time steps of the interval, for a chunk of intervals at a time.
"""

from pint.equations.intervals.parts import Intervals
from pint.equations.intervals.sweeps import AdjointIntervals, StateIntervals

__all__ = ["AdjointIntervals", "Intervals", "StateIntervals"]
