"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
    trial's state is the next one and is not solved again. When no step is accepted along a
    quasi-Newton direction, its pairs are dropped and the negative gradient is tried.

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
    with ending_all_ranks(functional.comm):
        return _descend(functional, control, accuracy, options, callback)


def _descend(
    functional: ReducedFunctional,
    control: Control,
    accuracy: Accuracy,
    options: Options,
    callback: Callback | None,
) -> Result:
    space, started = functional.problem.controls, time.perf_counter()
    hessian, line_search = options.hessian, options.line_search
    step, rejected = options.step, 0
    history: list[Iterate] = []

    control = space.project(control)
    state, adjoint = functional.new_state(), functional.new_adjoint()
    trials = Trials(functional, accuracy)
    functional.state_cycles(state, control, accuracy)
    value = functional.objective(state)
    functional.require_finite(value)
    functional.adjoint_cycles(adjoint, state, accuracy)
    gradient = space.riesz(functional.derivative_of(state, adjoint))

    while True:
        iterate = Iterate(
            iteration=len(history),
            objective=value.objective,
            cost=value.cost,
            gradient_norm=space.norm(control - space.project(control - gradient)),
            state_residual=residual(state),
            adjoint_residual=residual(adjoint),
            step=step,
            line_search_trials=rejected,
            seconds=time.perf_counter() - started,
            **steps_evaluated(functional),
        )
        history.append(iterate)
        if callback is not None:
            callback(iterate, control, state)
        if iterate.gradient_norm <= options.gradient_tolerance:
            status = Status.CONVERGED
            break
        if iterate.iteration == options.iterations:
            status = Status.ITERATION_LIMIT
            break

        # Control update; the state sweeps of the trials run on a trajectory of their own.
        direction = descent_direction(control, gradient, hessian)
        move = partial(trials.move, state, gradient, direction)
        accepted, rejected = line_search.search(move, value.objective, options.step)
        if accepted is None and hessian.pairs:
            hessian = hessian.cleared()
            move = partial(trials.move, state, gradient, -gradient)
            accepted, more = line_search.search(move, value.objective, options.step)
            rejected += more
        if accepted is None:
            status = Status.LINE_SEARCH_FAILED if line_search.decrease else Status.NOT_FINITE
            break
        step, old_control, old_gradient = accepted.step, control, gradient
        control, value = trials.control, trials.value
        state, trials.state = trials.state, state

        # Adjoint sweep and gradient
        functional.adjoint_cycles(adjoint, state, accuracy)
        gradient = space.riesz(functional.derivative_of(state, adjoint))
        hessian = hessian.updated(control - old_control, gradient - old_gradient)

    # The reported optimum is never an inexact number.
    functional.propagate(state, control)
    functional.propagate_adjoint(adjoint, state)
    value = functional.objective(state)
    gradient = space.riesz(functional.derivative_of(state, adjoint))
    return Result(
        control=control,
        objective=value.objective,
        cost=value.cost,
        gradient_norm=space.norm(control - space.project(control - gradient)),
        status=status,
        iterations=history[-1].iteration,
        history=tuple(history),
        state=state,
    )


class Trials:
    """Trial controls, their states on a second trajectory, and their objectives.

    Attributes
    ----------
    control, value, state
        Of the last trial.
    """

    def __init__(self, functional: ReducedFunctional, accuracy: Accuracy) -> None:
        self.functional = functional
        self.accuracy = accuracy
        self.state = functional.new_state()
        self.control: Control
        self.value: Value

    def move(self, start: State, gradient: Control, direction: Control, step: float) -> Trial:
        """Make the trial ``P[c + step direction]`` from the control and state `start`. Collective.

        The state is solved from the trajectory of `start`, which stays as it is.
        """
        functional, control = self.functional, start.control
        self.control = functional.problem.controls.project(control + step * direction)
        functional.copy_guess(start, self.state)
        with np.errstate(over="ignore", invalid="ignore"):  # the line search deals with it
            functional.state_cycles(self.state, self.control, self.accuracy)
            self.value = functional.objective(self.state)
        predicted = functional.problem.controls.inner(gradient, self.control - control)
        return Trial(step, self.value.objective, predicted)


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
    direction = -hessian.apply(free)
    if space.bounded:
        direction = Control(space, np.where(held, 0.0, direction.vector))
    if not space.inner(free, direction) < -1e-8 * space.norm(free) * space.norm(direction):
        return -free
    return direction


def residual(solution: State | AdjointState) -> float:
    """Return the last residual norm of a solved trajectory."""
    return solution.convergence.residual if solution.convergence else 0.0


def steps_evaluated(functional: ReducedFunctional) -> dict[str, int]:
    """Return the level-0 steps so far of the rank that evaluated most. Collective."""
    solvers = (functional.state_solver, functional.adjoint_solver)
    most = reduce(functional.comm, [solver.steps_evaluated[0] for solver in solvers], "max")
    return {"state_steps": int(most[0]), "adjoint_steps": int(most[1])}
