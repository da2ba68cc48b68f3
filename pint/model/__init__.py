"""Performance model: how long a cycle or a control update takes on P ranks, from measured costs."""

from pint.model.costs import FREE, CallCost, Costs
from pint.model.measurement import measure
from pint.model.prediction import (
    SEQUENTIAL,
    Configuration,
    Prediction,
    Suggestion,
    cycle_time,
    predict,
    sequential_time,
    solve_time,
    strong_scaling,
    suggest,
    update_time,
    weak_scaling,
)

__all__ = [
    "FREE",
    "SEQUENTIAL",
    "CallCost",
    "Configuration",
    "Costs",
    "Prediction",
    "Suggestion",
    "cycle_time",
    "measure",
    "predict",
    "sequential_time",
    "solve_time",
    "strong_scaling",
    "suggest",
    "update_time",
    "weak_scaling",
]
