"""Rows of the history and the result of an optimisation, for all methods."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.equations import AdjointState, State, Value
from pint.optimise.method import Callback
from pint.optimise.point import Point
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import ReducedFunctional
from pint.report.memory import peak_memory_of_ranks

logger = logging.getLogger(__name__)


class Recorder:
    """Keeps the history of one optimisation, and builds its result. Methods are collective.

    Parameters
    ----------
    functional : ReducedFunctional
    callback : callable or None
        Receives each row, its control and its state, both protected against changes.
    history : list of Iterate
        The rows so far, to which new ones are added in place. Counts continue from the last row.

    Attributes
    ----------
    asked : bool
        Whether this rank's callback has asked to stop.
    """

    def __init__(
        self, functional: ReducedFunctional, callback: Callback | None, history: list[Iterate]
    ) -> None:
        self.functional, self.callback, self.history = functional, callback, history
        self.asked = False
        self._started = time.perf_counter()
        self._offset: dict[str, Any] = {}
        # Of this run alone: the functional may have solved before.
        asked, converged = (history[-1].solves, history[-1].converged_solves) if history else (0, 0)
        solves = functional.solves
        self._solves_before = solves.asked - asked, solves.converged - converged
        # Solvers count from zero in each process, the history from the start of the run.
        if history:
            last, done = history[-1], {**_counts(functional), "seconds": 0.0}
            self._offset = {name: _sum(getattr(last, name), done[name], -1) for name in done}

    def add(self, point: Point, step: float, rejected: int = 0, **more: Any) -> Iterate:
        """Add the row of a point, reached by a step of length `step` after rejected trials.

        `more` are fields of `Iterate` that have a default.
        """
        # A gradient that is not finite has its row, too; the run ends after it.
        with np.errstate(over="ignore", invalid="ignore"):
            gradient_norm = point.gradient_norm()
        return self.add_row(
            point.state,
            point.control,
            point.value,
            gradient_norm,
            step,
            rejected,
            objective_error=point.objective_error,
            gradient_error=point.gradient_error,
            adjoint_residual=_residual(point.adjoint),
            **more,
        )

    def add_row(
        self,
        state: State,
        control: Control,
        value: Value,
        gradient_norm: float,
        step: float,
        rejected: int = 0,
        **errors: Any,
    ) -> Iterate:
        """Add the row of a control and its states; `errors` are zero where they are left out."""
        counts = {**_counts(self.functional), "seconds": time.perf_counter() - self._started}
        counts |= self._whole(counts)
        counts["solves"], counts["converged_solves"] = self._solves()
        errors = {"objective_error": 0.0, "gradient_error": 0.0, "adjoint_residual": 0.0, **errors}
        row = Iterate(
            iteration=len(self.history),
            objective=value.objective,
            cost=value.cost,
            regularisers=value.regularisers,
            gradient_norm=gradient_norm,
            state_residual=_residual(state),
            step=step,
            line_search_trials=rejected,
            **errors,
            **counts,
        )
        self.history.append(row)
        logger.debug(
            "update %d: objective %.10g, gradient norm %.3e, %d + %d cycles so far",
            row.iteration,
            row.objective,
            row.gradient_norm,
            row.state_cycles,
            row.adjoint_cycles,
        )
        if self.callback is not None:
            shown = replace(row, phases=dict(row.phases))  # a row is frozen, its dictionary is not
            of = state.shown(state.solved_control.read_only())
            try:
                answer = self.callback(shown, control.read_only(), of)
            except StopIteration:
                answer = True
            self.asked |= isinstance(answer, (bool, np.bool_)) and bool(answer)
        return row

    def _whole(self, counts: dict[str, Any]) -> dict[str, Any]:
        """Return counts of this process with what the run has counted in earlier ones."""
        return {name: _sum(offset, counts[name]) for name, offset in self._offset.items()}

    def following(self, rows: Sequence[Iterate]) -> list[Iterate]:
        """Return the rows of another recorder as those that follow the last one here."""
        last, following = self.history[-1], []
        for number, row in enumerate(rows, 1):
            counts = self._whole({**vars(row), "seconds": 0.0})
            counts |= {"iteration": last.iteration + number, "seconds": last.seconds + row.seconds}
            following.append(replace(row, **counts))
        return following

    def _solves(self) -> tuple[int, int]:
        """Return the solves to a tolerance of the run so far, and those that have met it."""
        solves, (asked, converged) = self.functional.solves, self._solves_before
        return solves.asked - asked, solves.converged - converged

    def result(self, point: Point, status: Status, iterations: int, cause: str = "") -> Result:
        """Return the result at a point where state and adjoint are exact."""
        norm, state = point.gradient_norm(), point.state
        return self.result_at(point.control, point.value, norm, state, status, iterations, cause)

    def result_at(
        self,
        control: Control,
        value: Value,
        gradient_norm: float,
        state: State,
        status: Status,
        iterations: int,
        cause: str = "",
        note: str = "",
    ) -> Result:
        """Return the result with exact values of a control.

        `cause` says why the run failed, `note` what else it has to say.

        Raises
        ------
        NotFiniteError
            If the objective is NaN or infinite.
        """
        functional = self.functional
        functional.require_finite(value)
        logger.info("%s after %d updates", status.name, iterations)
        solves, converged = self._solves()
        return Result(
            control=control,
            objective=value.objective,
            cost=value.cost,
            gradient_norm=gradient_norm,
            status=status,
            iterations=iterations,
            history=tuple(self.history),
            state=state,
            peak_memory=peak_memory_of_ranks(functional.comm, functional.space.comm),
            solves=solves,
            converged_solves=converged,
            seconds=time.perf_counter() - self._started + self._offset.get("seconds", 0.0),
            functional=functional,
            cause=cause,
            note=note,
        )


def is_finite(point: Point) -> bool:
    """Return whether objective and gradient of a point are finite. Collective."""
    return math.isfinite(point.value.objective + point.gradient_norm())


def _residual(solved: State | AdjointState) -> float:
    return solved.convergence.residual if solved.convergence else 0.0


def _counts(functional: ReducedFunctional) -> dict[str, Any]:
    """Return cycles and steps so far; steps of the rank that evaluated most. Collective."""
    state, adjoint = functional.state.solver, functional.adjoint.solver
    both = [a + b for a, b in zip(state.steps_evaluated, adjoint.steps_evaluated, strict=True)]
    finest = [state.steps_evaluated[0], adjoint.steps_evaluated[0]]
    # One reduction for all counts, since every iterate makes it.
    most = [int(steps) for steps in reduce(functional.comm, [*finest, *both], "max")]
    return {
        "state_cycles": state.cycles_done,
        "adjoint_cycles": adjoint.cycles_done,
        "state_steps": most[0],
        "adjoint_steps": most[1],
        "steps_by_level": tuple(most[2:]),
        "phases": functional.phases.maxima(functional.comm),
    }


def _sum(a: Any, b: Any, sign: int = 1) -> Any:
    if isinstance(b, dict):
        return {name: a[name] + sign * value for name, value in b.items()}
    if isinstance(b, tuple):
        return tuple(x + sign * y for x, y in zip(a, b, strict=True))
    return a + sign * b
