"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control
from pint.equations.trajectory import AdjointState, State
from pint.errors import CheckpointError
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.interruption import interruptible
from pint.optimise.lbfgs import InverseHessian, lbfgs
from pint.optimise.line_search import LineSearch, Trial, armijo
from pint.optimise.point import Point, Trials
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.run import Run
from pint.optimise.solves import Solves
from pint.reduced_functional import ReducedFunctional
from pint.report.memory import peak_memory_of_ranks

logger = logging.getLogger(__name__)
Callback = Callable[[Iterate, Control, State], None]


@dataclass(frozen=True)
class Options:
    """What the optimisers have in common.

    Attributes
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
        First trial step of every update.
    """

    iterations: int = 100
    gradient_tolerance: float = 1e-8
    hessian: InverseHessian = field(default_factory=lbfgs)
    line_search: LineSearch = field(default_factory=armijo)
    step: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, int) or self.iterations < 0:
            raise ValueError(f"`iterations` must be an integer >= 0, got {self.iterations}.")
        if not 0 <= self.gradient_tolerance < np.inf:
            raise ValueError(
                f"`gradient_tolerance` must be finite and >= 0, got {self.gradient_tolerance}."
            )
        if not 0 < self.step < np.inf:
            raise ValueError(f"`step` must be positive, got {self.step}.")


def descend(
    functional: ReducedFunctional,
    control: Control,
    solves: Solves,
    options: Options,
    callback: Callback | None = None,
    checkpoint: Checkpoint | None = None,
) -> Result:
    """Minimise a functional, its states and adjoints solved by `solves`. Collective.

    Each solve starts from the last trajectories. Trial states are computed on a second
    trajectory, so that a rejected trial leaves the accepted state as it was; the accepted
    trial's state is the next one and is not solved again.

    The result does not depend on inexact numbers. When no step is accepted, the reason may be
    the error of the objectives that are compared: `solves` is then asked for more accuracy, and
    the search is repeated; after that the quasi-Newton pairs are dropped. A gradient below the
    tolerance is confirmed with exact solves before the loop ends, and so is the result.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    solves : Solves
        `FixedCycles` or `ErrorControlled`.
    options : Options
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.
    checkpoint : Checkpoint, optional
        Where to save the run, and whether to go on with one.

    Raises
    ------
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    CheckpointError
        If the run cannot begin with the checkpoint; an OSError and a ValueError.
    OSError
        If the checkpoint cannot be written later.
    """
    start = functional.problem.controls.project(control)
    run = Run(Point(functional), solves, options.hessian, options.step)
    # Its errors are raised alike on every rank.
    saved = _begin(run, checkpoint)
    with ending_all_ranks(functional.ranks_to_end):
        with interruptible(functional, checkpoint is not None) as interrupted:
            status = _iterate(run, start, options, callback, checkpoint, saved, interrupted)
        return _result(run, start, status)


def _begin(run: Run, checkpoint: Checkpoint | None) -> bool:
    """Restore `run` in place, and return True, if one is to be resumed. Collective."""
    if checkpoint is None:
        return False
    try:
        return checkpoint.begin(run)
    except (OSError, ValueError) as error:
        raise CheckpointError(str(error)) from None


def _iterate(
    run: Run,
    start: Control,
    options: Options,
    callback: Callback | None,
    checkpoint: Checkpoint | None,
    resumed: bool,
    interrupted: Callable[[], bool],
) -> Status:
    point, solves, line_search = run.point, run.solves, options.line_search
    trials, space, phases = Trials(point.functional), start.space, point.functional.phases
    report = Reporter(run)
    if not resumed:
        solves.begin(point, start)
        point.functional.require_finite(point.value)
        solves.solve_gradient(point)
    while True:
        if not resumed:
            run.history.append(report.row())
            log_row(run.history[-1])
            if callback is not None:
                callback(run.history[-1], point.control, point.state)
        gradient_norm, least = point.gradient_norm, min(row.gradient_norm for row in run.history)
        at_limit = run.history[-1].iteration >= options.iterations
        at_tolerance = gradient_norm <= options.gradient_tolerance
        stop = interrupted()
        if checkpoint is not None and not resumed:
            checkpoint.save_if_due(run, at_once=stop or at_limit or at_tolerance)
        resumed = False
        if stop:
            return Status.INTERRUPTED
        if not math.isfinite(gradient_norm):
            return Status.NOT_FINITE
        if gradient_norm > GROWTH * least or solves.diverges:
            return Status.DIVERGING
        if at_tolerance:
            point.solve_exactly()
            if point.gradient_norm <= options.gradient_tolerance:
                return Status.CONVERGED
        if at_limit:
            return Status.ITERATION_LIMIT

        # Control update: state sweeps of the trials, on a trajectory of their own
        accepted, run.rejected = None, 0
        while True:
            with phases("update"):
                direction = descent_direction(point.control, point.gradient, run.hessian)
            move = partial(_move, point, trials, solves, direction, line_search.decrease)
            # Near the optimum a good step decreases J by less than the error of J.
            bound = point.value.objective + solves.objective_error(point)
            accepted, more = line_search.search(move, bound, options.step)
            run.rejected += more
            if accepted is not None or line_search.decrease is None:
                break
            if solves.may_tighten(trials):
                solves.tighten(point)
            elif run.hessian.pairs:
                run.hessian = run.hessian.cleared()
            else:
                break
        if accepted is None:
            if not math.isfinite(trials.value.objective):
                return Status.NOT_FINITE
            return Status.LINE_SEARCH_FAILED
        run.step, old_control, old_gradient = accepted.step, point.control, point.gradient
        error = point.gradient_error
        point.accept(trials)
        solves.accepted()

        # Adjoint sweep and gradient
        solves.solve_gradient(point)
        with phases("update"):
            s, y = point.control - old_control, point.gradient - old_gradient
            if solves.pair_is_reliable(space.norm(y), error + point.gradient_error):
                run.hessian = run.hessian.updated(s, y)


