"""Gradients of batches by as many MGRIT cycles as their error needs."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from pint.comm import reduce
from pint.controls import Control
from pint.equations import Cycles, Value
from pint.errors import integer, number
from pint.mgrit import Accuracy, Convergence
from pint.optimise.point import Point
from pint.optimise.stochastic.gradients import Fixed, Gradients, solve_cycles
from pint.reduced_functional import ReducedFunctional

logger = logging.getLogger(__name__)

ONE_MORE = Cycles(Accuracy(cycles=1), relaxed=True)

CHECKS = 10
"""Estimates between two comparisons with sequential steps."""

SLOW, SLOWER = 0.2, 1.5
"""An estimate is compared anew where a cycle leaves more of the residual than the first, and so
many times more than at the last comparison."""

EXPECTED, CHANGED = 0.7, 1.2
"""An estimate follows at once where an error is expected above this part of the tolerance, and so
many times the last one."""

GROWN = 10.0
"""So it does where residuals have grown to so many times those of the last estimate."""

LOWER = 0.5
"""One cycle less is tried where its error is expected to be below this part of the tolerance."""

MEMORY = 0.7
"""What an update leaves of the mean square of the norms of gradients."""

REST = 4
"""Sequential updates before cycles are tried again, in times of `BiasControl.every`; twice as many
after each trial that fails."""

UNSOUND = 0.5
"""Where a cycle leaves more of the error, or it is more of the gradient, a warning follows."""


@dataclass(frozen=True)
class BiasControl:
    """How many cycles an update of `Stochastic` does: as many as its gradient needs.

    Every `every` updates one more cycle of state and adjoint is done on the same batch. The change
    of the gradient, times a factor, is the estimate of the error of the gradient without it. The
    factor is the ratio of the true error, by sequential steps on the batch, to that change: it is
    measured with the first estimate, where the number of cycles has changed, where cycles have
    become slower, where an estimate is above the tolerance, and with every tenth estimate.
    Residuals, which cost nothing, are looked at in every update: where they have grown so much
    since the last estimate that the error may be too large, another one follows at once. An update
    whose gradient is found to be wrong is made from that by sequential steps.

    - An error above ``tolerance |g|``, where ``|g|`` is at least the root mean square of the norms
      of the last three gradients or so, raises the number of cycles to what should suffice.
    - Where that is more than `most_cycles`, the updates turn to sequential steps, which a warning
      says if cycles do not converge. From time to time cycles are tried again.
    - Where one cycle less is expected to suffice, it is tried.

    The estimates change nothing else: as long as the number of cycles stays, the updates are those
    of that fixed number.

    Parameters
    ----------
    tolerance : float
        Largest error of a batch's gradient, relative to its norm; dimensionless.
    every : int
        Updates from one estimate to the next, at most: the first ones follow each other after 1, 1,
        2, 4, ... updates.
    most_cycles : int, optional
        By default the cycles that cost no more than sequential steps, counted as steps one after
        the other on the ranks in time; at least one. On one rank they always cost more: there one
        cycle is followed by sequential steps.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    tolerance: float = 0.1
    every: int = 10
    most_cycles: int | None = None

    def __post_init__(self) -> None:
        tolerance = number("BiasControl", "tolerance", self.tolerance, positive=True)
        object.__setattr__(self, "tolerance", tolerance)
        object.__setattr__(self, "every", integer("BiasControl", "every", self.every, 1))
        if self.most_cycles is not None:
            most = integer("BiasControl", "most_cycles", self.most_cycles, 1)
            object.__setattr__(self, "most_cycles", most)


def gradients_of(cycles: int | BiasControl) -> Gradients:
    """Return how gradients are solved with so many cycles, or as many as they need."""
    return Controlled(cycles) if isinstance(cycles, BiasControl) else Fixed(cycles)


class _Solved(NamedTuple):
    """Objective and gradient of a point, and the last residuals of state and adjoint."""

    value: Value
    gradient: Control
    state: Convergence
    adjoint: Convergence

    @classmethod
    def of(cls, point: Point) -> _Solved:
        state, adjoint = point.state.convergence, point.adjoint.convergence
        assert state is not None and adjoint is not None
        return cls(point.value, point.gradient, state, adjoint)

    def put_back(self, point: Point) -> None:
        point.value, point.gradient = self.value, self.gradient
        point.state.convergence, point.adjoint.convergence = self.state, self.adjoint


