"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.errors import check_kind, integer, number
from pint.grid import TimeGrid
from pint.optimise.checkpoint import Checkpoint, resume
from pint.optimise.interruption import interruptible
from pint.optimise.lbfgs import InverseHessian, lbfgs
from pint.optimise.line_search import LineSearch, armijo
from pint.optimise.method import Callback, Method
from pint.optimise.point import Candidate, Point
from pint.optimise.recorder import Recorder, is_finite
from pint.optimise.result import Result, Status
from pint.optimise.run import Run
from pint.optimise.safeguard import Safeguard, move_to_best
from pint.optimise.strategy import Strategy
from pint.reduced_functional import ReducedFunctional

GROWTH = 1e8
"""A gradient so many times the least one of the history has diverged."""


@dataclass(frozen=True, kw_only=True)
class Descent(Method):
    """A quasi-Newton method whose states and adjoints are solved by a `Strategy`.

    Each solve starts from the last trajectories. Candidates are solved on a second trajectory, so
    that a rejected one leaves the accepted state as it was; the state of an accepted one is the
    next state and is not solved again.

    The result does not depend on inexact numbers. When no step is accepted, the reason may be
    the error of the objectives that are compared: the strategy then solves more accurately,
    and the search is repeated; after that the quasi-Newton pairs are dropped. A gradient below
    the tolerance is confirmed with exact solves before the loop ends, and so is the result.

    Parameters
    ----------
    iterations : int
        Largest number of control updates.
    gradient_tolerance : float
        Stop at this gradient norm, in the control's metric.
    hessian : InverseHessian
        `lbfgs(memory)`, `bfgs()` or `identity()`.
    line_search : LineSearch
        `armijo()` or `fixed_step()`.
    step : float
        First trial step of every update, dimensionless.
    """

    iterations: int = 100
    gradient_tolerance: float = 1e-8
    hessian: InverseHessian = field(default_factory=lbfgs)
    line_search: LineSearch = field(default_factory=armijo)
    step: float = 1.0

    takes_checkpoint: ClassVar[bool] = True

    def check_common_options(self) -> None:
        """Raise TypeError or ValueError if one of the options above is out of range."""
        owner = type(self).__name__
        object.__setattr__(self, "iterations", integer(owner, "iterations", self.iterations, 0))
        number(owner, "gradient_tolerance", self.gradient_tolerance)
        number(owner, "step", self.step, positive=True)
        hessians, searches = "`lbfgs()`, `bfgs()` or `identity()`", "`armijo()` or `fixed_step()`"
        check_kind(owner, "hessian", self.hessian, InverseHessian, hessians)
        check_kind(owner, "line_search", self.line_search, LineSearch, searches)

    @abstractmethod
    def strategy(self, functional: ReducedFunctional) -> Strategy:
        """Return a new strategy for the solves of one run."""

    def require_levels(self, grid: TimeGrid) -> None:
        """Raise ValueError on a grid of one level."""
        if grid.levels < 2:
            raise ValueError(
                f"`{type(self).__name__}` needs a grid of at least 2 levels; with one, state and "
                "adjoint are exact and `pint.ReducedSpace()` does the same."
            )

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        strategy = Safeguard(self.strategy(functional))
        run = Run(Point(functional), strategy, self.hessian, self.step)
        resumed = resume(run, checkpoint)  # its errors are raised identically on every rank
        start = functional.controls.project(start)
        with ending_all_ranks(functional.ranks_to_end):
            candidate, recorder = Candidate(functional), Recorder(functional, callback, run.history)
            with interruptible(functional, checkpoint is not None) as interrupted:
                if not resumed:
                    run.strategy.begin(run.point, start)
                    recorder.add(run.point, run.step)
                # A run that has just been resumed is in the file already.
                status = self._ended(run, interrupted(), None if resumed else checkpoint)
                while status is None:
                    status = self._update(run, candidate)
                    if status is None:
                        recorder.add(run.point, run.step, run.rejected)
                        run.note_best()
                        status = self._ended(run, interrupted(), checkpoint)
            return self._result(run, candidate, recorder, start, status)

    def _ended(self, run: Run, stop: bool, checkpoint: Checkpoint | None) -> Status | None:
        """Return why the loop ends at the current iterate, if it does. Collective."""
        point, history = run.point, run.history
        gradient_norm, least = point.gradient_norm(), min(row.gradient_norm for row in history)
        at_limit = history[-1].iteration >= self.iterations
        at_tolerance = gradient_norm <= self.gradient_tolerance
        if checkpoint is not None:
            checkpoint.save_if_due(run, at_once=stop or at_limit or at_tolerance)
        if stop:
            return Status.INTERRUPTED
        if not math.isfinite(gradient_norm):
            run.strategy.solve_exactly(point)
            gradient_norm = point.gradient_norm()
            if not is_finite(point):
                return Status.NOT_FINITE
        # Gradients of the size of rounding grow by chance, those of a descent with its objective.
        risen = point.value.objective > history[0].objective
        if risen and gradient_norm > GROWTH * least:
            return Status.DIVERGING
        if at_tolerance:
            # Inexact solves may have found a small gradient where the true one is not.
            inexact = point.gradient
            point.solve_exactly()
            if point.gradient_norm() <= self.gradient_tolerance:
                return Status.CONVERGED
            run.strategy.rest_from(point, inexact, self.gradient_tolerance)
        return Status.ITERATION_LIMIT if at_limit else None

    def _update(self, run: Run, candidate: Candidate) -> Status | None:
        """Move the run's point by one update, in place; return why there is none. Collective."""
        point, strategy, space = run.point, run.strategy, run.point.control.space
        phases, decrease = point.functional.phases, self.line_search.decrease
        run.rejected = 0
        while True:
            with phases("update"):
                direction = descent_direction(point.control, point.gradient, run.hessian)
            # Near the optimum a good step decreases J by less than the error of J.
            bound = point.value.objective + point.comparison_error(strategy.tolerance)
            search = self.line_search.begin(bound, self.step)
            while search.is_open:
                # State sweep, on the candidate's trajectory, and objective
                control = space.project(point.control + search.step * direction)
                with np.errstate(over="ignore", invalid="ignore"):  # the line search deals with it
                    trial = strategy.trial(candidate, point, control, decrease)
                search = search.judged(trial)
            run.rejected += search.rejected
            # Without a test of the objective neither accuracy nor another direction would help.
            if search.accepted or decrease is None:
                break
            if trial.refinable:
                strategy.tighten(point)
            elif run.hessian.pairs:
                run.hessian = run.hessian.cleared()
            else:
                break
        if not search.accepted:
            finite = math.isfinite(candidate.value.objective)
            return Status.LINE_SEARCH_FAILED if finite else Status.NOT_FINITE

        # Control update, adjoint sweep and gradient
        run.step, old_control, old_gradient = search.step, point.control, point.gradient
        is_reliable = strategy.accept(point, candidate)
        if is_reliable:
            with phases("update"):
                s, y = point.control - old_control, point.gradient - old_gradient
                run.hessian = run.hessian.updated(s, y)
        return None

    def _result(
        self, run: Run, candidate: Candidate, recorder: Recorder, start: Control, status: Status
    ) -> Result:
        """Return the best exact iterate, with exact state and adjoint. Collective."""
        point, iterations = run.point, run.history[-1].iteration
        with np.errstate(over="ignore", invalid="ignore"):
            if status is not Status.CONVERGED:  # which has been confirmed by exact solves
                point.solve_exactly()
            objective = point.value.objective
            if not is_finite(point):  # inexact states were finite where the exact ones are not
                status, objective = Status.NOT_FINITE, math.inf
            moved = move_to_best(point, candidate, run.rivals(start, objective), objective)
            if moved and status is Status.CONVERGED:
                status = Status.DIVERGING
        return recorder.result(point, status, iterations)


def descent_direction(control: Control, gradient: Control, hessian: InverseHessian) -> Control:
    """Return ``-H g`` on the variables that the bounds leave free, or ``-g`` there. Collective.

    A variable at a bound towards which ``-g`` points stays there. The negative gradient takes
    over where ``-H g`` is not a descent direction, (g, d) > -1e-8 |g| |d|.
    """
    space = control.space
    free = gradient
    if space.bounded:
        held = (control.vector <= space.lower) & (gradient.vector > 0)
        held |= (control.vector >= space.upper) & (gradient.vector < 0)
        # Pairs restricted likewise: the curvature of held variables must not bend the others.
        free = Control(space, np.where(held, 0.0, gradient.vector))
        hessian = hessian.restricted(~held)
    direction = -hessian.apply(free)
    if not space.inner(free, direction) < -1e-8 * space.norm(free) * space.norm(direction):
        return -free
    return direction
