"""Performance model: how long a control update takes on P ranks, from measured costs."""

from pint.model.costs import CallCost, Costs
from pint.model.measurement import measure
from pint.model.prediction import SEQUENTIAL, Configuration, Prediction, predict, solve_time
from pint.model.suggestion import Suggestion, strong_scaling, suggest, weak_scaling

__all__ = [
    "SEQUENTIAL",
    "CallCost",
    "Configuration",
    "Costs",
    "Prediction",
    "Suggestion",
    "measure",
    "predict",
    "solve_time",
    "strong_scaling",
    "suggest",
    "weak_scaling",
]
