"""Optimisers of other packages: rank 0 runs one, and all ranks evaluate together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.equations import Cycles
from pint.errors import check_kind, integer, number
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise import scipy_adaptor, tao_adaptor
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.ending import Ending, Limited
from pint.optimise.method import Callback
from pint.optimise.point import Candidate, Point
from pint.optimise.recorder import Recorder
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.safeguard import move_to_best
from pint.optimise.scaled_layout import Optimiser, ScaledLayout, Stop
from pint.reduced_functional import ReducedFunctional

PACKAGES: dict[str, Any] = {"scipy": scipy_adaptor, "tao": tao_adaptor}


@dataclass(frozen=True)
class External(Limited):
    """A gradient-based method of scipy, or of PETSc's TAO.

    States and adjoints are solved to ``functional.accuracy``. The variables are the control's
    values times the square root of the metric's weights, so that the optimiser's Euclidean
    products are those of the metric. The package has its own line searches.

    Parameters
    ----------
    method : str
        A method of `scipy.optimize.minimize` that takes the gradient: ``"scipy:L-BFGS-B"``,
        ``"scipy:TNC"``, ``"scipy:SLSQP"``, ``"scipy:trust-constr"``; without bounds also
        ``"scipy:BFGS"``, ``"scipy:CG"``. Or one of TAO: ``"tao:blmvm"``, ``"tao:bqnls"``,
        ``"tao:bncg"``; without bounds also ``"tao:lmvm"``, ``"tao:cg"``. Newton's methods get
        products with the Hessian, `ReducedFunctional.hessian_product`: without bounds
        ``"scipy:Newton-CG"``, ``"scipy:trust-ncg"``, ``"scipy:trust-krylov"``, ``"tao:nls"``,
        ``"tao:ntr"``; with bounds, too, ``"tao:bnls"``, ``"tao:bntr"``.
    iterations : int
        Largest number of iterations of the optimiser.
    gradient_tolerance : float
        Stop at this gradient norm, in the control's metric. Of ``"scipy:SLSQP"`` and
        ``"scipy:trust-constr"``, which only approach bounds, it is that of ``c - P[c - g]`` if
        that is less.
    options : mapping, optional
        The dictionary ``options`` of `scipy.optimize.minimize`, for example ``{"maxcor": 50}``, or
        PETSc's options of TAO, for example ``{"tao_max_it": 50}``. The package's own tests end
        the run only by options given here, with the status OPTIONS_MET.
    relative_gradient_tolerance : float
        Stop at so many times the first gradient norm, if that is more; dimensionless.
    time_limit, evaluations
        Limits of wall time and evaluations: see `Limited`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    method: str
    iterations: int = 100
    gradient_tolerance: float = 1e-8
    options: Mapping[str, Any] | None = None
    relative_gradient_tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_kind("External", "method", self.method, str, 'a name such as "scipy:L-BFGS-B"')
        object.__setattr__(
            self, "iterations", integer("External", "iterations", self.iterations, 0)
        )
        for name in ("gradient_tolerance", "relative_gradient_tolerance"):
            object.__setattr__(self, name, number("External", name, getattr(self, name)))
        self.check_limits()
        package, _, name = self.method.partition(":")
        if package not in PACKAGES:
            raise ValueError(
                "`External(method=...)` is 'scipy:' and a method of scipy, or 'tao:' and a method "
                f"of TAO, got {self.method!r}."
            )
        adaptor = PACKAGES[package]
        known = (*adaptor.WITH_BOUNDS, *adaptor.WITHOUT_BOUNDS)
        if name not in known:
            raise ValueError(
                f"`External(method={self.method!r})`: the methods of {package} that use the "
                f"gradient, and nothing but the gradient, are {', '.join(known)}."
            )
        if self.options is not None:
            check_kind("External", "options", self.options, Mapping, "a dictionary")
            for key in self.options:
                check_kind("External", "options", key, str, "a dictionary whose keys are strings")

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        package, _, name = self.method.partition(":")
        bounded = any(field.bounded for field in problem.controls.values())
        with_bounds = PACKAGES[package].WITH_BOUNDS
        if bounded and name not in with_bounds:
            raise ValueError(
                f"`External(method={self.method!r})`: the method takes no bounds, but the control "
                f"has some; use {', '.join(with_bounds)}."
            )
        for key, field in problem.controls.items():
            if field.matrix and not (field.matrix.is_diagonal or field.matrix.has_root):
                raise ValueError(
                    f"`External`: the metric of the control `{key}` must be a matrix of scipy or a "
                    "diagonal one; use `pint.ReducedSpace` with a matrix of PETSc."
                )
        PACKAGES[package].require()

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        package, _, name = self.method.partition(":")
        optimiser = partial(PACKAGES[package].optimise, name, self.options or {})
        with ending_all_ranks(functional.ranks_to_end):
            run = ExternalRun(functional, self, callback)
            run.begin(functional.controls.project(start))
            if not run.stopped:
                _drive(run, optimiser)
            return run.result()


