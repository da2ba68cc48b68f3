"""The steps of Newton's method: a system, a trial within the trust region, the next system."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pint.controls import Control, held_by_bounds
from pint.equations import Cycles, March
from pint.mgrit import Accuracy
from pint.optimise.ending import Ending
from pint.optimise.fixed_cycles import FixedCycles
from pint.optimise.lbfgs import InverseHessian
from pint.optimise.method import Callback
from pint.optimise.newton.coarse import Pairs, coarse_step, complement
from pint.optimise.newton.system import NewtonSystem
from pint.optimise.point import Candidate, Point
from pint.optimise.recorder import Recorder, is_finite
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.safeguard import ROUNDED, Safeguard, move_to_best
from pint.reduced_functional import ReducedFunctional

if TYPE_CHECKING:
    from pint.optimise.newton.method import NewtonCG

FIRST_FORCING, MOST_FORCING = 0.1, 0.5
"""Parts of the gradient's norm to which systems are solved: of the first one, and at most."""

BEYOND = 0.3
"""Of the tolerance, to which a system is solved at most."""

ACCEPTED, GOOD = 1e-4, 0.75
"""Parts of the predicted decrease from which a step is accepted, and the radius may grow."""

QUADRATIC = 1e-3
"""Relative error of the predicted gradient, below which the objective counts as quadratic."""

MOST_REJECTED = 30

COARSE_TOLERANCE = 1e-2
"""Part of the first gradient's norm to which the coarser problem is solved."""


