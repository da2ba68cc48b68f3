"""The optimisation loop of reduced-space and one-shot methods: they differ in the accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control
from pint.mgrit import Accuracy
from pint.optimise.lbfgs import InverseHessian, lbfgs
from pint.optimise.line_search import LineSearch, Trial, armijo
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import AdjointState, ReducedFunctional, State

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
    hessian: InverseHessian = lbfgs()
    line_search: LineSearch = armijo()
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
    state, trial_state = functional.new_state(), functional.new_state()
    adjoint = functional.new_adjoint()
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

        # Control update: the trial's state sweep runs on a trajectory of its own.
        def attempt(step: float) -> Trial:
            nonlocal trial_control, trial_value
            trial_control = space.project(control + step * direction)
            functional.copy_guess(state, trial_state)
            functional.state_cycles(trial_state, trial_control, accuracy)
            trial_value = functional.objective(trial_state)
            predicted = space.inner(gradient, trial_control - control)
            return Trial(step, trial_value.objective, predicted)

        trial_control, trial_value = control, value
        direction = descent_direction(control, gradient, hessian)
        accepted, rejected = line_search.search(attempt, value.objective, options.step)
        if accepted is None and hessian.pairs:
            hessian = hessian.cleared()
            direction = descent_direction(control, gradient, hessian)
            accepted, more = line_search.search(attempt, value.objective, options.step)
            rejected += more
        if accepted is None:
            status = Status.LINE_SEARCH_FAILED if line_search.decrease else Status.NOT_FINITE
            break
        step = accepted.step
        state, trial_state = trial_state, state
        old_control, control, value = control, trial_control, trial_value

        # Adjoint sweep and gradient
        functional.adjoint_cycles(adjoint, state, accuracy)
        old_gradient = gradient
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