@dataclass
class Evolving:
    """What the next updates depend on; all of it is saved.

    Attributes
    ----------
    cycles : int
    most : int
        The most of them; 0 until it is known.
    sequential : bool
        Whether updates are made by sequential steps.
    due : int
        The update of the next estimate, or of the next trial of cycles.
    rest : int
        Updates to the next trial after the next one.
    to_check : int
        Estimates until the next comparison with sequential steps.
    factor : float
        The true error in times of the change by one more cycle.
    contraction : float
        What one more cycle left of the error.
    slow : float
        What it left of the residuals; both at the last comparison.
    error : float
        The last estimate.
    residuals : (float, float)
        Of states and adjoints at the last estimate.
    size : float
        What it was compared with.
    mean_square : float
        Of the norms of the gradients so far, older ones counting less.
    worst : float
        The largest relative error found above the tolerance, of the gradient by `worst_cycles`
        cycles at update `worst_update`.
    """

    cycles: int = 1
    most: int = 0
    sequential: bool = False
    due: int = 0
    rest: int = 0
    to_check: int = 0
    factor: float = 1.0
    contraction: float = 1.0
    slow: float = 0.0
    error: float = 0.0
    residuals: tuple[float, float] = (0.0, 0.0)
    size: float = 0.0
    mean_square: float = 0.0
    worst: float = 0.0
    worst_cycles: int = 0
    worst_update: int = 0


