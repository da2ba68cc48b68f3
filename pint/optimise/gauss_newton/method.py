"""Gauss-Newton: states and controls together, by linear-quadratic problems in time-parallel."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from pint.comm import reduce
from pint.controls import Control, Smoothness, Tikhonov
from pint.equations import March, State
from pint.errors import check_choice, integer, number, real_array
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint, resume
from pint.optimise.ending import Ending, Limited
from pint.optimise.gauss_newton.iteration import Iteration
from pint.optimise.gauss_newton.run import Run
from pint.optimise.gauss_newton.shooting import Shooting
from pint.optimise.interruption import interruptible
from pint.optimise.method import Callback
from pint.optimise.point import Candidate, Point
from pint.optimise.recorder import Recorder, is_finite
from pint.optimise.reduced_space import ReducedSpace
from pint.optimise.result import AllAtOnce, Iterate, Result, Status
from pint.optimise.safeguard import move_to_best
from pint.reduced_functional import ReducedFunctional
from pint.states import ArraySpace

MOST_STATES = 50
"""Numbers of a state: an iteration costs their third power for each step."""

POLISHES = 2
"""Further iterations where the exact gradient is above the tolerance of the KKT residual."""

MOST_RESTARTS = 2
"""Times that states are made anew by sequential steps."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GaussNewton(Limited):
    r"""Newton's method for states and controls together; each step is a linear-quadratic problem.

    States need not satisfy the state equation on the way: multiple shooting with one interval a
    step, :math:`\Phi_n(y_n, u_n, θ) - y_{n+1} = 0` as constraints. An iteration linearises all
    steps at once, without a sequential part, and solves a linear-quadratic problem by
    `pint.lq.solve`, whose ranks need N/P + P operations. Bounds of controls and shared parameters
    become a barrier that is lowered to zero, and a filter chooses the lengths of steps [1]_.

    For states of up to `MOST_STATES` numbers.

    Parameters
    ----------
    iterations : int
        Largest number of iterations, that of the method which it falls back to included.
    gradient_tolerance : float
        Stop at this KKT residual, and norm of the exact projected gradient, in the control's
        metric. Where the second stays above it, because the state equation is unstable and
        amplifies rounding, the first alone counts after two more iterations, and the log of
        `pint` says so.
    relative_gradient_tolerance : float
        Stop at so many times the first KKT residual, if that is more; dimensionless.
    hessian : 'exact' or 'gauss-newton'
        With or without the second derivatives of the steps, which are differences of `vjp` at the
        multipliers. Where an exact one is not convex, it takes the other for the iteration, then
        adds to its diagonal.
    start_states : 'constant', 'rollout' or array_like of shape (N + 1, ...)
        States to begin with: y_0 at all times, those of the first control, or others, for
        example ``result.states()`` of another run.
    fallback : bool
        Whether `ReducedSpace` goes on, from the best control with exact states, where there is no
        further step. Its updates are not saved: a run that is resumed begins with the first.
    time_limit, evaluations
        Limits of wall time and evaluations: see `Limited`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range. `minimize` raises ValueError if the problem does
        not suit the method.

    References
    ----------
    .. [1] A. Wächter, L. T. Biegler, Math. Program. 106 (2006), 25-57.
    """

    iterations: int = 100
    gradient_tolerance: float = 1e-8
    relative_gradient_tolerance: float = 0.0
    hessian: Literal["exact", "gauss-newton"] = "exact"
    start_states: Any = "constant"
    fallback: bool = True

    takes_checkpoint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        integer("GaussNewton", "iterations", self.iterations, 0)
        for name in ("gradient_tolerance", "relative_gradient_tolerance"):
            number("GaussNewton", name, getattr(self, name))
        check_choice("GaussNewton", "hessian", self.hessian, ["exact", "gauss-newton"])
        if isinstance(self.start_states, str):
            choices = ["constant", "rollout"]
            check_choice("GaussNewton", "start_states", self.start_states, choices)
        else:
            states = real_array("GaussNewton(start_states=...)", self.start_states)
            object.__setattr__(self, "start_states", states)
        self.check_limits()

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        """Raise ValueError unless states are few numbers, and steps couple by states alone."""
        space = problem.space
        if not isinstance(space, ArraySpace) or space.comm.size > 1:
            raise ValueError(
                "`GaussNewton` is for states that are whole numpy arrays: use `pint.ReducedSpace` "
                "or `pint.Adaptive`."
            )
        count = int(np.prod(space.shape, dtype=int))
        if count > MOST_STATES:
            raise ValueError(
                f"`GaussNewton` is for states of up to {MOST_STATES} numbers, those of the problem "
                f"have {count}: use `pint.ReducedSpace` or `pint.Adaptive`."
            )
        if problem.space.allocate(1).dtype != np.float64:
            raise ValueError("`GaussNewton` needs states of float64: use `pint.ReducedSpace`.")
        for term in problem.regularisers:
            if not isinstance(term, (Tikhonov, Smoothness)):
                raise ValueError(
                    "`GaussNewton` takes no regularisers but `Tikhonov` and `Smoothness`, got "
                    f"{type(term).__name__}: use `pint.ReducedSpace`."
                )
        for name, field in problem.controls.items():
            if getattr(field, "every", 1) > 1 or field.distributed:
                raise ValueError(
                    f"`GaussNewton` needs a value of the control `{name}` for each step, on one "
                    "rank in space: use `pint.ReducedSpace`."
                )
            if np.any(np.asarray(field.lower) == np.asarray(field.upper)):
                raise ValueError(
                    f"`GaussNewton` needs room between the bounds of the control `{name}`; some of "
                    "them are equal: use `pint.ReducedSpace`."
                )
        if not isinstance(self.start_states, str):
            shape = (grid.steps + 1, *space.shape)
            if self.start_states.shape != shape:
                raise ValueError(
                    f"`GaussNewton(start_states=...)` must have the shape {shape}, got "
                    f"{self.start_states.shape}."
                )

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        functional.state.require_all_points("GaussNewton", "`pint.ReducedSpace`")
        iteration = Iteration(Shooting(functional), self.hessian == "exact")
        run = Run(iteration, functional.controls.project(start))
        with np.errstate(all="ignore"):
            resumed = resume(run, checkpoint)  # its errors are raised identically on every rank
            with interruptible(checkpoint is not None) as signalled:
                return _Loop(self, run, callback, checkpoint, signalled).result(resumed)


