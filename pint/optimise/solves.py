"""How accurately an optimisation solves states and adjoints: fixed cycles, or controlled errors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

from pint.controls import Control
from pint.equations.trajectory import AdjointState, State, Value
from pint.mgrit import Accuracy
from pint.optimise.point import ROUNDING, Point, Trials
from pint.reduced_functional import ReducedFunctional

ONE_CYCLE = Accuracy(cycles=1)


class Solves(ABC):
    """Solves the states and the adjoints of an optimisation. All methods are collective.

    Attributes
    ----------
    lagged : bool
        Whether solves start from the right-hand sides of level 1 of those before.
    """

    lagged: bool = False

    @abstractmethod
    def begin(self, point: Point, control: Control) -> None:
        """Solve the first state, at `control`, and evaluate its objective, in place."""

    @abstractmethod
    def evaluate(self, point: Point) -> None:
        """Evaluate the objective of the point's state as after `solve_gradient`, in place."""

    @abstractmethod
    def solve_gradient(self, point: Point) -> None:
        """Solve the adjoint of the point's state and form the gradient, in place."""

    @abstractmethod
    def solve_trial(
        self, trials: Trials, start: Point, control: Control, decrease: float | None
    ) -> None:
        """Solve the state at a trial `control` from that of `start`, which stays as it is.

        `decrease` is the constant of the Armijo test that will follow, None without one.
        """

    @abstractmethod
    def objective_error(self, point: Point) -> float:
        """Return the error to expect where objectives are compared with that of `point`."""

    @abstractmethod
    def may_tighten(self, trials: Trials) -> bool:
        """Whether more accurate solves could change the last trial's objective."""

    @abstractmethod
    def tighten(self, point: Point) -> None:
        """Solve more accurately from now on, `point` too, after a line search failed."""

    @property
    @abstractmethod
    def diverges(self) -> bool:
        """Whether the residuals of the last state solve grew from cycle to cycle."""

    @abstractmethod
    def accepted(self) -> None:
        """Take note that a step was accepted."""

    @abstractmethod
    def pair_is_reliable(self, y: float, error: float) -> bool:
        """Whether the change y of the gradient, in norm, is more than its error; take note."""


@dataclass
class FixedCycles(Solves):
    """The same number of cycles for every solve, or a tolerance.

    After a failed line search the update at hand is done with twice the cycles, again and again
    up to `MOST_EFFORT` times as many.

    Attributes
    ----------
    accuracy : Accuracy
    lagged : bool
        Whether cycles begin with the coarse correction; the first solves then do one more.
    effort : int
        Times as many cycles.
    """

    accuracy: Accuracy
    lagged: bool = False
    effort: int = 1

    def begin(self, point: Point, control: Control) -> None:
        point.value = self._solved(point.functional, point.state, control, None)
        self._estimate(point)

    def evaluate(self, point: Point) -> None:
        """Evaluate the objective, in place; without the correction of a lagged solve."""
        point.value = point.functional.objective(point.state)

    def solve_gradient(self, point: Point) -> None:
        self._solve_adjoint(point)
        self._estimate(point)

    def solve_trial(
        self, trials: Trials, start: Point, control: Control, decrease: float | None
    ) -> None:
        functional = trials.functional
        functional.copy_guess(start.state, trials.state)
        trials.value = self._solved(functional, trials.state, control, start.adjoint)
        trials.objective_error = math.nan if trials.inexact else 0.0

    def objective_error(self, point: Point) -> float:
        """Return the error of rounding, and that of states solved to a relative tolerance.

        That is ten times the tolerance: an error is larger than the residual that it leaves. The
        error of states that have not reached their tolerance is not in it: `tighten` deals with it.
        """
        relative = ROUNDING
        convergence = point.state.convergence
        if convergence is not None and convergence.converged and convergence.residual > 0:
            relative += 10 * (self.accuracy.relative or 0.0)
        return relative * abs(point.value.objective)

    def may_tighten(self, trials: Trials) -> bool:
        return trials.inexact and self.effort < MOST_EFFORT

    def tighten(self, point: Point) -> None:
        self.effort *= 2
        functional, state = point.functional, point.state
        point.value = self._solved(functional, state, point.control, point.adjoint)
        self._solve_adjoint(point)

    @property
    def diverges(self) -> bool:
        return False

    def accepted(self) -> None:
        # One lagged cycle that was too little for an update stays so as the updates get smaller.
        self.effort = min(self.effort, 2) if self.lagged else 1

    def pair_is_reliable(self, y: float, error: float) -> bool:
        return True

    def _solved(
        self,
        functional: ReducedFunctional,
        state: State,
        control: Control,
        adjoint: AdjointState | None,
    ) -> Value:
        """Solve a state, in place, and return its objective.

        That of a lagged solve is corrected by the `adjoint`, if there is one: the next cycle
        would change it by more than a small step does. Without, the solve does a cycle more.
        """
        cycles, correction = self.effort * self.accuracy.cycles, 0.0
        if self.lagged:
            more = 0 if adjoint else 1
            correction = functional.lagged_state_cycles(state, control, cycles + more, adjoint)
        else:
            functional.state_cycles(state, control, replace(self.accuracy, cycles=cycles))
        return functional.objective(state).corrected(correction)

    def _solve_adjoint(self, point: Point) -> None:
        functional, cycles = point.functional, self.effort * self.accuracy.cycles
        if self.lagged:
            first = point.adjoint.tau is None
            functional.lagged_adjoint_cycles(point.adjoint, point.state, cycles + first)
        else:
            accuracy = replace(self.accuracy, cycles=cycles)
            functional.adjoint_cycles(point.adjoint, point.state, accuracy)
        point.set_gradient()

    def _estimate(self, point: Point) -> None:
        state, adjoint = point.state.convergence, point.adjoint.convergence
        exact = state is not None and state.converged
        point.objective_error = 0.0 if exact else math.nan
        exact = exact and adjoint is not None and adjoint.converged
        point.gradient_error = 0.0 if exact else math.nan