def _drive(run: ExternalRun, optimiser: Optimiser) -> None:
    """Run the optimiser on rank 0; the other ranks evaluate along with it. Collective."""
    layout = run.layout
    bounds, start = layout.bounds(), layout.gather(run.control.vector)
    # One optimiser, because two could decide differently and wait for each other.
    if not layout.is_root:
        while (request := layout.broadcast(None)) is not None:
            getattr(run, request[0])(request[1])
        return

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        x = np.array(x)  # the optimiser may write over its own
        layout.broadcast(("evaluate", x))
        result = run.evaluate(x)
        if run.stopped or not run.finite:
            raise Stop
        return result

    def record(x: np.ndarray) -> bool:
        x = np.array(x)
        layout.broadcast(("record", x))
        run.record(x)
        return run.stopped

    def product(x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        request = np.array([x, direction])
        layout.broadcast(("multiply", request))
        result = run.multiply(request)
        if run.stopped or not run.finite:
            raise Stop
        return result

    run.by_options = optimiser(evaluate, record, product, start, bounds)
    layout.broadcast(None)


class ExternalRun:
    """One run of an optimiser: what has been evaluated, the history, and why it stopped.

    Parameters
    ----------
    functional : ReducedFunctional
    method : External
    callback : callable or None
    """

    def __init__(
        self, functional: ReducedFunctional, method: External, callback: Callback | None
    ) -> None:
        self.functional, self.method = functional, method
        self.layout = ScaledLayout(functional.controls)
        self.point = Point(functional)
        package, _, name = method.method.partition(":")
        self.point.nears_bounds = name in PACKAGES[package].NEAR_BOUNDS
        if name in PACKAGES[package].WITH_PRODUCTS:
            user = f"External(method={method.method!r})"
            functional.state.require_all_points(user, "'scipy:L-BFGS-B'")
            self.point.adjoint = functional.adjoint.new()  # products need those of all points
        self.history: list[Iterate] = []
        self.recorder = Recorder(functional, callback, self.history)
        self.ending = Ending(functional, method)
        # Since the last row, and in the whole run
        self.evaluations = self.evaluated = 0
        self.best: tuple[float, Control]
        self.stopped, self.finite, self.by_options = False, True, False
        self.reason: Status | None = None
        self.control: Control
        # The optimiser's variables of the point, and of the last row
        self.at = self.recorded = np.empty(0)

    def begin(self, control: Control) -> None:
        """Evaluate the first control, row 0 of the history, in place. Collective."""
        self.control = control
        self.at = self.layout.gather(control.vector)
        self._solve(control)
        self.functional.require_finite(self.point.value)
        self.best = self.point.value.objective, self.point.control
        self.record(self.at)

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its derivative at the optimiser's variables. Collective."""
        if not np.array_equal(x, self.at):
            self.reason = self.ending.before_trial(self.evaluated)
            self.stopped = self.reason is not None
            if not self.stopped:
                self._move(x)
        if self.stopped or not self.finite:
            return math.inf, np.zeros_like(x)
        dual = self.point.gradient.space.dual(self.point.gradient)
        return self.point.value.objective, self.layout.gather_dual(dual.vector)

    def multiply(self, request: np.ndarray) -> np.ndarray:
        """Return the Hessian at the optimiser's variables times a direction. Collective."""
        x, direction = request
        if not np.array_equal(x, self.at):
            self._move(x)
        if self.stopped or not self.finite:
            return np.zeros_like(x)
        functional, point = self.functional, self.point
        how = Cycles(functional.accuracy)
        along = self.layout.direction(direction)
        dual = functional.second_order.product(point.state, point.adjoint, along, "full", how)
        result = self.layout.gather_dual(dual.vector)
        self.finite = bool(self.layout.broadcast(bool(np.isfinite(result).all())))
        return result

    def record(self, x: np.ndarray) -> None:
        """Add the iterate `x` to the history, and stop if it is the last one. Collective."""
        if np.array_equal(x, self.recorded):  # trust-constr reports rejected steps too
            return
        # An optimiser may report an iterate after it has tried another point.
        if not np.array_equal(x, self.at):
            self._move(x)
        self.recorded, self.control = x, self.point.control
        row = self.recorder.add(self.point, math.nan, max(self.evaluations - 1, 0))
        self.evaluations = 0
        if row.objective < self.best[0]:
            self.best = row.objective, self.control
        if row.gradient_norm <= self.tolerance:
            self.point.solve_exactly()
            self.stopped = self.point.gradient_norm() <= self.tolerance
        self.reason = self.ending.after_row(self.evaluated, self.recorder.asked)
        at_limit = row.iteration >= self.method.iterations
        self.stopped = self.stopped or at_limit or self.reason is not None

    def result(self) -> Result:
        """Return the best iterate, its state and adjoint solved exactly. Collective."""
        finite, inexact = self.finite, self.history[-1].gradient_norm
        cause = "" if finite else self.point.cause()
        self.point.solve_exactly(self.control)
        last, tolerance = self.history[-1].iteration, self.tolerance
        error = abs(self.point.gradient_norm() - inexact)
        if min(self.point.gradient_norm(), error) > tolerance > 0:  # zero is never met
            self.functional.solves.warn(
                f"the error of the gradient by the solves, {error:.2g}, is above "
                f"`gradient_tolerance`, {tolerance:.2g}: use a smaller tolerance of the solves, or "
                "one level."
            )
        converged = self.point.gradient_norm() <= tolerance
        # Some methods end at a worse iterate than they have met.
        if not converged and self.best[1] is not self.control:
            objective = self.point.value.objective
            move_to_best(self.point, Candidate(self.functional), [self.best[1]], objective)
        if converged:
            status = Status.CONVERGED
        elif self.reason is not None:
            status = self.reason
        elif last >= self.method.iterations:
            status = Status.ITERATION_LIMIT
        elif finite and self.layout.broadcast(self.by_options):
            status = Status.OPTIONS_MET
        # The package alone knows why else it stopped: its line search found no better point.
        else:
            status = Status.LINE_SEARCH_FAILED if finite else Status.NOT_FINITE
        cause = cause if status is Status.NOT_FINITE else ""
        return self.recorder.result(self.point, status, last, cause)

    @property
    def tolerance(self) -> float:
        """The gradient norm to stop at."""
        relative = self.method.relative_gradient_tolerance * self.history[0].gradient_norm
        return max(self.method.gradient_tolerance, relative)

    def _move(self, x: np.ndarray) -> None:
        """Evaluate the optimiser's variables, in place. Collective."""
        self.at = np.array(x)
        self._solve(self.layout.control(x))

    def _solve(self, control: Control) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            self.point.solve_state(control, self.functional.accuracy)
            if not math.isfinite(self.point.value.objective) and self.functional.grid.levels > 1:
                self.point.solve_exactly(control)  # cycles may blow up where steps do not
                self.finite = math.isfinite(self.point.value.objective)
                return
            self.finite = math.isfinite(self.point.value.objective)
            # The adjoint at a state that is not finite would not be finite either.
            if self.finite:
                self.point.solve_adjoint(self.functional.accuracy)
                # Some optimisers go on with NaN for ever.
                self.finite = math.isfinite(control.space.norm(self.point.gradient))
        # The package compares objectives by itself: nothing is estimated for it.
        self.point.objective_error = self.point.gradient_error = math.nan
        self.evaluations += 1
        self.evaluated += 1
