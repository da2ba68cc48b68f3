"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control
from pint.mgrit import Accuracy
from pint.optimise.lbfgs import InverseHessian, lbfgs
from pint.optimise.line_search import LineSearch, Trial, armijo
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import AdjointState, ReducedFunctional, State, Value

Callback = Callable[[Iterate, Control, State], None]


MOST_EFFORT = 16


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
    accuracy: Accuracy,
    options: Options,
    callback: Callback | None = None,
) -> Result:
    """Minimise a functional, each state and adjoint solve to `accuracy`. Collective.

    Each solve starts from the last trajectories. Trial states are computed on a second
    trajectory, so that a rejected trial leaves the accepted state as it was; the accepted
    trial's state is the next one and is not solved again.

    The result does not depend on inexact numbers. When no step is accepted, the reason may be
    the error of the objectives that are compared: state, adjoint and gradient are then solved
    with twice as many cycles, and so are the trials, again and again up to `MOST_EFFORT`
    times as many in this update. After that the quasi-Newton pairs are dropped. A gradient below
    the tolerance is confirmed with exact solves before the loop ends.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    accuracy : Accuracy
    options : Options
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.

    Raises
    ------
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    """
    with ending_all_ranks(functional.ranks_to_end):
        return _descend(functional, control, accuracy, options, callback)


def _descend(
    functional: ReducedFunctional,
    control: Control,
    accuracy: Accuracy,
    options: Options,
    callback: Callback | None,
) -> Result:
    started, space = time.perf_counter(), functional.problem.controls
    hessian, line_search = options.hessian, options.line_search
    step, rejected = options.step, 0
    history: list[Iterate] = []

    point, trials = Point(functional), Trials(functional)
    point.solve_state(space.project(control), accuracy)
    functional.require_finite(point.value)
    point.solve_adjoint(accuracy)
    while True:
        iterate = Iterate(
            iteration=len(history),
            objective=point.value.objective,
            cost=point.value.cost,
            gradient_norm=point.gradient_norm,
            state_residual=residual(point.state),
            adjoint_residual=residual(point.adjoint),
            step=step,
            line_search_trials=rejected,
            seconds=time.perf_counter() - started,
            **steps_evaluated(functional),
        )
        history.append(iterate)
        if callback is not None:
            callback(iterate, point.control, point.state)
        if point.gradient_norm <= options.gradient_tolerance:
            point.solve_exactly()
            if point.gradient_norm <= options.gradient_tolerance:
                status = Status.CONVERGED
                break
        if iterate.iteration == options.iterations:
            status = Status.ITERATION_LIMIT
            break

        # Control update: state sweeps of the trials, on a trajectory of their own
        accepted, rejected, solves = None, 0, accuracy
        while True:
            may_refine = solves.cycles < MOST_EFFORT * accuracy.cycles
            direction = descent_direction(point.control, point.gradient, hessian)
            move = partial(trials.move, point, direction, solves, may_refine)
            # Near the optimum a good step decreases J by less than the error of J.
            bound = point.value.objective + objective_error(point, solves)
            accepted, more = line_search.search(move, bound, options.step)
            rejected += more
            if accepted is not None or line_search.decrease is None:
                break
            if trials.inexact and may_refine:
                solves = replace(solves, cycles=2 * solves.cycles)
                point.solve_state(point.control, solves)
                point.solve_adjoint(solves)
            elif hessian.pairs:
                hessian = hessian.cleared()
            else:
                break
        if accepted is None:
            finite = math.isfinite(trials.value.objective)
            status = Status.LINE_SEARCH_FAILED if finite else Status.NOT_FINITE
            break
        step, old_control, old_gradient = accepted.step, point.control, point.gradient
        point.accept(trials)

        # Adjoint sweep and gradient
        point.solve_adjoint(accuracy)
        hessian = hessian.updated(point.control - old_control, point.gradient - old_gradient)

    point.solve_exactly()
    return Result(
        control=point.control,
        objective=point.value.objective,
        cost=point.value.cost,
        gradient_norm=point.gradient_norm,
        status=status,
        iterations=history[-1].iteration,
        history=tuple(history),
        state=point.state,
    )