MOST_EFFORT = 16


@dataclass
class Extrapolation:
    """Error of a sequence that converges linearly, from its differences.

    ``error = ratio / (1 - ratio) |q_j - q_{j-1}|``, the ratio of the last two differences clipped
    to [0.02, 0.9]; where there is only one yet, the ratio that was observed last.
    """

    ratio: float = 0.3
    last: float | None = None

    def restart(self) -> None:
        """Begin a new sequence."""
        self.last = None

    def add(self, difference: float) -> float:
        """Return the error after one more difference."""
        if self.last is not None and self.last > 0 and math.isfinite(difference):
            self.ratio = min(max(difference / self.last, 0.02), 0.9)
        self.last = difference
        return self.ratio / (1 - self.ratio) * difference


@dataclass
class ErrorControlled(Solves):
    """As many cycles as the estimated errors of objective and gradient ask for.

    - Objectives are corrected by the adjoint (`ReducedFunctional.state_correction`). A trial is
      solved until its error cannot change the outcome of the Armijo test any more, or is at most
      ``eta_objective eta |(g, c_t - c)|``.
    - A gradient is solved until its error is at most ``eta |g|``, in equal shares by the adjoint
      (extrapolated from the gradients after two cycles) and by the state (its residual, times
      the ratio of the changes of gradient and residual in the last update). The state comes first.
    - `eta` is divided by 4 when the change of the gradient in an update is not larger than its
      error, so that it cannot serve L-BFGS, or a line search fails; it recovers by factors of 2.

    Attributes
    ----------
    target : float
        Largest eta, dimensionless.
    eta : float
        The one in force.
    eta_objective : float
        Dimensionless.
    most_cycles : int
        Of one solve.
    sensitivity : float
        Change of the gradient for that of the state's residual.
    first_residual, state_error : float
        Of the last state solve: the residual of its first cycle, the estimated last one.
    of_objective, of_gradient, of_state : Extrapolation
        Of the objectives, gradients and residuals of a solve.
    failures : int
        Line searches that failed since a step was accepted.
    growth : int
        Cycles, the last ones of the last state solve, that each met a larger residual.
    moved : bool
        Whether the point has moved since its gradient was formed.
    """

    target: float = 0.3
    eta: float = 0.3
    eta_objective: float = 0.05
    most_cycles: int = 20
    sensitivity: float = 0.0
    first_residual: float = 0.0
    state_error: float = 0.0
    of_objective: Extrapolation = field(default_factory=Extrapolation)
    of_gradient: Extrapolation = field(default_factory=Extrapolation)
    of_state: Extrapolation = field(default_factory=Extrapolation)
    failures: int = 0
    growth: int = 0
    moved: bool = False

    def begin(self, point: Point, control: Control) -> None:
        functional = point.functional
        self.of_objective.restart()
        functional.state_cycles(point.state, control, ONE_CYCLE)
        point.value = functional.objective(point.state)
        self._note_residual(point.state, first=True)
        for _ in range(1, self.most_cycles):
            before = point.value.objective
            self._state_cycle(point)
            point.value = functional.objective(point.state)
            point.objective_error = self.of_objective.add(abs(point.value.objective - before))
            small = self.eta_objective * abs(point.value.objective)
            if self.diverges or not point.objective_error > small:
                break

    def solve_gradient(self, point: Point) -> None:
        functional, space = point.functional, point.control.space
        known = point.adjoint.explicit is not None
        old: Control | None = None
        previous: Control | None = None
        if known:
            old = point.gradient
            self._improve_state(point, point.gradient_norm)
            functional.relax_adjoint(point.adjoint, point.state)
            point.set_gradient()
        self.of_gradient.restart()
        relaxed = known
        for cycle in range(self.most_cycles):
            previous = point.gradient if known or cycle > 0 else None
            functional.adjoint_cycles(point.adjoint, point.state, ONE_CYCLE, relaxed)
            point.set_gradient()
            relaxed = True
            if previous is None:
                continue
            by_adjoint = self.of_gradient.add(space.norm(point.gradient - previous))
            if self.moved and old is not None and self.first_residual > 0:
                self.sensitivity = space.norm(point.gradient - old) / self.first_residual
            by_state = self.sensitivity * self.state_error
            point.gradient_error = by_adjoint + by_state
            share = 0.5 * self.eta * point.gradient_norm
            if not by_adjoint > share and not by_state > share:
                break
            if cycle == self.most_cycles - 1:  # the gradient stays that of state and adjoint
                break
            relaxed = not self._improve_state(point, point.gradient_norm)
        self.moved = False
        self.evaluate(point)

    def evaluate(self, point: Point) -> None:
        point.value = self._corrected(point.functional, point.state, point.adjoint)

    def solve_trial(
        self, trials: Trials, start: Point, control: Control, decrease: float | None
    ) -> None:
        functional = trials.functional
        slope = control.space.inner(start.gradient, control - start.control)
        small = self.eta_objective * self.eta * abs(slope)
        functional.copy_guess(start.state, trials.state)
        functional.relax_state(trials.state, control)
        trials.value = self._corrected(functional, trials.state, start.adjoint)
        self.of_objective.restart()
        for cycle in range(self.most_cycles):
            before = trials.value.objective
            functional.state_cycles(trials.state, control, ONE_CYCLE, relaxed=True)
            self._note_residual(trials.state, first=cycle == 0)
            trials.value = self._corrected(functional, trials.state, start.adjoint)
            new = trials.value.objective
            if self.diverges:
                trials.value = trials.value.corrected(math.inf)
            if not math.isfinite(trials.value.objective):
                break
            error = self.of_objective.add(abs(new - before))
            trials.objective_error = error
            if error <= small:
                break
            if decrease is not None:
                excess = new - start.value.objective - decrease * slope
                # A rejection wastes the trial, so it does not rely on the ratio of earlier solves.
                doubt = abs(new - before) if excess > 0 and cycle == 0 else error
                if abs(excess) > doubt + start.objective_error:
                    break

    def objective_error(self, point: Point) -> float:
        """Return the estimated error and that of rounding."""
        return point.objective_error + ROUNDING * abs(point.value.objective)

    def may_tighten(self, trials: Trials) -> bool:
        return self.failures < MOST_FAILURES

    def tighten(self, point: Point) -> None:
        self.failures += 1
        self.eta /= 4
        self._state_cycle(point)
        self.solve_gradient(point)

    @property
    def diverges(self) -> bool:
        return self.growth >= MOST_GROWTH

    def accepted(self) -> None:
        self.failures, self.growth, self.moved = 0, 0, True

    def pair_is_reliable(self, y: float, error: float) -> bool:
        reliable = y > error
        self.eta = min(self.target, 2 * self.eta) if reliable else self.eta / 4
        return reliable

    def _improve_state(self, point: Point, gradient_norm: float) -> bool:
        """Do state cycles until the gradient's error by the state is small; return if any."""
        share = 0.5 * self.eta * gradient_norm
        for cycle in range(self.most_cycles):
            if self.diverges or not self.sensitivity * self.state_error > share:
                return cycle > 0
            self._state_cycle(point)
        return True

    def _state_cycle(self, point: Point) -> None:
        point.functional.state_cycles(point.state, point.control, ONE_CYCLE, relaxed=True)
        self._note_residual(point.state, first=False)

    def _note_residual(self, state: State, first: bool) -> None:
        """Estimate the residual that the last cycle has left from the one that it met."""
        residual = state.convergence.residual if state.convergence else 0.0
        if first:
            self.first_residual = residual
            self.of_state.restart()
        grown = self.of_state.last is not None and not residual <= self.of_state.last
        self.growth = self.growth + 1 if grown else 0
        self.state_error = self.of_state.add(residual)

    @staticmethod
    def _corrected(functional: ReducedFunctional, state: State, adjoint: AdjointState) -> Value:
        value = functional.objective(state)
        return value.corrected(functional.state_correction(state, adjoint))


MOST_FAILURES = 3
MOST_GROWTH = 5
