"""One-shot that chooses the number of cycles from the errors of objective and gradient."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pint.controls import Control
from pint.equations import Cycles, Relax, State
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import Accuracy
from pint.optimise.descent import Descent
from pint.optimise.fixed_cycles import FixedCycles
from pint.optimise.point import ROUNDING, Candidate, Point
from pint.optimise.strategy import Strategy
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Adaptive(Descent):
    """Chooses the number of cycles from the errors of objective and gradient.

    Each solve starts where the last one ended, so that the trajectories converge along with the
    control; `ControlledErrors` has the rules. The result is evaluated with exact state and adjoint.
    On a grid of one level it does the same as `ReducedSpace`.

    Parameters
    ----------
    iterations, gradient_tolerance, relative_gradient_tolerance
    time_limit, evaluations, hessian, line_search, step
        As for `ReducedSpace`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    def __post_init__(self) -> None:
        self.check_common_options()

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        """Accept every problem and grid."""

    def strategy(self, functional: ReducedFunctional) -> Strategy:
        if functional.grid.levels == 1:
            return FixedCycles(functional.accuracy)
        return ControlledErrors()


@dataclass
class Extrapolation:
    """Error of a sequence that converges linearly, from its differences.

    ``error = ratio / (1 - ratio) |q_j - q_{j-1}|``. The ratio is the largest of the last ratios of
    two differences, older ones counting less, and at least `LEAST_RATIO`: one that is small by
    chance, as where a sequence passes its limit, must not make the error small.
    """

    ratio: float = 0.3
    last: float | None = None

    def restart(self) -> None:
        """Begin a new sequence, in place."""
        self.last = None

    def add(self, difference: float) -> float:
        """Return the error after one more difference; note the difference, in place."""
        if self.last is not None and self.last > 0 and math.isfinite(difference):
            ratio = max(difference / self.last, MEMORY * self.ratio, LEAST_RATIO)
            self.ratio = min(ratio, 0.9)
        self.last = difference
        return self.ratio / (1 - self.ratio) * difference


MEMORY = 0.95
"""What the next difference leaves of a ratio that is larger than the new one."""

LONG_MEMORY = 0.98
"""What an update leaves of the sensitivity: along a narrow valley many updates show too little."""

LEAST_RATIO = 0.1
"""Of two differences, for the estimate of an error."""

RECOVERY = 1.2
"""Factor of eta after an update whose change of the gradient is more than its error."""

TARGET = 0.2
"""Largest eta, dimensionless."""

ETA_OBJECTIVE = 0.5
"""Error of an objective relative to the change that is expected of it, over eta; dimensionless."""

MOST_CYCLES = 5
"""Of one solve: one that needs more has failed, because sequential steps cost less."""

MOST_FAILURES = 3
"""Line searches that may fail in one update."""

MOST_GROWTH = 3
"""Cycles in a row with a larger residual each: a solve that diverges."""

FIRST = Cycles(Accuracy(cycles=1))
NEXT = Cycles(Accuracy(cycles=1), relaxed=True)