class Point:
    """The iterate: a control with its state, objective, adjoint and gradient. Changes in place."""

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional = functional
        self.state, self.adjoint = functional.new_state(), functional.new_adjoint()
        self.value: Value
        self.gradient: Control

    @property
    def control(self) -> Control:
        """The control that the state belongs to."""
        return self.state.solved_control

    @property
    def gradient_norm(self) -> float:
        """Norm of the projected gradient ``c - P[c - g]``, of the gradient without bounds."""
        space, control = self.control.space, self.control
        return space.norm(control - space.project(control - self.gradient))

    def solve_state(self, control: Control, accuracy: Accuracy) -> None:
        """Move to `control`: state sweep and objective. Collective."""
        self.functional.state_cycles(self.state, control, accuracy)
        self.value = self.functional.objective(self.state)

    def solve_adjoint(self, accuracy: Accuracy) -> None:
        """Adjoint sweep and gradient. Collective."""
        self.functional.adjoint_cycles(self.adjoint, self.state, accuracy)
        self._set_gradient()

    def solve_exactly(self) -> None:
        """State, objective, adjoint and gradient by sequential stepping. Collective."""
        self.functional.propagate(self.state, self.control)
        self.value = self.functional.objective(self.state)
        self.functional.propagate_adjoint(self.adjoint, self.state)
        self._set_gradient()

    def _set_gradient(self) -> None:
        derivative = self.functional.derivative_of(self.state, self.adjoint)
        self.gradient = derivative.space.riesz(derivative)

    def accept(self, trials: Trials) -> None:
        """Take over control, state and objective of the last trial; no copy is made."""
        self.state, trials.state = trials.state, self.state
        self.value = trials.value


class Trials:
    """Trial controls, their states on a second trajectory, and their objectives.

    Attributes
    ----------
    state, value
        Of the last trial.
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional = functional
        self.state = functional.new_state()
        self.value: Value

    def move(
        self,
        start: Point,
        direction: Control,
        accuracy: Accuracy,
        refinable: bool,
        step: float,
    ) -> Trial:
        """Make the trial ``P[c + step direction]`` from the point `start`. Collective.

        The state is solved from the trajectory of `start`, which stays as it is.
        """
        functional, space = self.functional, direction.space
        control = space.project(start.control + step * direction)
        functional.copy_guess(start.state, self.state)
        with np.errstate(over="ignore", invalid="ignore"):  # the line search deals with it
            functional.state_cycles(self.state, control, accuracy)
            self.value = functional.objective(self.state)
        predicted = space.inner(start.gradient, control - start.control)
        return Trial(step, self.value.objective, predicted, refinable and self.inexact)

    @property
    def inexact(self) -> bool:
        """Whether more cycles would change the last trial's state."""
        return self.state.convergence is not None and not self.state.convergence.converged


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


ROUNDING = 10 * float(np.finfo(float).eps)


def objective_error(point: Point, accuracy: Accuracy) -> float:
    """Return the error to expect in the difference of two objectives.

    It is that of rounding, and that of states solved to a tolerance relative to their norm, ten
    times the tolerance: an error is larger than the residual that it leaves. The error of states
    that have not reached their tolerance is not in it: `descend` refines them.
    """
    relative = ROUNDING
    convergence = point.state.convergence
    if convergence is not None and convergence.converged and convergence.residual > 0:
        relative += 10 * (accuracy.relative or 0.0)
    return relative * abs(point.value.objective)


def residual(solution: State | AdjointState) -> float:
    """Return the last residual norm of a solved trajectory."""
    return solution.convergence.residual if solution.convergence else 0.0


def steps_evaluated(functional: ReducedFunctional) -> dict[str, int]:
    """Return the level-0 steps so far of the rank that evaluated most. Collective."""
    solvers = (functional.state_solver, functional.adjoint_solver)
    most = reduce(functional.comm, [solver.steps_evaluated[0] for solver in solvers], "max")
    return {"state_steps": int(most[0]), "adjoint_steps": int(most[1])}
