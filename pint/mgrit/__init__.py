"""Multigrid reduction in time for a one-step recursion: knows a propagator, a grid and a space."""

from pint.mgrit.accuracy import Accuracy, Convergence
from pint.mgrit.delta import Corrected, Correction, Delta, correction_rank
from pint.mgrit.hierarchy import Propagator
from pint.mgrit.solver import MGRIT, Guess, Storage

__all__ = [
    "MGRIT",
    "Accuracy",
    "Convergence",
    "Corrected",
    "Correction",
    "Delta",
    "Guess",
    "Propagator",
    "Storage",
    "correction_rank",
]
