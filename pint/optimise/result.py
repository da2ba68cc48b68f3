"""What an optimisation reports: a row for each iterate, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pint.controls import Control
from pint.reduced_functional import State


class Status(Enum):
    """How an optimisation ended; the value is a sentence that says what to do."""

    CONVERGED = "The gradient norm is below the tolerance."
    ITERATION_LIMIT = "The iteration limit was reached: raise it to go on."
    LINE_SEARCH_FAILED = (
        "No step along the search direction decreases the objective: use more cycles or a "
        "smaller tolerance of the solves, or check the gradient with `pint.verify.taylor_test`."
    )
    NOT_FINITE = "The step led to NaN or infinity: use a smaller step or a line search."


@dataclass(frozen=True)
class Iterate:
    """One row of the history: the control before update `iteration`.

    Attributes
    ----------
    iteration : int
    objective, cost : float
        J, and its part F(...) without the regularisers.
    gradient_norm : float
        Norm of the (projected) gradient in the control's metric.
    state_residual, adjoint_residual : float
        Of the last cycle; zero for sequential stepping.
    step : float
        Step length of the update that led here; the first trial step in row 0.
    line_search_trials : int
        Trials that were rejected before it.
    state_steps, adjoint_steps : int
        Level-0 steps evaluated so far by the rank that evaluated most.
    seconds : float
        Wall time since the start.
    """

    iteration: int
    objective: float
    cost: float
    gradient_norm: float
    state_residual: float
    adjoint_residual: float
    step: float
    line_search_trials: int
    state_steps: int
    adjoint_steps: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """Where an optimisation ended.

    Attributes
    ----------
    control : Control
    objective, cost, gradient_norm : float
        At `control`, with state and adjoint solved exactly whatever accuracy was used before.
    status : Status
    iterations : int
        Number of updates done.
    history : tuple of Iterate
    state : State
        The exact state at `control`.
    """

    control: Control
    objective: float
    cost: float
    gradient_norm: float
    status: Status
    iterations: int
    history: tuple[Iterate, ...]
    state: State