class _Loop:
    """The iterations of a run, its rows, and how it ends. Methods are collective."""

    def __init__(
        self,
        method: GaussNewton,
        run: Run,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
        signalled: Callable[[], bool],
    ) -> None:
        self.method, self.run, self.functional = method, run, run.functional
        self.callback, self.checkpoint, self.signalled = callback, checkpoint, signalled
        self.iteration, self.shooting = run.iteration, run.iteration.shooting
        self.history = run.history
        self.recorder = Recorder(self.functional, callback, self.history)
        self.ending = Ending(self.functional, method)
        self.point = Point(self.functional)
        self.point.nears_bounds = True

    def result(self, resumed: bool) -> Result:
        """Iterate, and return the result."""
        iteration, method = self.iteration, self.method
        if resumed:
            self._show()
        else:
            iteration.begin(self._first_states(), self.run.start)
            self._record()
        # A run that has just been resumed is in the file already.
        status = self._ended(None if resumed else self.checkpoint)
        while status is None:
            if self._advance():
                self._record()
                status = self._ended(self.checkpoint)
            else:
                status = Status.CONVERGED if iteration.polished else Status.LINE_SEARCH_FAILED
        result = self._evaluated(status)
        failed = result.status in (Status.LINE_SEARCH_FAILED, Status.NOT_FINITE)
        if failed and method.fallback and len(self.history) <= method.iterations:
            return self._fallen_back(result)
        return result

    def _first_states(self) -> np.ndarray:
        """Return this rank's states to begin with."""
        chosen, grid, s = self.method.start_states, self.functional.grid, self.shooting
        if not isinstance(chosen, str):
            rows = np.array(chosen[grid.first : grid.last + 1])
            return rows.reshape(s.steps + 1, s.states)
        if chosen == "rollout":
            states = self._rollout(self.run.start)
            if states is not None:
                return states
        return np.tile(s.initial(self.run.start), (s.steps + 1, 1))

    def _rollout(self, control: Control) -> np.ndarray | None:
        """Return the exact states of a control; None if they are not finite."""
        state, s = self.point.state, self.shooting
        self.functional.state.solve(state, control, March())
        points = np.array(state.points).reshape(s.steps + 1, s.states)
        finite = bool(np.isfinite(points).all())
        return points if reduce(self.functional.comm, finite, "min")[0] else None

    def _advance(self) -> bool:
        """Move by one iteration; where there is none, begin anew with exact states."""
        iteration = self.iteration
        if not iteration.is_lost and iteration.advance():
            return True
        if iteration.polished:
            return False
        # A trajectory that satisfies the equation is another begin: that of the control if it is
        # worth something, then that of the first one.
        controls = [self.run.start]
        if not iteration.is_lost and not iteration.restarts and iteration.infeasibility > 0:
            controls.insert(0, iteration.guess.control)
        if iteration.restarts >= MOST_RESTARTS:
            return False
        for control in controls:
            states = self._rollout(control)
            if states is not None:
                logger.info(
                    "iteration %d: begins anew with the exact states of a control",
                    len(self.history),
                )
                iteration.restart(states, control)
                if iteration.advance():
                    return True
        return False

    def _ended(self, checkpoint: Checkpoint | None) -> Status | None:
        """Return why the run ends at the iterate of the last row, if it does; save it before."""
        iteration, method = self.iteration, self.method
        evaluations = iteration.evaluations + 1
        reason = self.ending.after_row(evaluations, self.recorder.asked, self.signalled)
        at_limit = self.history[-1].iteration >= method.iterations
        at_tolerance = iteration.kkt <= self._tolerance()
        if checkpoint is not None:
            at_once = reason is not None or at_limit or at_tolerance
            checkpoint.save_if_due(self.run, at_once=at_once)
        if reason in (Status.INTERRUPTED, Status.STOPPED):
            return reason
        if at_tolerance:
            # The states of the control are those that count.
            self.point.solve_exactly(self._control())
            # Unstable equations amplify rounding: their exact gradient may never become smaller.
            iteration.polished += 1
            small = self.point.gradient_norm() <= self._tolerance()
            if small or iteration.polished > POLISHES:
                return Status.CONVERGED
        return Status.ITERATION_LIMIT if at_limit else reason

    def _tolerance(self) -> float:
        """Return the KKT residual and gradient norm to stop at."""
        relative = self.method.relative_gradient_tolerance * self.history[0].gradient_norm
        return max(self.method.gradient_tolerance, relative)

    def _record(self) -> None:
        """Add the row of the iterate to the history."""
        self._show()
        self.run.note()
        iteration, guess = self.iteration, self.iteration.guess
        step = iteration.step if self.history else 1.0
        self.recorder.add_row(
            self.point.state, guess.control, guess.value, iteration.kkt, step, iteration.rejected
        )

    def _show(self) -> None:
        """Let the point's state have the states of the iterate, in place."""
        state, guess = self.point.state, self.iteration.guess
        state.points[...] = guess.y.reshape(state.points.shape)
        state.control, state.solution, state.convergence = guess.control, object(), None
        state.tapes, state.epoch = (), self.functional.state.selection.epoch

    def _control(self) -> Control:
        """Return the control, at its bounds where only rounding keeps it from them."""
        active, space = self.iteration.active(distance=1e-12), self.functional.controls
        vector = np.where(active < 0, space.lower, self.iteration.guess.control.vector)
        return Control(space, np.where(active > 0, space.upper, vector))

    def _evaluated(self, status: Status) -> Result:
        """Return the better one of last and first control, with exact states."""
        point, iterations = self.point, self.history[-1].iteration
        if status is not Status.CONVERGED:
            point.solve_exactly(self._control())
        objective = point.value.objective
        if not is_finite(point):
            status, objective = Status.NOT_FINITE, math.inf
        norm = point.gradient_norm()
        if status is Status.CONVERGED and norm > self._tolerance():
            logger.warning(
                "the KKT residual is %.2g, but the gradient norm with exact states %.2g: the state "
                "equation amplifies rounding; use more steps or a shorter time.",
                self.iteration.kkt,
                norm,
            )
        if status is not Status.CONVERGED:
            move_to_best(point, Candidate(self.functional), [self.run.start], objective)
        minimum = None
        if status is Status.CONVERGED:
            minimum = self.iteration.is_minimum()
            if not minimum:
                logger.warning(
                    "the gradient is zero, but the second derivatives show no strict minimum: it "
                    "may be a saddle point, or flat; try another start."
                )
        result = self.recorder.result(point, status, iterations)
        return replace(result, all_at_once=self._details(minimum=minimum))

    def _details(self, fallback: bool = False, minimum: bool | None = None) -> AllAtOnce:
        iteration = self.iteration
        gains, controls = iteration.gains, self.functional.controls
        return AllAtOnce(
            kkt=iteration.kkt,
            fallback=fallback,
            gains=None if gains is None else gains.copy(),
            multipliers=iteration.guess.lam[1:] + iteration.lin.cost.y1,
            active=Control(controls, iteration.active()),
            minimum=minimum,
        )

    def _fallen_back(self, result: Result) -> Result:
        """Go on with L-BFGS from the best control; its rows follow those so far."""
        logger.warning(
            "Gauss-Newton finds no further step after %d iterations: L-BFGS goes on.",
            result.iterations,
        )
        method = self.method
        if self.checkpoint is not None:
            # A resumed run begins with L-BFGS again.
            self.checkpoint.save_if_due(self.run, at_once=True)
        rest = ReducedSpace(
            iterations=method.iterations - result.iterations,
            gradient_tolerance=self._tolerance(),
            time_limit=method.time_limit,
        )
        callback = self.callback if self.checkpoint is None else self._interrupted_callback
        more = rest.run(self.functional, result.control, callback, None)
        status = more.status
        if status is Status.STOPPED and reduce(self.functional.comm, self.signalled(), "max")[0]:
            status = Status.INTERRUPTED
        better = more if more.objective <= result.objective else result
        return replace(
            better,
            status=status,
            iterations=result.iterations + more.iterations,
            history=(*self.history, *self.recorder.following(more.history[1:])),
            all_at_once=self._details(fallback=True),
        )

    def _interrupted_callback(self, row: Iterate, control: Control, state: State) -> bool:
        """Do what the callback does, and stop the run after a signal, too."""
        answer = None if self.callback is None else self.callback(row, control, state)
        return self.signalled() or (isinstance(answer, (bool, np.bool_)) and bool(answer))
