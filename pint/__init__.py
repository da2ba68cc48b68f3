"""Parallel-in-time optimal control: MGRIT for states and adjoints, reduced space and one-shot."""

import logging as _logging
from importlib import metadata as _metadata
from typing import Any as _Any

from pint import model, verify
from pint.comm import SerialComm, split, world
from pint.controls import (
    Control,
    ControlSpace,
    Regulariser,
    SharedControl,
    Smoothness,
    Tikhonov,
    TimeControl,
    prolong,
    prolong_states,
)
from pint.diagnosis import Diagnosis, diagnose
from pint.errors import (
    CheckpointError,
    ConvergenceError,
    ConvergenceWarning,
    NotFiniteError,
    NumericalError,
    VerificationError,
)
from pint.grid import Steps, TimeGrid
from pint.interface import Adjoint, Examples, Objective, Problem, Tangent, TimeStepper
from pint.mgrit import MGRIT, Accuracy, Convergence
from pint.optimise import (
    Adaptive,
    AugmentedLagrangian,
    BiasControl,
    Checkpoint,
    External,
    GaussNewton,
    Lagged,
    MultiStart,
    Nested,
    NewtonCG,
    OneShot,
    Progress,
    ReducedSpace,
    Result,
    Status,
    Stochastic,
    adam,
    armijo,
    bfgs,
    fixed_step,
    identity,
    lbfgs,
    minimize,
    schedules,
    sgd,
    standard_errors,
    starting_at,
    wolfe,
)
from pint.reduced_functional import ReducedFunctional
from pint.report.history import as_arrays as history_arrays
from pint.report.history import write_csv as write_history
from pint.report.timing import Phases
from pint.states import ArraySpace, StateSpace, Transfer
from pint.steppers import (
    DIRK,
    ODE,
    SDIRK,
    FinalTime,
    IntegralConstraint,
    MeasuredData,
    PathConstraint,
    RungeKutta,
    RunningCost,
    SplitODE,
    SumOfCosts,
    TerminalConstraint,
    Theta,
    coarse,
    free_final_time,
    hat_functions,
)
from pint.steppers.compiled import CompiledODE

try:
    _metadata.distribution("pint")
except _metadata.PackageNotFoundError:
    pass
else:
    raise ImportError(
        "The units library Pint is installed in this environment. It has the same import name "
        "as pint-control (`pint`), and the two overwrite each other's files. Use an environment "
        "of its own for pint-control, or `pip uninstall pint` and reinstall pint-control."
    )

__version__ = "0.2.0"


def __getattr__(name: str) -> _Any:
    # Only who asks for it imports PyTorch.
    if name == "TorchSpace":
        from pint.states.torch import TorchSpace

        return TorchSpace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Silent unless the application sets up logging: without a handler Python prints warnings.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

__all__ = [
    "DIRK",
    "MGRIT",
    "ODE",
    "SDIRK",
    "Accuracy",
    "Adaptive",
    "Adjoint",
    "ArraySpace",
    "AugmentedLagrangian",
    "BiasControl",
    "Checkpoint",
    "CheckpointError",
    "CompiledODE",
    "Control",
    "ControlSpace",
    "Convergence",
    "ConvergenceError",
    "ConvergenceWarning",
    "Diagnosis",
    "Examples",
    "External",
    "FinalTime",
    "GaussNewton",
    "IntegralConstraint",
    "Lagged",
    "MeasuredData",
    "MultiStart",
    "Nested",
    "NewtonCG",
    "NotFiniteError",
    "NumericalError",
    "Objective",
    "OneShot",
    "PathConstraint",
    "Phases",
    "Problem",
    "Progress",
    "ReducedFunctional",
    "ReducedSpace",
    "Regulariser",
    "Result",
    "RungeKutta",
    "RunningCost",
    "SerialComm",
    "SharedControl",
    "Smoothness",
    "SplitODE",
    "StateSpace",
    "Status",
    "Steps",
    "Stochastic",
    "SumOfCosts",
    "Tangent",
    "TerminalConstraint",
    "Theta",
    "Tikhonov",
    "TimeControl",
    "TimeGrid",
    "TimeStepper",
    "Transfer",
    "VerificationError",
    "adam",
    "armijo",
    "bfgs",
    "coarse",
    "diagnose",
    "fixed_step",
    "free_final_time",
    "hat_functions",
    "history_arrays",
    "identity",
    "lbfgs",
    "minimize",
    "model",
    "prolong",
    "prolong_states",
    "schedules",
    "sgd",
    "split",
    "standard_errors",
    "starting_at",
    "verify",
    "wolfe",
    "world",
    "write_history",
]
