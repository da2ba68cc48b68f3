"""The iterations of Gauss-Newton: linearise, solve the linear-quadratic problem, search, move."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control, projected_gradient
from pint.equations import Value
from pint.lq import NotPositiveDefiniteError
from pint.optimise.gauss_newton import barrier
from pint.optimise.gauss_newton.barrier import Side
from pint.optimise.gauss_newton.model import (
    Direction,
    Hessians,
    Linearised,
    defects_of,
    direction,
    hessians,
    linearised,
)
from pint.optimise.gauss_newton.search import Filter
from pint.optimise.gauss_newton.shooting import Shooting

logger = logging.getLogger(__name__)

SHORTEST = 1e-6
"""Step of the search below which it has failed."""

PATIENCE = 20
"""Iterations after which states are made anew if they are still far from the state equation."""

SMALL = (1e-6, 1e-4, 1e-3)
"""Weights that hardly change a Hessian, relative to it."""

WEIGHTS = (1e-4, 1e-20, 1e10)
"""First, smallest and largest weight that makes a problem convex, relative to its Hessians."""


@dataclass(frozen=True, eq=False)
class Guess:
    """States, controls and multipliers of an iteration; each rank has its own steps.

    Attributes
    ----------
    y : ndarray of shape (N + 1, n)
    control : Control
    lam : ndarray of shape (N + 1, n)
        Of the linear-quadratic problem.
    sides : (Side, Side)
        Of the bounds.
    defects : tuple
        As `model.defects_of` returns them.
    value : Value
        The objective there.
    """

    y: np.ndarray
    control: Control
    lam: np.ndarray
    sides: tuple[Side, Side]
    defects: tuple[Any, Any]
    value: Value

    @property
    def objective(self) -> float:
        """J at states and control."""
        return self.value.objective


@dataclass(frozen=True)
class Errors:
    """How far the optimality conditions are from holding; norms of densities in time.

    Attributes
    ----------
    kkt : float
        The largest of the projected gradient of the Lagrangian, the adjoint's and the state
        equation's defect: zero at an optimum, for any barrier.
    barrier : float
        The same for the problem with the barrier.
    """

    kkt: float
    barrier: float


@dataclass(frozen=True, eq=False)
class _InStates:
    """The Lagrangian's derivative with respect to the states, of a rank's steps and at the end."""

    of_y: np.ndarray
    end: np.ndarray
    dt: np.ndarray
    comm: Any

    def norm(self, scales: np.ndarray) -> float:
        """Return the norm of the density, each number times its scale. Collective."""
        own = float(((self.of_y * scales) ** 2 / self.dt[:, None]).sum())
        own += float(np.sum((self.end * scales) ** 2))
        return math.sqrt(float(reduce(self.comm, own)[0]))


class Iteration:
    """One run. Changes in place; methods are collective.

    Parameters
    ----------
    shooting : Shooting
    exact : bool
        Whether the second derivatives of the steps belong to the Hessian.
    """

    def __init__(self, shooting: Shooting, exact: bool) -> None:
        self.shooting, self.exact = shooting, exact
        self.space, self.comm = shooting.space, shooting.comm
        self.mu = self.weight = 0.0
        self.unit = 1.0  # of mu
        self.guess: Guess
        self.lin: Linearised
        self.errors: Errors
        self.filter: Filter
        self.last: Direction | None = None
        self.worst = 0.0
        self.since = 0
        self.step, self.rejected, self.evaluations, self.restarts = 1.0, 0, 0, 0

    # The begin

    def begin(self, y: np.ndarray, control: Control) -> None:
        """Start at states and control, in place."""
        self._go_to(y, Control(self.space, barrier.inside(self.space, control.vector)))
        lam, lin = np.zeros(y.shape), self.lin
        if self._all_finite(lin.A, lin.B, lin.C, lin.cost.y0, lin.cost.y1, lin.cost.u, lin.end):
            lam = self._first_multipliers()
        self.guess = replace(self.guess, lam=lam)
        if self.space.bounded:
            self.unit = self._first_unit()
            self.mu = 1.0 * self.unit
        self.guess = replace(
            self.guess, sides=barrier.sides(self.space, self.guess.control.vector, self.mu)
        )
        theta = self.infeasibility
        self.worst, self.since = theta, 0
        unit = max(theta, self._size_of_states())
        size = abs(self.guess.objective) or 1.0
        self.filter = Filter(unit, size, 1e-4, 1e4 * max(1.0, theta / unit))
        self._measure()

    def restart(self, y: np.ndarray, control: Control) -> None:
        """Begin anew with other states, in place."""
        self.begin(y, control)
        self.restarts += 1

    def _go_to(self, y: np.ndarray, control: Control) -> None:
        """Take states and control as they are, in place."""
        defects = defects_of(self.shooting, y, control)
        self.shooting.set_typical(y, control, defects[0])
        value = self.shooting.value(y, control)
        nothing = barrier.sides(self.space, control.vector, 0.0)
        self.guess = Guess(y, control, np.zeros(y.shape), nothing, defects, value)
        self.lin = linearised(self.shooting, y, control, defects)

    def _first_multipliers(self) -> np.ndarray:
        """Return the multipliers that leave the smallest gradient of the Lagrangian."""
        s, lin = self.shooting, self.lin
        n, m, p = s.states, s.inputs, s.parameters
        steps = np.zeros((s.steps, n + m + p, n + m + p))
        steps[:, range(n + m), range(n + m)] = s.grid.dt[:, None]
        slopes = np.concatenate([lin.cost.y0, lin.cost.u, np.zeros((s.steps, p))], axis=1)
        for i, part in ((slice(n), lin.A), (slice(n, n + m), lin.B), (slice(n + m, None), lin.C)):
            slopes[:, i] += np.einsum("kij,ki->kj", part, lin.cost.y1)
        second = Hessians(steps, None, slopes, np.eye(n + p), np.zeros(self.space.size))
        nothing, zeros = np.zeros(self.space.size), np.zeros
        defects = zeros((s.steps, n)), zeros(n)
        try:
            return direction(s, lin, second, nothing, nothing, 0.0, defects).multipliers
        except NotPositiveDefiniteError:
            return zeros(self.guess.y.shape)

    def _first_unit(self) -> float:
        """Return a size for the barrier: a density of the objective."""
        bounded = np.isfinite(self.space.lower) | np.isfinite(self.space.upper)
        weights = self.space.weights * bounded
        total = self.space.sums([self.space.local_pair(weights, np.ones_like(weights))])[0]
        guess = self.guess
        own = float(np.abs(guess.lam[1:] * guess.defects[0]).sum())
        closing = float(reduce(self.comm, own)[0])
        return max(abs(guess.objective) + closing, 1e-300) / float(total)

    # One iteration

    def advance(self) -> bool:
        """Move by one iteration, in place; return whether there was a step."""
        self._lower_barrier()
        second = hessians(self.shooting, self.guess.y, self.guess.control, self.lin, self._seeds())
        # A step begins where everything is finite; the caller knows what to do where it is not.
        curvature = second.steps if second.curvature is None else second.curvature
        if not self._all_finite(second.steps, curvature, second.end, second.slopes):
            return False
        found = self._direction(second, self.guess.defects)
        if found is None:
            return False
        moved = self._searched(found, second)
        if moved is None:
            return False
        self.guess, self.last = moved, found
        self.lin = linearised(self.shooting, moved.y, moved.control, moved.defects)
        self._measure()
        self.worst, self.since = max(self.worst, self.infeasibility), self.since + 1
        return True

    @property
    def infeasibility(self) -> float:
        """The sum of all defects. Collective."""
        return self._infeasibility(self.guess.defects)

    @property
    def is_lost(self) -> bool:
        """Whether many iterations have not brought the states near the equation. Collective."""
        return self.since >= PATIENCE and self.infeasibility > 1e-2 * self.worst

    def _all_finite(self, *arrays: np.ndarray) -> bool:
        """Return whether all numbers of all ranks are finite. Collective."""
        finite = all(np.isfinite(array).all() for array in arrays)
        return bool(reduce(self.comm, finite, "min")[0])

    def active(self) -> np.ndarray:
        """Return -1 where a control is at its lower bound, 1 at its upper bound, else 0.

        The distance to the bound is then smaller than the multiplier, both without units.
        """
        result = np.zeros(self.space.size)
        width = self._widths()
        for side in self.guess.sides:
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                distance = side.distance / width
                at = (distance < 1e-6) & (distance < side.multiplier * width / self.unit)
            result[side.present & at] = -side.sign
        return result

    def _seeds(self) -> np.ndarray | None:
        """Return the multipliers of the steps' second derivatives, None if they are left out."""
        return self.guess.lam[1:] + self.lin.cost.y1 if self.exact else None

    def _lower_barrier(self) -> None:
        """Lower the barrier while its problem is solved well enough, in place."""
        while self.space.bounded and self.errors.barrier <= 10 * self.mu:
            relative = self.mu / self.unit
            smaller = max(min(0.1 * relative, relative**1.7), 1e-22)
            if smaller >= relative:
                return
            self.mu = smaller * self.unit
            self.filter.clear()
            self._measure()

    def _direction(self, second: Hessians, defects: tuple[Any, Any]) -> Direction | None:
        """Return the step, of a problem that is made convex if it has to be."""
        sides, weights = self.guess.sides, self.space.weights
        slope = weights * barrier.slope(sides, self.mu)
        diagonal = weights * barrier.diagonal(sides)
        size = self._hessian_size(second)

        def solved(weight: float, part: float, diagonal: np.ndarray) -> Direction | None:
            try:
                return direction(
                    self.shooting, self.lin, second, slope, diagonal, weight * size, defects, part
                )
            except NotPositiveDefiniteError:
                return None

        if self.exact:
            for weight in (0.0, *SMALL):
                if found := solved(weight, 1.0, diagonal):
                    return found
        # The cost's own Hessian is convex more often; where it needs the barrier for that, it knows
        # too little.
        convex = solved(0.0, 0.0, np.zeros_like(diagonal))
        part = 0.0 if convex is not None or not self.exact else 1.0
        if convex is not None:
            return solved(0.0, 0.0, diagonal)
        first, least, most = WEIGHTS
        weight = first if self.weight == 0.0 else max(least, self.weight / 3)
        while weight < most:
            if found := solved(weight, part, diagonal):
                self.weight = weight
                return found
            weight *= 4.0
        return None

    def _hessian_size(self, second: Hessians) -> float:
        """Return the largest diagonal entry of the controls' Hessians, a density."""
        s = self.shooting
        diagonal = np.einsum("kii->ki", second.steps)[:, s.states : s.states + s.inputs]
        density = np.abs(diagonal + s.matrix(second.diagonal)) / s.grid.dt[:, None]
        size = float(reduce(self.comm, density.max(initial=0.0), "max")[0])
        return size or 1.0

    def _searched(self, found: Direction, second: Hessians) -> Guess | None:
        """Return the next iterate along a step; None if no length of it is accepted."""
        guess, tau = self.guess, max(0.99, 1.0 - self.mu / self.unit)
        duals = barrier.changes(guess.sides, found.vector, self.mu)
        primal = barrier.longest(
            [side.distance for side in guess.sides],
            [side.sign * found.vector for side in guess.sides],
            tau,
        )
        dual = barrier.longest([side.multiplier for side in guess.sides], duals, tau)
        longest, dual = (float(x) for x in reduce(self.comm, [primal, dual], "min"))
        now = self._merit(guess.defects, guess.objective, guess.sides)
        slope = self._slope(found)
        step, self.rejected = longest, 0
        while step > SHORTEST:
            trial = self._trial(found, step)
            ahead = self._merit(trial.defects, trial.objective, trial.sides)
            accepted, descends = self.filter.accepts(now, ahead, slope, step)
            if not accepted and step == longest and ahead[0] >= now[0]:
                corrected = self._corrected(found, second, trial, step, tau)
                if corrected is not None:
                    ahead = self._merit(corrected.defects, corrected.objective, corrected.sides)
                    accepted, descends = self.filter.accepts(now, ahead, slope, step)
                    trial = corrected
            if accepted:
                if not descends:
                    self.filter.add(now)
                self.step = step
                return self._with_multipliers(trial, found, duals, step, dual)
            self.rejected += 1
            step *= 0.5
        return None

    def _trial(self, found: Direction, step: float) -> Guess:
        """Return states and control after a step, with their defects and objective."""
        guess, s = self.guess, self.shooting
        sides = barrier.moved(guess.sides, found.vector, None, step, 0.0, self.mu)
        plain = guess.control.vector + step * found.vector
        control = Control(self.space, barrier.vector_at(sides, plain))
        y = self._matched(guess.y + step * found.y)
        self.evaluations += 1
        with np.errstate(all="ignore"):
            defects, value = defects_of(s, y, control), s.value(y, control)
        return Guess(y, control, guess.lam, sides, defects, value)

    def _corrected(
        self, found: Direction, second: Hessians, trial: Guess, step: float, tau: float
    ) -> Guess | None:
        """Return the trial of a step that removes the defects of a first one, too."""
        if not all(np.isfinite(part).all() for part in trial.defects):
            failed = True
        else:
            failed = False
        if reduce(self.comm, failed, "max")[0]:
            return None
        defects = tuple(
            step * old + new for old, new in zip(self.guess.defects, trial.defects, strict=True)
        )
        better = self._direction(second, defects)  # type: ignore[arg-type]
        if better is None:
            return None
        sides = self.guess.sides
        longest = barrier.longest(
            [side.distance for side in sides], [side.sign * better.vector for side in sides], tau
        )
        length = float(reduce(self.comm, longest, "min")[0])
        return self._trial(better, length)

    def _with_multipliers(
        self, trial: Guess, found: Direction, duals: list[np.ndarray], step: float, dual: float
    ) -> Guess:
        """Return an accepted trial with its multipliers."""
        lam = self.guess.lam + step * (found.multipliers - self.guess.lam)
        # The distances are those of the trial already.
        with np.errstate(invalid="ignore", divide="ignore"):
            sides = [
                Side(
                    new.sign,
                    new.bound,
                    new.distance,
                    np.where(
                        new.present,
                        np.clip(
                            old.multiplier + dual * change,
                            self.mu / new.distance * 1e-10,
                            self.mu / new.distance * 1e10,
                        ),
                        0.0,
                    ),
                )
                for new, old, change in zip(trial.sides, self.guess.sides, duals, strict=True)
            ]
        return replace(trial, lam=self._matched(lam), sides=(sides[0], sides[1]))

    def _matched(self, points: np.ndarray) -> np.ndarray:
        """Return states whose first row on each rank is the last one of the rank before."""
        if self.comm.size == 1:
            return points
        ends = self.comm.allgather(points[-1] if self.shooting.steps else None)
        before = [end for end in ends[: self.comm.rank] if end is not None]
        if before:
            points[0] = before[-1]
        return points

    # Measures

    def _infeasibility(self, defects: tuple[Any, Any]) -> float:
        """Return the sum of all defects."""
        own = float(np.abs(defects[0]).sum())
        return float(reduce(self.comm, own)[0] + np.abs(defects[1]).sum())

    def _merit(
        self, defects: tuple[Any, Any], objective: float, sides: tuple[Side, Side]
    ) -> tuple[float, float]:
        """Return infeasibility, and objective with the barrier."""
        if not self.space.bounded:
            return self._infeasibility(defects), objective
        own = self.space.sums([self._own_barrier(sides)])[0]
        return self._infeasibility(defects), objective + float(own)

    def _own_barrier(self, sides: tuple[Side, Side]) -> float:
        total = 0.0
        for side in sides:
            logs = np.zeros(self.space.size)
            here = side.present
            with np.errstate(invalid="ignore", divide="ignore"):
                logs[here] = np.log(side.distance[here])
            total -= self.mu * self.space.local_pair(self.space.weights, logs)
        return float(total)

    def _slope(self, found: Direction) -> float:
        """Return the derivative of objective and barrier along a step."""
        s, lin = self.shooting, self.lin
        explicit = s.vector(lin.cost.u, np.zeros(s.parameters)) + lin.regularisers
        explicit = explicit + self.space.weights * barrier.slope(self.guess.sides, self.mu)
        theta = s.shared(found.vector)
        own = float((lin.cost.y0 * found.y[:-1]).sum() + (lin.cost.y1 * found.y[1:]).sum())
        own += float(lin.cost.theta @ theta)
        total = float(reduce(self.comm, own)[0])
        total += float(self.space.sums([self.space.local_pair(explicit, found.vector)])[0])
        end = found.y[-1] if s.last else np.zeros(s.states)
        end = np.asarray(reduce(self.comm, end))
        return total + float(lin.end @ end + lin.end_theta @ theta)

    def _size_of_states(self) -> float:
        scales = self.shooting.scales(self.guess.y, self.guess.control)
        return float(scales[: self.shooting.states].sum())

    def _gradient(self) -> tuple[np.ndarray, _InStates]:
        """Return the Lagrangian's derivatives with respect to the control, and to the states."""
        s, lin, guess = self.shooting, self.lin, self.guess
        of_y, of_u, of_theta = s.transposed(
            guess.y[:-1], guess.control, guess.lam[1:] + lin.cost.y1
        )
        of_y = of_y + lin.cost.y0 - guess.lam[:-1]
        theta = (
            np.asarray(reduce(self.comm, of_theta + lin.cost.theta)) if s.parameters else of_theta
        )
        theta = theta + lin.end_theta
        if s.parameters:
            first = guess.lam[0] if s.first else np.zeros(s.states)
            theta = theta + lin.start.T @ np.asarray(reduce(self.comm, first))
        dual = s.vector(of_u + lin.cost.u, theta) + lin.regularisers
        end = lin.end - guess.lam[-1] if s.last else np.zeros(s.states)
        return dual, _InStates(of_y, end, s.grid.dt, self.comm)

    def _defect(self, scales: np.ndarray) -> float:
        """Return the norm of the defects, each number times its scale."""
        defects, initial = self.guess.defects
        own = float(((defects * scales) ** 2 / self.shooting.grid.dt[:, None]).sum())
        return math.sqrt(float(reduce(self.comm, own)[0])) + float(np.linalg.norm(initial * scales))

    def _measure(self) -> None:
        """Set the errors of the current iterate, in place."""
        s, guess, space = self.shooting, self.guess, self.space
        dual, of_y = self._gradient()
        gradient = Control(space, dual / space.weights)
        outside = space.norm(projected_gradient(guess.control, gradient))
        in_states, defect = of_y.norm(np.ones(s.states)), self._defect(np.ones(s.states))
        kkt = max(outside, in_states, defect)
        self.errors = Errors(kkt, self._barrier_error(gradient, of_y) if space.bounded else kkt)

    def _widths(self) -> np.ndarray:
        """Return the sizes of controls: the width between two bounds, else that of the values."""
        s, guess, space = self.shooting, self.guess, self.space
        lower, upper = guess.sides
        with np.errstate(invalid="ignore"):
            width = np.where(lower.present & upper.present, space.upper - space.lower, np.inf)
        typical = np.broadcast_to(s.typical[s.states :], (s.steps, s.inputs))
        values = s.vector(typical, np.maximum(np.abs(s.shared(guess.control.vector)), 1.0))
        return np.where(np.isfinite(width) & (width > 0), width, values)

    def _barrier_error(self, gradient: Control, of_y: Any) -> float:
        """Return the error of the problem with the barrier, a density of the objective."""
        s, guess, space = self.shooting, self.guess, self.space
        scales = s.scales(guess.y, guess.control)
        most = np.abs(guess.lam).max(axis=0, initial=0.0)
        lam = np.asarray(reduce(self.comm, most, "max"))
        lower, upper = guess.sides
        width = self._widths()
        parts = [width * (gradient.vector - lower.multiplier + upper.multiplier)]
        for side in guess.sides:
            distance = np.where(side.present, side.distance, 0.0)
            parts.append(np.where(side.present, distance * side.multiplier - self.mu, 0.0))
        norms = [space.norm(Control(space, part)) for part in parts]
        norms += [of_y.norm(scales[: s.states]), self._defect(lam)]
        return max(norms) / math.sqrt(s.grid.t[-1] - s.grid.t[0])
