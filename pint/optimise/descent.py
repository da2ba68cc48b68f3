"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.errors import check_kind, integer, number
from pint.grid import TimeGrid
from pint.optimise.checkpoint import Checkpoint, resume
from pint.optimise.ending import Ending, Limited
from pint.optimise.interruption import interruptible
from pint.optimise.lbfgs import InverseHessian, lbfgs
from pint.optimise.line_search import LineSearch, Search, Trial, wolfe
from pint.optimise.method import Callback
from pint.optimise.point import ROUNDING, Candidate, Point
from pint.optimise.ray import Ray, descent_ray
from pint.optimise.recorder import Recorder, is_finite
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.run import Run
from pint.optimise.safeguard import ROUNDED, Safeguard, move_to_best
from pint.optimise.strategy import Strategy
from pint.reduced_functional import ReducedFunctional

GROWTH = 1e8
"""A gradient so many times the least one of the history has diverged."""

PLAIN_CURVATURE = 0.1
"""Largest curvature constant along a negative gradient, where there are no pairs yet."""

MOST_MOVES = 15
"""Of one update along one direction, each at most ten times as far as the one before."""


@dataclass(frozen=True, kw_only=True)
class Descent(Limited):
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
    relative_gradient_tolerance : float
        Stop at so many times the first gradient norm, if that is more; dimensionless.
    time_limit, evaluations
        Limits of wall time and evaluations: see `Limited`.
    hessian : InverseHessian
        `lbfgs(memory)`, `bfgs()` or `identity()`.
    line_search : LineSearch
        `wolfe()`, `armijo()` or `fixed_step()`.
    step : float, optional
        First trial step of every update, a factor of the direction, for `armijo()` and
        `fixed_step()`; 1 by default. `wolfe()` finds it from the objective.
    """

    iterations: int = 100
    gradient_tolerance: float = 1e-8
    relative_gradient_tolerance: float = 0.0
    hessian: InverseHessian = field(default_factory=lbfgs)
    line_search: LineSearch = field(default_factory=wolfe)
    step: float | None = None

    takes_checkpoint: ClassVar[bool] = True

    def check_common_options(self) -> None:
        """Raise TypeError or ValueError if one of the options above is out of range."""
        owner = type(self).__name__
        object.__setattr__(self, "iterations", integer(owner, "iterations", self.iterations, 0))
        for name in ("gradient_tolerance", "relative_gradient_tolerance"):
            object.__setattr__(self, name, number(owner, name, getattr(self, name)))
        self.check_limits()
        hessians = "`lbfgs()`, `bfgs()` or `identity()`"
        searches = "`wolfe()`, `armijo()` or `fixed_step()`"
        check_kind(owner, "hessian", self.hessian, InverseHessian, hessians)
        check_kind(owner, "line_search", self.line_search, LineSearch, searches)
        if self.step is not None:
            number(owner, "step", self.step, positive=True)
            if self.line_search.finds_scale:
                raise ValueError(
                    f"`{owner}(step=...)` is for `armijo()` and `fixed_step()`; `wolfe()` finds "
                    "the first step itself: leave `step` out, or give `line_search=pint.armijo()`."
                )

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
        hessian = self.hessian.sized(functional.controls)
        run = Run(Point(functional), Safeguard(self.strategy(functional)), hessian)
        resumed = resume(run, checkpoint)  # its errors are raised identically on every rank
        start = functional.controls.project(start)
        with ending_all_ranks(functional.ranks_to_end):
            candidate, recorder = Candidate(functional), Recorder(functional, callback, run.history)
            ending = Ending(functional, self)
            with interruptible(checkpoint is not None) as signalled:
                if not resumed:
                    run.strategy.begin(run.point, start)
                    first = descent_ray(run.point.control, run.point.gradient, run.hessian)
                    run.step = self._first_step(run, first, run.hessian.scaling)
                    recorder.add(run.point, run.step)
                run.evaluations = sum(1 + row.line_search_trials for row in run.history)
                # A run that has just been resumed is in the file already.
                reason = ending.after_row(run.evaluations, recorder.asked, signalled)
                status = self._ended(run, reason, None if resumed else checkpoint)
                while status is None:
                    status = self._update(run, candidate, ending)
                    if status is None:
                        recorder.add(run.point, run.step, run.rejected)
                        run.note_best()
                        reason = ending.after_row(run.evaluations, recorder.asked, signalled)
                        status = self._ended(run, reason, checkpoint)
            return self._result(run, candidate, recorder, start, status)

    def _ended(
        self, run: Run, reason: Status | None, checkpoint: Checkpoint | None
    ) -> Status | None:
        """Return why the loop ends at the current iterate, if it does. Collective.

        `reason` is one that has nothing to do with the iterate.
        """
        point, history = run.point, run.history
        gradient_norm = point.gradient_norm()
        at_limit = history[-1].iteration >= self.iterations
        tolerance = self.tolerance_of(history)
        at_tolerance = gradient_norm <= tolerance
        if checkpoint is not None:
            at_once = reason is not None or at_limit or at_tolerance
            checkpoint.save_if_due(run, at_once=at_once)
        if reason in (Status.INTERRUPTED, Status.STOPPED):
            return reason
        if not math.isfinite(gradient_norm):
            run.strategy.solve_exactly(point)
            gradient_norm = point.gradient_norm()
            if not is_finite(point):
                run.cause = point.cause()
                return Status.NOT_FINITE
        # Gradients of the size of rounding grow by chance, those of a descent with its objective.
        risen = point.value.objective > history[0].objective
        if risen and gradient_norm > GROWTH * min(row.gradient_norm for row in history):
            return Status.DIVERGING
        if at_tolerance:
            # Inexact solves may have found a small gradient where the true one is not.
            inexact = point.gradient
            point.solve_exactly()
            if point.gradient_norm() <= tolerance:
                return Status.CONVERGED
            run.strategy.rest_from(point, inexact, tolerance)
        return Status.ITERATION_LIMIT if at_limit else reason

    def tolerance_of(self, history: Sequence[Iterate]) -> float:
        """Return the gradient norm to stop at."""
        relative = self.relative_gradient_tolerance * history[0].gradient_norm
        return max(self.gradient_tolerance, relative)

    def _update(self, run: Run, candidate: Candidate, ending: Ending) -> Status | None:
        """Move the run's point by one update, in place; return why there is none. Collective."""
        point, strategy = run.point, run.strategy
        phases, rule = point.functional.phases, self.line_search
        run.rejected, scaling = 0, run.hessian.scaling  # which is lost with the pairs
        while True:
            with phases("update"):
                ray = descent_ray(point.control, point.gradient, run.hessian)
            if rule.finds_scale and ray.is_plain:  # its first step may be far too long
                rule = self._plain_rule(run.hessian)
            first = self._first_step(run, ray, scaling)
            search, trial, reason = self._searched(run, candidate, ending, rule, ray, first)
            # Without a test of the objective neither accuracy nor another direction would help.
            if search.accepted or rule.decrease is None:
                break
            if reason is not None:
                return reason
            if trial.refinable:
                strategy.tighten(point)
            elif run.hessian.pairs:
                run.hessian = run.hessian.cleared()
            else:
                break
        if not search.accepted:
            run.cause = point.functional.cause_of(candidate.value)
            return Status.NOT_FINITE if run.cause else Status.LINE_SEARCH_FAILED

        # Control update, adjoint sweep and gradient
        run.step, run.slope, old_gradient = search.step, ray.slope, point.gradient
        is_reliable = strategy.accept(point, candidate)
        if rule.curvature is not None:
            is_reliable |= self._go_on(run, candidate, ending, rule, ray)
        if is_reliable:
            with phases("update"):
                s, y = point.control - ray.origin, point.gradient - old_gradient
                run.hessian = run.hessian.updated(s, y)
        return None

    def _searched(
        self,
        run: Run,
        candidate: Candidate,
        ending: Ending,
        rule: LineSearch,
        ray: Ray,
        step: float,
        start: float = 0.0,
    ) -> tuple[Search, Trial, Status | None]:
        """Return the ended search from a first `step`, counted from `start`. Collective.

        The candidate is that of the last trial. A negative step leads back from `start`. If a
        limit ends the search there is a reason.
        """
        point, strategy, reason = run.point, run.strategy, None
        # Near the optimum a good step decreases J by less than the error of J.
        error = point.comparison_error(strategy.tolerance)
        search = rule.begin(point.value.objective, step, error)
        while search.is_open and reason is None:
            # State sweep, on the candidate's trajectory, and objective
            control = ray.at(start + search.step)
            with np.errstate(over="ignore", invalid="ignore"):  # the line search deals with it
                trial = strategy.trial(candidate, point, control, rule.decrease)
            search, run.evaluations = search.judged(trial), run.evaluations + 1
            if not search.accepted:
                reason = ending.before_trial(run.evaluations)
        run.rejected += search.rejected
        return search, trial, reason

    def _first_step(self, run: Run, ray: Ray, scaling: float) -> float:
        """Return the factor of the direction for the first trial of an update.

        `scaling` is that of the quasi-Newton pairs, also of some that have been dropped.
        """
        if not self.line_search.finds_scale:
            return 1.0 if self.step is None else self.step
        if not ray.is_plain or not ray.slope < 0:  # a gradient of zero, or NaN
            return 1.0
        value = run.point.value
        if run.hessian.memory == 0 and run.slope:
            # Steepest descent: the change of J that its last step would have made
            step = run.step * (run.slope / ray.slope)
        elif scaling != 1.0:  # pairs have no curvature on the free variables, or were dropped
            step = scaling
        else:
            # To J = 0, if J were linear; by the sizes of its parts, since J itself may be zero. A
            # step that is too long costs a few trials, one that is too short can be lost in J.
            step = (abs(value.cost) + sum(map(abs, value.regularisers))) / -ray.slope
        return step if 0 < step < math.inf else 1.0

    def _plain_rule(self, hessian: InverseHessian) -> LineSearch:
        """Return the search along a negative gradient, for `wolfe()`."""
        rule = replace(self.line_search, rejections=20, patience=12)
        if hessian.memory == 0:
            return rule
        # The first pair scales all later directions: it belongs near the minimum along the ray.
        assert rule.curvature is not None and rule.decrease is not None
        return replace(rule, curvature=max(rule.decrease, min(rule.curvature, PLAIN_CURVATURE)))

    def _go_on(
        self, run: Run, candidate: Candidate, ending: Ending, rule: LineSearch, ray: Ray
    ) -> bool:
        """Move the point along the ray while its slope is steep, in place. Collective.

        Each move is a line search from the point that the one before has accepted, so that the
        objective decreases with each. Returns whether the change of the gradient is reliable.
        """
        point, strategy, is_reliable = run.point, run.strategy, False
        curvature = rule.curvature
        assert curvature is not None
        rule = replace(rule, rejections=3)
        for _ in range(MOST_MOVES):
            with point.functional.phases("update"):
                slope = ray.slope_at(point.control, run.step, point.gradient)
            if not abs(slope) > curvature * abs(ray.slope) or not math.isfinite(slope):
                break
            # The zero of the slope's secant; on a concave piece there is none ahead.
            rise = slope - ray.slope
            factor = -slope / rise if rise > 0 else math.inf
            factor = min(max(factor, 1.0), 9.0) if slope < 0 else max(factor, -0.9)
            step = factor * run.step
            # What is smaller than the error of the objectives cannot be compared.
            lost = abs(slope * step) <= point.comparison_error(strategy.tolerance)
            if lost or ending.before_trial(run.evaluations) is not None:
                break
            search, _, _ = self._searched(run, candidate, ending, rule, ray, step, run.step)
            if not search.accepted:
                break
            run.rejected += 1  # the trial before is not the update's last one any more
            run.step += search.step
            is_reliable |= strategy.accept(point, candidate)
        return is_reliable

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
                run.cause = run.cause or point.cause()
            # At an optimum the best of the iterates is one by chance.
            noise = ROUNDED if status is Status.CONVERGED else ROUNDING
            rivals = run.rivals(start, objective)
            moved = move_to_best(point, candidate, rivals, objective, noise)
            if moved and status is Status.CONVERGED:
                status = Status.DIVERGING
        return recorder.result(point, status, iterations, run.cause)