class Loop:
    """One run. Changes in place; methods are collective.

    Attributes
    ----------
    pairs : list of (Control, Control)
        Directions and their products with the Hessian, oldest first.
    sweeps : dict of str to float
        See `Iterate.sweeps`.
    """

    def __init__(
        self,
        functional: ReducedFunctional,
        method: NewtonCG,
        accuracy: Accuracy,
        callback: Callback | None = None,
    ) -> None:
        self.functional, self.method, self.accuracy = functional, method, accuracy
        self.point, self.candidate = Point(functional), Candidate(functional)
        self.point.adjoint = functional.adjoint.new()  # products need those of all points
        self.strategy = Safeguard(FixedCycles(accuracy))
        self.history: list[Iterate] = []
        self.recorder = Recorder(functional, callback, self.history)
        self.ending = Ending(functional, method)
        self.sweeps = {"state": 1.0, "adjoint": 1.0, "tangent": 0.0}
        self.pairs: Pairs = []
        self.inverse = InverseHessian(method.pairs, rescaled=False)
        self.scaling = 0.0  # not known
        self.radius, self.forcing = math.inf, FIRST_FORCING
        self.evaluations, self.rejected, self.cause = 1, 0, ""

    def result(self, start: Control) -> Result:
        """Minimise from `start`."""
        status = self.run(start)
        point, row = self.point, self.history[-1]
        with np.errstate(over="ignore", invalid="ignore"):
            if status is not Status.CONVERGED:
                point.solve_exactly()
            objective = point.value.objective
            if not is_finite(point):
                status, objective = Status.NOT_FINITE, math.inf
                self.cause = self.cause or point.cause()
            rivals = [start] if row.iteration else []
            noise = ROUNDED if status is Status.CONVERGED else 0.0
            moved = move_to_best(point, self.candidate, rivals, objective, noise)
            if moved and status is Status.CONVERGED:
                status = Status.DIVERGING
        return self.recorder.result(point, status, row.iteration, self.cause)

    def run(self, start: Control) -> Status:
        """Iterate from `start`; return why the run ends."""
        self.strategy.begin(self.point, start)
        self._record(1.0)
        status = self._ended()
        while status is None:
            status = self._update()
            if status is None:
                self._record(self.point.control.space.norm(self.moved))
                status = self._ended()
        return status

    def _record(self, step: float) -> None:
        self.recorder.add(self.point, step, self.rejected, sweeps=dict(self.sweeps))

    @property
    def tolerance(self) -> float:
        """The gradient norm to stop at."""
        relative = self.method.relative_gradient_tolerance * self.history[0].gradient_norm
        return max(self.method.gradient_tolerance, relative)

    def _ended(self) -> Status | None:
        """Return why the run ends at the current iterate, if it does."""
        point, row = self.point, self.history[-1]
        reason = self.ending.after_row(self.evaluations, self.recorder.asked)
        if not math.isfinite(row.gradient_norm):
            self.strategy.solve_exactly(point)
            if not is_finite(point):
                self.cause = point.cause()
                return Status.NOT_FINITE
        if point.gradient_norm() <= self.tolerance:
            # Inexact solves may have found a small gradient where the true one is not.
            inexact = point.gradient
            point.solve_exactly()
            if point.gradient_norm() <= self.tolerance:
                return Status.CONVERGED
            self.strategy.rest_from(point, inexact, self.tolerance)
        return Status.ITERATION_LIMIT if row.iteration >= self.method.iterations else reason

    # One step

    def _update(self) -> Status | None:
        """Move by one Newton step, in place; return why there is none."""
        point, self.rejected = self.point, 0
        self.moved = point.control.space.zeros()
        if not self.history[-1].iteration and self.method.coarse > 1:
            self._begin_coarsely()
        held = held_by_bounds(point.control, point.gradient)
        system = NewtonSystem(point.gradient, self._product, self._preconditioner(), held)
        while True:
            norm = point.gradient_norm()
            if norm <= self.tolerance:
                return None
            target = max(self.forcing * norm, BEYOND * self.tolerance, self._error(norm))
            system.solve(target, self.radius, self.method.inner_iterations, self._size())
            reason = self._searched(system)
            self.pairs = [*self.pairs, *system.pairs][-max(self.method.pairs, 1) :]
            system.pairs = []
            if reason is not None:
                return reason
            # A quadratic objective: the same system, from the new origin, down to the tolerance.
            if not self._is_quadratic(system, norm):
                return None
            self.forcing = 0.0
            system.rebase(point.gradient)

    def _error(self, norm: float) -> float:
        """Return the error of a gradient by inexact solves, as far as it is known."""
        error = self.point.gradient_error
        error = error if math.isfinite(error) else 0.0
        return max(error, self.strategy.tolerance * norm)

    def _is_quadratic(self, system: NewtonSystem, norm: float) -> bool:
        """Adapt the forcing term to the last step; return whether its model was exact."""
        point, space = self.point, self.point.control.space
        whole, model = self._whole, space.norm(system.residual)
        difference = space.norm(point.gradient - self.old_gradient - self.predicted)
        self.forcing = min(MOST_FORCING, max(difference / norm, 1e-8))
        exact = difference <= QUADRATIC * min(norm, max(model, 1e-2 * norm))
        rest = point.gradient_norm() > self.tolerance and not system.held.any()
        return exact and whole and rest and not system.found_negative

    def _searched(self, system: NewtonSystem) -> Status | None:
        """Move along the path of a system within the trust region, in place."""
        point, space = self.point, self.point.control.space
        error = self._comparison_error()
        while True:
            step, predicted = system.at(self.radius)
            length, control = space.norm(step), space.project(point.control + step)
            taken = control - point.control
            clipped = space.bounded and space.norm(taken - step) > 1e-12 * length
            if clipped:  # the model is that of the whole step
                predicted = space.inner(point.gradient, taken)
            if not predicted < 0:
                return Status.LINE_SEARCH_FAILED
            ratio = self._tried(control, predicted, error)
            if ratio >= ACCEPTED:
                break
            self.rejected += 1
            reason = self.ending.before_trial(self.evaluations)
            if reason is not None or self.rejected > MOST_REJECTED:
                self.cause = self.functional.cause_of(self.candidate.value)
                failed = Status.NOT_FINITE if self.cause else Status.LINE_SEARCH_FAILED
                return reason or failed
            self.radius = 0.25 * length
        self._whole = not clipped and length == system.lengths[-1]
        if ratio >= GOOD:
            self.radius = max(self.radius, 2.0 * length)
        elif ratio < 0.25:
            self.radius = 0.5 * length
        self.predicted = system.residual - system.gradient
        self._accept(taken)
        return None

    def _size(self) -> float:
        """Return the size of the objective's parts."""
        value = self.point.value
        return abs(value.cost) + sum(map(abs, value.regularisers))

    def _comparison_error(self) -> float:
        """Return the error to expect where objectives are compared with that of the point."""
        return self.point.comparison_error(self.strategy.tolerance) + ROUNDED * self._size()

    def _tried(self, control: Control, predicted: float, error: float) -> float:
        """Evaluate a candidate; return the part of the predicted decrease that it achieves."""
        with np.errstate(over="ignore", invalid="ignore"):
            trial = self.strategy.trial(self.candidate, self.point, control, ACCEPTED)
        self.evaluations += 1
        self.sweeps["state"] += 1
        change = trial.objective - self.point.value.objective
        if not math.isfinite(change):
            return -math.inf
        # Where rounding hides the decrease, the model is all there is.
        return 1.0 if abs(predicted) <= error >= change else change / predicted

    def _accept(self, taken: Control) -> None:
        """Move to the candidate, in place: adjoint sweep and gradient."""
        self.old_gradient, self.moved = self.point.gradient, self.moved + taken
        self.strategy.accept(self.point, self.candidate)
        self.sweeps["adjoint"] += 1

    # Products and preconditioner

    def _product(self, direction: Control) -> Control:
        """Return the Hessian times a direction, at the current point."""
        how = March() if self.strategy.exact else Cycles(self.accuracy)
        point, second = self.point, self.functional.second_order
        dual = second.product(point.state, point.adjoint, direction, self.method.hessian, how)
        self.sweeps["tangent"] += 1
        self.sweeps["adjoint"] += 1
        return self.functional.controls.riesz(dual)

    def _preconditioner(self) -> InverseHessian:
        """Return L-BFGS of the pairs, on a multiple of the identity for other directions."""
        if not self.pairs or not self.method.pairs:
            return self.inverse.cleared()
        if not self.scaling:
            direction = complement(self.functional, self.method.coarse)
            product, space = self._product(direction), direction.space
            curvature, squared = space.inner(direction, product), space.inner(direction, direction)
            self.scaling = squared / curvature if curvature > 1e-12 * squared else 1.0
        inverse = self.inverse.cleared()
        for s, y in self.pairs:
            inverse = inverse.updated(s, y)
        return replace(inverse, scaling=self.scaling)

    def _begin_coarsely(self) -> None:
        """Take the step that a coarser time grid proposes, if it is any good, and its pairs."""
        point, space, method = self.point, self.functional.controls, self.method
        rough = replace(
            method,
            gradient_tolerance=max(
                method.gradient_tolerance, COARSE_TOLERANCE * self.history[0].gradient_norm
            ),
            relative_gradient_tolerance=0.0,
        )

        def minimise(
            functional: ReducedFunctional, start: Control
        ) -> tuple[Control, Pairs, dict[str, float]]:
            loop = Loop(functional, rough, self.accuracy)
            loop.run(start)
            return loop.point.control, loop.pairs, loop.sweeps

        found = coarse_step(self.functional, point, method.coarse, minimise)
        if found is None:
            return
        for name, count in found.sweeps.items():
            self.sweeps[name] += count
        self.pairs = found.pairs
        control = space.project(point.control + found.step)
        taken = control - point.control
        slope = space.inner(point.gradient, taken)
        error = self._comparison_error()
        if slope < 0 and self._tried(control, slope, error) >= ACCEPTED:
            self._accept(taken)