@dataclass
class ControlledErrors(Strategy):
    """Chooses the number of cycles from the estimated errors of objective and gradient.

    - Objectives are corrected by the adjoint (`StateEquation.correction`). A candidate is solved
      until neither its error nor the correction can change the outcome of the Armijo test any
      more, or its error is at most ``ETA_OBJECTIVE eta min(|(g, c_t - c)|, 2 |J_t - J|)``.
    - A gradient is solved until its error is at most ``eta |g|``, g on the variables that the
      bounds leave free, in equal shares by the adjoint (extrapolated from the gradients after two
      cycles) and by the state (its residual, times the ratio of the changes of gradient and
      residual in the last update). The state comes first.
    - `eta` is divided by 4 where the gradient changes by no more than its error in an update, so
      that the change cannot serve L-BFGS, or a line search fails; it recovers slowly.
    - A solve that would need more than `MOST_CYCLES` cycles has failed: see `Safeguard`.

    All attributes evolve, and a restart restores all of them.

    Attributes
    ----------
    eta : float
        The current one.
    sensitivity : float
        Change of the gradient for that of the state's residual.
    first_residual, state_error : float
        Of the last state solve: the residual of its first cycle, the estimated last one.
    of_objective, of_gradient, of_state : Extrapolation
        Of the objectives, gradients and residuals of a solve.
    failures : int
        Line searches that failed since a candidate was accepted.
    growth : int
        Cycles, the last ones of the last state solve, that each met a larger residual.
    """

    eta: float = TARGET
    sensitivity: float = 0.0
    first_residual: float = 0.0
    state_error: float = 0.0
    of_objective: Extrapolation = field(default_factory=Extrapolation)
    of_gradient: Extrapolation = field(default_factory=Extrapolation)
    of_state: Extrapolation = field(default_factory=Extrapolation)
    failures: int = 0
    growth: int = 0

    def begin(self, point: Point, control: Control) -> None:
        functional = point.functional
        self.of_objective.restart()
        functional.state.solve(point.state, control, FIRST)
        point.evaluate()
        self._note_residual(point.state, first=True)
        if not math.isfinite(point.value.objective):
            return
        # Without an adjoint, which would correct it, the changes of the objective show its error.
        for _ in range(1, MOST_CYCLES):
            before = point.value.objective
            self._state_cycle(point)
            point.evaluate()
            point.objective_error = self.of_objective.add(abs(point.value.objective - before))
            small = ETA_OBJECTIVE * abs(point.value.objective)
            if self.diverges or not point.objective_error > small:
                break
        if math.isfinite(point.value.objective):
            self._solve_gradient(point, moved=False)

    def solve_candidate(
        self, candidate: Candidate, point: Point, control: Control, decrease: float | None
    ) -> None:
        equation, objective = candidate.functional.state, point.value.objective
        slope = control.space.inner(point.gradient, control - point.control)
        self.failed = True  # until the errors are small enough
        equation.copy_guess(point.state, candidate.state)
        # Relaxation gives a first objective; its change by the first cycle shows the error.
        equation.solve(candidate.state, control, Relax())
        self._evaluate(candidate, point)
        for cycle in range(MOST_CYCLES):
            before = candidate.value.objective
            equation.solve(candidate.state, control, NEXT)
            self._note_residual(candidate.state, first=cycle == 0)
            self._evaluate(candidate, point)
            new = candidate.value.objective
            if self.diverges or not math.isfinite(new):
                break
            error = self._objective_error(candidate, before)
            # The correction is of first order: by itself it must not decide.
            unknown = max(error + point.objective_error, abs(candidate.state.correction))
            certain = decrease is not None and abs(new - objective - decrease * slope) > unknown
            # Far from an optimum the slope promises more than there is to gain. Along a parabola
            # the objective decreases by half of what the slope promises.
            expected = min(abs(slope), 2 * abs(new - objective))
            small = ETA_OBJECTIVE * self.eta * expected
            if certain or error <= max(small, 2 * ROUNDING * abs(new)):
                self.failed = False
                break
        candidate.refinable = self.failures < MOST_FAILURES

    def accept(self, point: Point, candidate: Candidate) -> bool:
        old, error = point.gradient, point.gradient_error
        self.failures = self.growth = 0
        point.accept(candidate)
        self._solve_gradient(point, moved=True)
        with point.functional.phases("update"):
            change = old.space.norm(point.gradient - old)
        return self._judge(change, error + point.gradient_error)

    def tighten(self, point: Point) -> None:
        # Candidates start from this state, so that they profit from its cycle, too.
        self.failures += 1
        self.eta /= 4
        self._state_cycle(point)
        self._solve_gradient(point, moved=False)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        for name in (each.name for each in fields(self)):
            value = values[name]
            evolves = isinstance(getattr(self, name), Extrapolation)
            setattr(self, name, Extrapolation(**value) if evolves else value)

    def restart(self, point: Point) -> None:
        self.eta, self.state_error, self.failures, self.growth = TARGET, 0.0, 0, 0
        self.failed = False

    @property
    def diverges(self) -> bool:
        """Whether the residuals of the last state solve grew from cycle to cycle."""
        return self.growth >= MOST_GROWTH

    def _solve_gradient(self, point: Point, moved: bool) -> None:
        """Solve adjoint and state until the gradient's error is small, in place. Collective.

        `moved` says that the point has moved since its gradient was formed.
        """
        adjoint, state, equation = point.adjoint, point.state, point.functional.adjoint
        self.exhausted = False
        known = adjoint.is_known
        old = point.gradient if known else None
        if known:
            # The adjoint is linearised at the state: a better state comes first.
            self._improve_state(point)
            equation.solve(adjoint, state, Relax())
            point.form_gradient()
        most = 0 if self.exhausted else MOST_CYCLES
        self.of_gradient.restart()
        if moved:
            self.sensitivity *= LONG_MEMORY
        relaxed, met = known, None
        self.failed = True  # until the error is small enough
        for cycle in range(most):
            previous = point.gradient if known or cycle > 0 else None
            equation.solve(adjoint, state, NEXT if relaxed else FIRST)
            point.form_gradient()
            relaxed = True
            if previous is None:
                continue
            if self._estimate(point, previous, old if moved else None, met):
                self.failed = False
                break
            if self.diverges or cycle == MOST_CYCLES - 1:  # the gradient stays that of the state
                break
            # Another state moves the linearisation, and with it the F-points of the adjoint.
            met = self._improve_state(point)
            if self.exhausted:
                break
            relaxed = met is None
        self._evaluate(point, point)

    def _objective_error(self, candidate: Candidate, before: float) -> float:
        """Estimate the error of a corrected objective, in place, and return it.

        `before` is the objective before the last cycle. Its change shows the error that the cycle
        has removed, the correction is the effect of the first order of the error that is left.
        Each may be small by chance.
        """
        new = candidate.value.objective
        error = 0.5 * max(abs(new - before), abs(candidate.state.correction))
        candidate.objective_error = error + ROUNDING * abs(new)
        return candidate.objective_error

    def _estimate(
        self, point: Point, previous: Control, old: Control | None, met: float | None
    ) -> bool:
        """Estimate the gradient's error, in place; return whether it is small. Collective.

        `previous` is the gradient before the last cycles of adjoint and state, `met` the residual
        of the state that the latter met, None without any; `old` is that of the last iterate.
        """
        norm = previous.space.norm
        change = norm(point.gradient - previous)
        by_adjoint = self.of_gradient.add(change)
        # Steps along flat directions change the gradient by less than other errors do. The largest
        # sensitivity is remembered.
        seen = [(change, met or 0.0)]
        if old is not None:
            seen.append((norm(point.gradient - old), self.first_residual))
        for difference, residual in seen:
            if residual > 0 and not difference / residual <= self.sensitivity:
                self.sensitivity = difference / residual
        by_state = self.sensitivity * self.state_error
        point.gradient_error = by_adjoint + by_state
        share = 0.5 * self.eta * point.gradient_norm()
        # NaN counts as accurate: more cycles would not mend it.
        return not by_adjoint > share and not by_state > share

    def _judge(self, change: float, error: float) -> bool:
        """Return whether a change of the gradient is more than its error; adapt eta, in place."""
        is_reliable = change > error
        # Skipping such pairs alone could stall a run: small steps would make noisy pairs again.
        self.eta = min(TARGET, RECOVERY * self.eta) if is_reliable else self.eta / 4
        return is_reliable

    def _improve_state(self, point: Point) -> float | None:
        """Do state cycles until the residual that is left adds little to the gradient's error.

        Returns the residual that the first of them met, None without any.
        """
        share, first = 0.5 * self.eta * point.gradient_norm(), None
        for _ in range(MOST_CYCLES):
            if self.diverges or not self.sensitivity * self.state_error > share:
                break
            residual = self._state_cycle(point)
            first = residual if first is None else first
        self.exhausted = self.sensitivity * self.state_error > share
        return first

    def _state_cycle(self, point: Point) -> float:
        point.functional.state.solve(point.state, point.control, NEXT)
        return self._note_residual(point.state, first=False)

    def _note_residual(self, state: State, first: bool) -> float:
        """Estimate the residual that the last cycle has left from the one that it met.

        Returns the one that it met.
        """
        residual = state.convergence.residual if state.convergence else 0.0
        if first:
            self.first_residual = residual
            self.of_state.restart()
        # NaN counts as growth.
        grown = self.of_state.last is not None and not residual <= self.of_state.last
        self.growth = self.growth + 1 if grown else 0
        self.state_error = self.of_state.add(residual)
        return residual

    @staticmethod
    def _evaluate(target: Point | Candidate, point: Point) -> None:
        """Evaluate the objective of `target`, corrected by the adjoint of `point`, in place."""
        equation = point.functional.state
        target.state.correction = equation.correction(target.state, point.adjoint)
        target.evaluate()
