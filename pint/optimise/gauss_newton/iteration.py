"""The iterations of Gauss-Newton: linearise, solve the linear-quadratic problem, search, move."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.lq import NotPositiveDefiniteError
from pint.optimise.gauss_newton import barrier
from pint.optimise.gauss_newton.barrier import Side
from pint.optimise.gauss_newton.memory import COUNTS, SIZES, Memory
from pint.optimise.gauss_newton.model import (
    Direction,
    Hessians,
    Linearised,
    defects_of,
    direction,
    hessians,
    linearised,
)
from pint.optimise.gauss_newton.optimality import Guess, Optimality, widths
from pint.optimise.gauss_newton.search import Filter
from pint.optimise.gauss_newton.shooting import Shooting

SHORTEST = 1e-6
"""Step of the search below which it has failed."""

LEAST_BARRIER = 1e-22
"""Of the first one; it would be lost in rounding beyond."""

PATIENCE = 20
"""Iterations after which states are made anew if they are still far from the state equation."""

SMALL = (1e-6, 1e-4, 1e-3)
"""Weights that hardly change a Hessian, relative to it."""

WEIGHTS = (1e-4, 1e-20, 1e10)
"""First, smallest and largest weight that makes a problem convex, relative to its Hessians."""


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
        self.kkt = math.inf
        self._optimality: Optimality
        self.filter: Filter
        self.gains: np.ndarray | None = None  # of the last step
        # The largest infeasibility, and the iterations, since the last begin
        self.worst, self.since = 0.0, 0
        self.step, self.rejected, self.evaluations, self.restarts = 1.0, 0, 0, 0
        self.polished = 0  # iterates whose KKT residual was below the tolerance

    # The begin

    def begin(self, y: np.ndarray, control: Control) -> None:
        """Start at states and control, in place."""
        self._go_to(y, Control(self.space, barrier.inside(self.space, control.vector)))
        lam, lin = np.zeros(y.shape), self.lin
        if self._all_finite(lin.A, lin.B, lin.C, lin.cost.y0, lin.cost.y1, lin.cost.u, lin.end):
            lam = self._matched(self._first_multipliers())
        self.guess = replace(self.guess, lam=lam)
        if self.space.bounded:
            self.unit = self._first_unit()
            self.mu = self.unit
        self.guess = replace(
            self.guess, sides=barrier.sides(self.space, self.guess.control.vector, self.mu)
        )
        theta = self.infeasibility
        self.worst, self.since = theta, 0
        unit = max(theta, self._size_of_states())
        size = abs(self.guess.objective) or self.unit
        self.filter = Filter(unit, size, 1e-4, 1e4 * max(1.0, theta / unit))
        self._measure()

    def restart(self, y: np.ndarray, control: Control) -> None:
        """Begin anew with other states, in place."""
        self.begin(y, control)
        self.restarts += 1

    def memory(self) -> Memory:
        """Return what the next iterations depend on; later ones do not change it."""
        guess, pairs = self.guess, list(self.filter.pairs)
        return Memory(
            y=guess.y,
            lam=guess.lam,
            control=guess.control,
            sides=guess.sides,
            typical=self.shooting.typical,
            gains=self.gains,
            filter=replace(self.filter, pairs=pairs),
            numbers={name: getattr(self, name) for name in (*COUNTS, *SIZES)},
        )

    def recall(self, memory: Memory) -> None:
        """Go back to what `memory` returned, in place."""
        y, control = memory.y, memory.control
        self.shooting.typical, self.gains = memory.typical, memory.gains
        self.filter = replace(memory.filter, pairs=list(memory.filter.pairs))
        for name, number in memory.numbers.items():
            setattr(self, name, number)
        defects, value = defects_of(self.shooting, y, control), self.shooting.value(y, control)
        self.guess = Guess(y, control, memory.lam, memory.sides, defects, value)
        self.lin = linearised(self.shooting, y, control, defects)
        self._measure()

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
        if not self._all_finite(slopes):
            return np.zeros(self.guess.y.shape)
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
        # What the controls could change counts where the others are zero by chance.
        gradient = Optimality(self.shooting, guess, self.lin).gradient.vector
        reach = np.abs(gradient) * widths(self.shooting, guess)
        change = float(self.space.sums([self.space.local_pair(weights, reach)])[0])
        size = max(abs(guess.objective) + closing, 1e-2 * change)
        return (size if 0 < size < math.inf else 1.0) / float(total)

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
        self.guess, self.gains = moved, found.gains
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

    def active(self, distance: float = 1e-6) -> np.ndarray:
        """Return -1 where a control is at its lower bound, 1 at its upper bound, else 0.

        It is nearer than `distance`, and than the size of its multiplier, all without units.
        """
        result = np.zeros(self.space.size)
        width = widths(self.shooting, self.guess)
        for side in self.guess.sides:
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                apart = side.distance / width
                at = (apart < distance) & (apart < side.multiplier * width / self.unit)
            result[side.present & at] = -side.sign
        return result

    def is_minimum(self) -> bool:
        """Return whether the second derivatives show a minimum here; exact ones. Collective."""
        s, guess = self.shooting, self.guess
        seeds = guess.lam[1:] + self.lin.cost.y1
        second = hessians(s, guess.y, guess.control, self.lin, seeds)
        diagonal = self.space.weights * barrier.diagonal(guess.sides)
        # Where a direction does not matter, the Hessian there is rounding.
        weight = SMALL[0] * self._hessian_size(second)
        nothing = np.zeros(self.space.size)
        try:
            direction(s, self.lin, second, nothing, diagonal, weight, guess.defects)
        except (NotPositiveDefiniteError, ValueError):
            return False
        return True

    def _seeds(self) -> np.ndarray | None:
        """Return the multipliers of the steps' second derivatives, None if they are left out."""
        return self.guess.lam[1:] + self.lin.cost.y1 if self.exact else None

    def _lower_barrier(self) -> None:
        """Lower the barrier while its problem is solved well enough, in place."""
        while self.space.bounded and self._optimality.with_barrier(self.mu) <= 10 * self.mu:
            relative = self.mu / self.unit
            smaller = max(min(0.1 * relative, relative**1.7), LEAST_BARRIER)
            if smaller >= relative:
                return
            self.mu = smaller * self.unit
            self.filter.clear()

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
        sides = barrier.moved(guess.sides, found.vector, step)
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
        if not self._all_finite(*trial.defects):
            return None
        now, then = self.guess.defects, trial.defects
        better = self._direction(second, (step * now[0] + then[0], step * now[1] + then[1]))
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
        guess = self.guess
        lam = guess.lam + step * (found.multipliers - guess.lam)
        sides = barrier.with_multipliers(trial.sides, guess.sides, duals, dual, self.mu)
        return replace(trial, lam=self._matched(lam), sides=sides)

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
        own = [-self.mu * self.space.local_pair(self.space.weights, barrier.logarithms(sides))]
        return self._infeasibility(defects), objective + float(self.space.sums(own)[0])

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

    def _measure(self) -> None:
        """Set the optimality of the current iterate, in place."""
        optimality = Optimality(self.shooting, self.guess, self.lin)
        self.kkt, self._optimality = optimality.kkt(), optimality