def _move(
    point: Point,
    trials: Trials,
    solves: Solves,
    direction: Control,
    decrease: float | None,
    step: float,
) -> Trial:
    """Make the trial ``P[c + step direction]`` from `point`, which stays as it is. Collective."""
    space = direction.space
    control = space.project(point.control + step * direction)
    with np.errstate(over="ignore", invalid="ignore"):  # the line search deals with it
        solves.solve_trial(trials, point, control, decrease)
    predicted = space.inner(point.gradient, control - point.control)
    error = trials.objective_error if math.isfinite(trials.objective_error) else 0.0
    return Trial(step, trials.value.objective, predicted, solves.may_tighten(trials), error)


def _result(run: Run, start: Control, status: Status) -> Result:
    """Return the result, evaluated with exact state and adjoint. Collective."""
    point = run.point
    with np.errstate(over="ignore", invalid="ignore"):
        if status is not Status.CONVERGED:  # which has been confirmed by exact solves
            point.solve_exactly()
        if not math.isfinite(point.value.objective + point.gradient_norm):
            # Inexact states were finite where the exact ones are not.
            status = Status.NOT_FINITE
            point.functional.propagate(point.state, start)
            point.solve_exactly()
    point.functional.require_finite(point.value)
    logger.info("%s after %d updates", status.name, run.history[-1].iteration)
    return Result(
        control=point.control,
        objective=point.value.objective,
        cost=point.value.cost,
        gradient_norm=point.gradient_norm,
        status=status,
        iterations=run.history[-1].iteration,
        history=tuple(run.history),
        state=point.state,
        peak_memory=peak_memory_of_ranks(
            point.functional.comm, point.functional.problem.space.comm
        ),
    )


class Reporter:
    """Makes the rows of the history; counts go on from the last row of a resumed run.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.started = time.perf_counter()
        self.offset: dict[str, Any] = {}
        if run.history:
            last, done = run.history[-1], {**evaluated(run.point.functional), "seconds": 0.0}
            self.offset = {name: _sum(getattr(last, name), done[name], -1) for name in done}

    def row(self) -> Iterate:
        """Return the row of the run's point. Collective."""
        run, point = self.run, self.run.point
        counts = {**evaluated(point.functional), "seconds": time.perf_counter() - self.started}
        counts.update({name: _sum(offset, counts[name]) for name, offset in self.offset.items()})
        return Iterate(
            iteration=len(run.history),
            **measures(point),
            objective_error=point.objective_error,
            gradient_error=point.gradient_error,
            step=run.step,
            line_search_trials=run.rejected,
            **counts,
        )


def _sum(a: Any, b: Any, sign: int = 1) -> Any:
    if isinstance(b, dict):
        return {name: a[name] + sign * value for name, value in b.items()}
    if isinstance(b, tuple):
        return tuple(x + sign * y for x, y in zip(a, b, strict=True))
    return a + sign * b


GROWTH = 1e8
"""A gradient so many times the least one of the history has diverged."""


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
        free = Control(space, np.where(held, 0.0, gradient.vector))
        hessian = hessian.restricted(~held)
    direction = -hessian.apply(free)
    if not space.inner(free, direction) < -1e-8 * space.norm(free) * space.norm(direction):
        return -free
    return direction


def measures(point: Point) -> dict[str, Any]:
    """Return what the history says of a point. Collective."""
    return {
        "objective": point.value.objective,
        "cost": point.value.cost,
        "regularisers": point.value.regularisers,
        "gradient_norm": point.gradient_norm,
        "state_residual": _residual(point.state),
        "adjoint_residual": _residual(point.adjoint),
    }


def _residual(solution: State | AdjointState) -> float:
    return solution.convergence.residual if solution.convergence else 0.0


def evaluated(functional: ReducedFunctional) -> dict[str, Any]:
    """Return cycles and steps so far; steps of the rank that evaluated most. Collective."""
    state, adjoint = functional.state_solver, functional.adjoint_solver
    both = [a + b for a, b in zip(state.steps_evaluated, adjoint.steps_evaluated, strict=True)]
    finest = [state.steps_evaluated[0], adjoint.steps_evaluated[0]]
    most = [int(steps) for steps in reduce(functional.comm, [*finest, *both], "max")]
    return {
        "state_cycles": state.cycles_done,
        "adjoint_cycles": adjoint.cycles_done,
        "state_steps": most[0],
        "adjoint_steps": most[1],
        "steps_by_level": tuple(most[2:]),
        "phases": functional.phases.maxima(functional.comm),
    }


def log_row(row: Iterate) -> None:
    """Log a row of the history, at level DEBUG."""
    logger.debug(
        "update %d: objective %.10g, gradient norm %.3e, %d + %d cycles so far",
        row.iteration,
        row.objective,
        row.gradient_norm,
        row.state_cycles,
        row.adjoint_cycles,
    )
