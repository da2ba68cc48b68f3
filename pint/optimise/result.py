"""What an optimisation reports: a row for each iterate, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from pint.controls import Control
from pint.equations import State
from pint.reduced_functional import ReducedFunctional


class Status(Enum):
    """How an optimisation ended; the value is a sentence that says what to do.

    `Result.message` has the cause, too, where one is known.
    """

    CONVERGED = "The gradient norm is below the tolerance."
    ITERATION_LIMIT = "Iteration limit reached; increase `iterations` to continue."
    TIME_LIMIT = "Time limit reached; increase `time_limit` to continue."
    EVALUATION_LIMIT = "Limit of evaluations reached; increase `evaluations` to continue."
    STOPPED = "The callback stopped the run."
    OPTIONS_MET = "The optimiser of the other package ended by its own `options`."
    LINE_SEARCH_FAILED = (
        "No step along the search direction decreases the objective: use more cycles or a "
        "smaller tolerance of the solves, or check the gradient with `pint.verify.taylor_test`."
    )
    DIVERGING = (
        "Objective and gradient grow from update to update: use a smaller step or a line search."
    )
    NOT_FINITE = (
        "Objective or gradient became NaN or infinite: use a smaller step or a line search, or "
        "mend the cause."
    )
    INTERRUPTED = "A signal ended the run: resume it from its checkpoint."


@dataclass(frozen=True)
class Iterate:
    """One row of the history: the control before update `iteration`.

    Attributes
    ----------
    iteration : int
    objective, cost : float
        J, and its part F(...) without the regularisers.
    regularisers : tuple of float
        The other parts of J, in the order of ``Problem.regularisers``.
    gradient_norm : float
        Norm of the (projected) gradient in the control's metric.
    objective_error, gradient_error : float
        Estimated errors of J and of the gradient, in norm, by inexact solves; zero for exact
        ones, NaN where nothing was estimated: with a fixed number of cycles.
    state_residual, adjoint_residual : float
        Of the last cycle; zero for sequential stepping.
    step : float
        Step length of the update that led here; the first trial step in row 0.
    line_search_trials : int
        Trials of that update besides the one that it ended with.
    state_cycles, adjoint_cycles : int
        MGRIT cycles so far.
    state_steps, adjoint_steps : int
        Level-0 steps evaluated so far by the rank that evaluated most.
    steps_by_level : tuple of int
        State and adjoint steps so far by level, of the rank that evaluated most.
    solves, converged_solves : int
        Solves to a tolerance so far, and those that have met it.
    phases : dict of str to float
        Seconds so far in each of `pint.report.timing.PHASES`, of the rank that spent most.
    seconds : float
        Wall time since the start.
    """

    iteration: int
    objective: float
    cost: float
    regularisers: tuple[float, ...]
    gradient_norm: float
    objective_error: float
    gradient_error: float
    state_residual: float
    adjoint_residual: float
    step: float
    line_search_trials: int
    state_cycles: int
    adjoint_cycles: int
    state_steps: int
    adjoint_steps: int
    steps_by_level: tuple[int, ...]
    solves: int
    converged_solves: int
    phases: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Result:
    """Where an optimisation ended.

    Attributes
    ----------
    control : Control
    objective, cost, gradient_norm : float
        At `control`, with state and adjoint solved exactly whatever accuracy was used before;
        always finite.
    status : Status
    iterations : int
        Number of updates done.
    history : tuple of Iterate
    state : State
        The exact state at `control`.
    peak_memory : tuple of int
        The largest resident memory so far of each rank's process, bytes; 0 if the operating
        system does not report it. See `pint.report.memory`.
    solves, converged_solves : int
        MGRIT solves of the run that were to meet a tolerance, and those that have met it: if they
        are fewer, the iterates were computed with other states and adjoints than their own. Both
        are zero on one level, and for methods of a few cycles without a tolerance.
    functional : ReducedFunctional
        What was minimised.
    stages : tuple of Result
        The results on the coarse grids of `Nested`, in order; empty for other methods.
    cause : str
        With NOT_FINITE why: the NumericalError that a method of the problem has raised, or where
        the first NaN or infinity is. Empty otherwise.
    """

    control: Control
    objective: float
    cost: float
    gradient_norm: float
    status: Status
    iterations: int
    history: tuple[Iterate, ...]
    state: State
    peak_memory: tuple[int, ...]
    solves: int
    converged_solves: int
    functional: ReducedFunctional = field(repr=False)
    stages: tuple[Result, ...] = ()
    cause: str = ""

    @property
    def message(self) -> str:
        """How the run ended, what to do, and the cause if it is known. Not collective."""
        return f"{self.status.value} Cause: {self.cause}" if self.cause else self.status.value

    def states(self) -> np.ndarray | None:
        """Return the states at all N + 1 points on the first rank, None on the others. Collective.

        The array has shape (N + 1, ...); ranks in space are gathered, too.
        """
        return self.functional.gather_states(self.state)