class Controlled(Gradients):
    """As many cycles as the gradient's error needs: see `BiasControl`."""

    def __init__(self, control: BiasControl) -> None:
        self.name, self.options, self.used = "adaptive cycles", control, 1
        self.now = Evolving(most=control.most_cycles or 0)

    def solve(self, point: Point, control: Control, update: int, examples: int) -> None:
        if self.now.sequential:
            norm = self._solve_exactly(point, control, update)
        else:
            norm = self._solve_cycles(point, control, update, examples)
        if math.isfinite(norm):  # of the gradient that the update is made from
            self.now.mean_square = self._mean_square(norm)

    def _solve_cycles(self, point: Point, control: Control, update: int, examples: int) -> float:
        """Solve by the present number of cycles, and estimate the error where it is due.

        Returns the norm of the gradient, as `_solve_exactly` does.
        """
        now = self.now
        self.used = now.cycles
        solve_cycles(point, control, now.cycles)
        norm = point.gradient_norm()
        state, adjoint = point.state.convergence, point.adjoint.convergence
        if state is None or adjoint is None or not state.residuals:  # one level
            point.note_exactness()
            return norm
        # Those of states and adjoints of a mean over b examples, as for one example
        root = math.sqrt(examples)
        residuals = state.residual / root, adjoint.residual * root
        size = self._size(norm)
        finite = math.isfinite(sum(residuals) + norm + point.value.objective)
        if update >= now.due or not finite or self._is_doubtful(residuals, size):
            now.residuals = residuals
            self._estimate(point, control, update, size)
        else:
            point.objective_error = point.gradient_error = math.nan
        return norm if self.used else point.gradient_norm()

    def _mean_square(self, norm: float) -> float:
        before = self.now.mean_square
        return MEMORY * before + (1 - MEMORY) * norm**2 if before > 0 else norm**2

    def _size(self, norm: float) -> float:
        """Return what errors are compared with: a norm, or that of the gradients before."""
        return max(norm, math.sqrt(self._mean_square(norm)))

    def _is_doubtful(self, residuals: tuple[float, float], size: float) -> bool:
        """Whether residuals let expect too large an error of a gradient of some size."""
        now, growth = self.now, 0.0
        for residual, before in zip(residuals, now.residuals, strict=True):
            growth = max(growth, residual / before if before > 0 else math.inf * residual)
        few = now.error * growth <= EXPECTED * self.options.tolerance * size
        alike = now.error * growth * now.size <= CHANGED * now.error * size
        return not (growth <= GROWN and (few or alike))

    def _estimate(self, point: Point, control: Control, update: int, size: float) -> None:
        """Estimate the error of the gradient; replace the gradient if it is too large."""
        now, solved = self.now, _Solved.of(point)
        self._one_more(point, control)
        better, space = point.gradient, control.space
        change = space.norm(better - solved.gradient)
        after = _Solved.of(point)
        slow = max(_ratio(after.state, solved.state), _ratio(after.adjoint, solved.adjoint))
        error, allowed = now.factor * change, self.options.tolerance * size
        slower = slow > max(SLOW, SLOWER * now.slow)
        now.to_check -= 1
        if now.to_check < 0 or slower or not error <= allowed:
            point.solve_exactly()
            error = space.norm(solved.gradient - point.gradient)
            left = space.norm(better - point.gradient)
            # A cycle that changes nothing says nothing: the next estimate is compared, too.
            now.factor = error / change if change > 0 else (math.inf if error > 0 else 1.0)
            now.contraction = left / error if error > 0 else 0.0
            now.slow, now.to_check = slow, CHECKS
            if not math.isfinite(point.value.objective + point.gradient_norm()):
                self.used = 0
                return  # it is the control, not the cycles
        now.due = update + min(self.options.every, max(update, 1))
        now.error, now.size = error, size
        if error <= allowed:
            solved.put_back(point)
            point.objective_error, point.gradient_error = math.nan, error
            # The error of one cycle less
            if now.cycles > 1 and error <= LOWER * allowed * now.contraction:
                self._set(now.cycles - 1, update)
        else:
            self._raise(point, error, size, update)

    def _one_more(self, point: Point, control: Control) -> None:
        """Do one more cycle of state and adjoint, in place; count what it takes."""
        functional = point.functional
        before = sum(functional.state.solver.steps_evaluated)
        functional.state.solve(point.state, control, ONE_MORE)
        after = sum(functional.state.solver.steps_evaluated)
        if self.now.most == 0:
            self.now.most = _affordable(functional, after - before)
        point.evaluate()
        point.solve_adjoint(Accuracy(cycles=1))

    def _raise(self, point: Point, error: float, size: float, update: int) -> None:
        """Use more cycles, or sequential steps; this update has its gradient by them already."""
        now, self.used = self.now, 0
        relative = error / size if size > 0 else math.inf
        if relative > now.worst or not math.isfinite(relative):
            now.worst = relative if math.isfinite(relative) else math.inf
            now.worst_cycles, now.worst_update = now.cycles, update
        allowed, more = self.options.tolerance, math.inf
        if now.contraction < 1 and math.isfinite(relative):
            more = 1.0
            if 0 < now.contraction:
                more = max(1.0, math.ceil(math.log(allowed / relative) / math.log(now.contraction)))
        if now.cycles + more <= now.most:
            self._set(now.cycles + int(more), update)
            return
        logger.info("update %d: gradient error %.3g; sequential steps", update, relative)
        # Otherwise cycles are sound, and sequential steps are cheaper at this accuracy.
        if not (now.contraction <= UNSOUND and relative <= UNSOUND):
            enough = f", and {now.most} would not do" if now.most > now.cycles else ""
            point.functional.solves.warn(
                f"at update {update} the gradient by {_cycles(now.cycles)} is "
                f"{_off(relative)}{enough}: updates are made by sequential steps. Fewer levels, a "
                "smaller coarsening factor, more relaxation or another coarse step may help; "
                "`pint.diagnose(functional, control)` measures which."
            )
        now.rest = REST * self.options.every
        now.sequential, now.cycles, now.due = True, max(now.most, now.cycles), update + now.rest

    def _set(self, cycles: int, update: int) -> None:
        """Use another number of cycles from the next update on, which is checked."""
        logger.info("update %d: %d cycles in place of %d", update, cycles, self.now.cycles)
        self.now.cycles, self.now.due, self.now.to_check = cycles, update + 1, 0

    def _solve_exactly(self, point: Point, control: Control, update: int) -> float:
        """Solve by sequential steps; from time to time find out whether cycles would do."""
        now, tried = self.now, None
        if update >= now.due:
            solve_cycles(point, control, now.cycles)
            tried = point.gradient
        solve_cycles(point, control, 0)
        norm, self.used = point.gradient_norm(), 0
        if tried is None:
            return norm
        error = control.space.norm(tried - point.gradient)
        if error <= LOWER * self.options.tolerance * self._size(norm):
            now.sequential = False
            self._set(now.cycles, update)
        else:
            now.rest *= 2
            now.due = update + now.rest
        return norm

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.now)

    def load_state_dict(self, values: dict[str, Any]) -> None:
        for each in fields(Evolving):
            value = values[each.name]
            setattr(self.now, each.name, tuple(value) if isinstance(value, list) else value)
        self.now.most = self.options.most_cycles or self.now.most

    @property
    def note(self) -> str:
        now = self.now
        if not now.worst_cycles:
            return ""
        ended = "sequential steps" if now.sequential else _cycles(now.cycles)
        return (
            f"At update {now.worst_update} the gradient by {_cycles(now.worst_cycles)} was "
            f"{_off(now.worst)}, more than the tolerance of {self.options.tolerance:.3g}; the "
            f"update was made by sequential steps, and the last one by {ended}."
        )


def _cycles(count: int) -> str:
    return f"{count} cycle{'s' if count > 1 else ''}"


def _off(relative: float) -> str:
    return f"off by {relative:.3g} of its norm" if math.isfinite(relative) else "not finite"


def _ratio(after: Convergence, before: Convergence) -> float:
    return after.residual / before.residual if before.residual > 0 else 0.0


def _affordable(functional: ReducedFunctional, steps: int) -> int:
    """Return how many cycles cost no more than sequential steps. Collective.

    `steps` are those of this rank in a cycle of the state, on all levels. The ranks do them at the
    same time, but those of the coarsest level one rank after the other.
    """
    grid = functional.grid
    coarsest = functional.state.solver.levels[-1].layout.steps
    one_by_one = coarsest * (1 - 1 / grid.comm.size)
    cost = reduce(functional.comm, float(steps), "max")[0] + one_by_one
    return max(1, int(grid.steps / cost))
