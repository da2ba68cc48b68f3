"""`scipy.optimize.minimize` for a reduced functional, in variables scaled by the metric."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize

from pint.comm import ending_all_ranks
from pint.controls import Control, ControlSpace
from pint.optimise.descent import Callback, Options, Point, residual, steps_evaluated
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import ReducedFunctional

WITH_BOUNDS = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
WITHOUT_BOUNDS = ("BFGS", "CG", "Newton-CG")

# Our stopping test decides, so scipy's own tests are made so strict that they never do.
_NEVER = {"ftol": 0.0, "gtol": 0.0}
_UNLIMITED = 10**9
_OPTIONS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {**_NEVER, "maxcor": 20, "maxfun": _UNLIMITED, "maxiter": _UNLIMITED},
    "TNC": {**_NEVER, "xtol": 0.0, "maxfun": _UNLIMITED},
    "SLSQP": {"ftol": 1e-300, "maxiter": _UNLIMITED},
    "trust-constr": {
        "gtol": 0.0,
        "xtol": 1e-15,
        "barrier_tol": 1e-15,
        "initial_barrier_parameter": 1e-4,
        "initial_barrier_tolerance": 1e-4,
        "maxiter": _UNLIMITED,
    },
    "BFGS": {"gtol": 0.0, "maxiter": _UNLIMITED},
    "CG": {"gtol": 0.0, "maxiter": _UNLIMITED},
    "Newton-CG": {"xtol": 0.0, "maxiter": _UNLIMITED},
}


def scipy_minimize(
    functional: ReducedFunctional,
    control: Control,
    method: str,
    options: Options,
    callback: Callback | None = None,
    scipy_options: Mapping[str, Any] | None = None,
) -> Result:
    """Minimise by a gradient-based method of `scipy.optimize.minimize`. Collective.

    The variables are the control's values times the square root of the metric's weights, so that
    scipy's Euclidean products are those of the metric. Rank 0 runs scipy on the vector of all
    time steps and tells the others what to evaluate.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    method : str
        Of scipy: L-BFGS-B, TNC, SLSQP, trust-constr; without bounds also BFGS, CG, Newton-CG.
    options : Options
        `iterations` and `gradient_tolerance` count; scipy has its own line searches.
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.
    scipy_options : mapping, optional
        The dictionary ``options`` of `scipy.optimize.minimize`, for example ``{"maxcor": 50}``.

    Raises
    ------
    ValueError
        If the method is unknown, takes no gradient, or takes no bounds where there are some.
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    """
    _check_method(method, control.space)
    with ending_all_ranks(functional.comm):
        run = _Run(functional, control, options, callback)
        run.start()
        if not run.stopped:
            _drive(run, method, {**_OPTIONS[method], **(scipy_options or {})})
        return run.result()


def _check_method(method: str, space: ControlSpace) -> None:
    known = (*WITH_BOUNDS, *WITHOUT_BOUNDS)
    if method not in known:
        raise ValueError(
            f"`minimize(method='scipy:{method}')`: the methods of scipy that use the gradient, "
            f"and nothing but the gradient, are {', '.join(known)}."
        )
    if space.bounded and method not in WITH_BOUNDS:
        raise ValueError(
            f"`minimize(method='scipy:{method}')`: the method takes no bounds, but the control has "
            f"some; use {', '.join(WITH_BOUNDS)}."
        )


class _Stop(Exception):  # noqa: N818  (no error: it leaves scipy's loop)
    """Raised inside scipy to leave it; not every method of scipy ends by `StopIteration`."""


def _drive(run: _Run, method: str, options: dict[str, Any]) -> None:
    """Run scipy on rank 0; the other ranks evaluate what it asks for. Collective."""
    layout, comm = run.layout, run.functional.comm
    bounds = layout.bounds()
    start = layout.gather(run.control.vector)
    if comm.rank > 0:
        while (request := comm.bcast(None, root=0)) is not None:
            getattr(run, request[0])(request[1])
        return

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        comm.bcast(("evaluate", x), root=0)
        value, gradient = run.evaluate(x)
        if not math.isfinite(value):
            raise _Stop
        return value, gradient

    def record(x: np.ndarray, *unused: Any) -> None:
        x = np.array(x)
        comm.bcast(("record", x), root=0)
        run.record(x)
        if run.stopped:
            raise _Stop

    try:
        scipy.optimize.minimize(
            evaluate,
            start,
            jac=True,
            method=method,
            bounds=bounds,
            callback=record,
            options=options,
        )
    except _Stop:
        pass
    comm.bcast(None, root=0)


class _Layout:
    """The vector of scipy: all ranks' time-dependent values, then the shared ones, scaled.

    Parameters
    ----------
    space : ControlSpace
    """

    def __init__(self, space: ControlSpace) -> None:
        self.space, self.comm = space, space.comm
        self.distributed = sum(space.zeros()[name].size for name in space.time_fields)
        sizes = self.comm.allgather(self.distributed)
        self.first = sum(sizes[: self.comm.rank])
        self.total = sum(sizes)
        self.roots = np.sqrt(space.weights)

    def gather(self, vector: np.ndarray) -> np.ndarray:
        """Return the scaled values of all ranks, from this rank's values. Collective."""
        return self._gathered(vector * self.roots)

    def gather_dual(self, vector: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to the scaled values. Collective."""
        return self._gathered(vector / self.roots)

    def _gathered(self, vector: np.ndarray) -> np.ndarray:
        parts = self.comm.allgather(vector[: self.distributed])
        return np.concatenate([*parts, vector[self.distributed :]])

    def control(self, x: np.ndarray) -> Control:
        """Return this rank's part of scipy's vector as a control within the bounds."""
        own = [x[self.first : self.first + self.distributed], x[self.total :]]
        # Scaling there and back may leave a bound by the last digit.
        return self.space.project(Control(self.space, np.concatenate(own) / self.roots))

    def bounds(self) -> scipy.optimize.Bounds | None:
        """Return the scaled bounds of all values, None without any. Collective."""
        if not self.space.bounded:
            return None
        return scipy.optimize.Bounds(self.gather(self.space.lower), self.gather(self.space.upper))


class _Run:
    """One optimisation: what has been evaluated, the history, and why it stopped."""

    def __init__(
        self,
        functional: ReducedFunctional,
        control: Control,
        options: Options,
        callback: Callback | None,
    ) -> None:
        self.started = time.perf_counter()
        self.functional, self.options, self.callback = functional, options, callback
        self.layout = _Layout(control.space)
        self.point = Point(functional)
        self.history: list[Iterate] = []
        self.evaluations = 0
        self.stopped, self.finite = False, True
        self.control = control.space.project(control)
        self.at = self.recorded = np.empty(0)  # scipy's variables of the point, and of the last row

    def start(self) -> None:
        """Evaluate the first control, row 0 of the history. Collective."""
        self.at = self.layout.gather(self.control.vector)
        self._solve(self.control)
        self.functional.require_finite(self.point.value)
        self.record(self.at)

    def _solve(self, control: Control) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            self.point.solve_state(control, self.functional.accuracy)
            self.finite = math.isfinite(self.point.value.objective)
            if self.finite:
                self.point.solve_adjoint(self.functional.accuracy)
        self.evaluations += 1

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its derivative at scipy's variables. Collective."""
        if not np.array_equal(x, self.at):
            self.at = np.array(x)
            self._solve(self.layout.control(x))
        if not self.finite:
            return math.inf, np.zeros_like(x)
        dual = self.point.gradient.space.dual(self.point.gradient)
        return self.point.value.objective, self.layout.gather_dual(dual.vector)

    def record(self, x: np.ndarray) -> None:
        """Add the iterate `x` to the history, and stop if it is the last one. Collective."""
        if np.array_equal(x, self.recorded):  # trust-constr reports rejected steps too
            return
        if not np.array_equal(x, self.at):
            self.evaluate(x)
        self.recorded, self.control = x, self.point.control
        iterate = Iterate(
            iteration=len(self.history),
            objective=self.point.value.objective,
            cost=self.point.value.cost,
            gradient_norm=self.point.gradient_norm,
            state_residual=residual(self.point.state),
            adjoint_residual=residual(self.point.adjoint),
            step=math.nan,
            line_search_trials=max(self.evaluations - 1, 0),
            seconds=time.perf_counter() - self.started,
            **steps_evaluated(self.functional),
        )
        self.evaluations = 0
        self.history.append(iterate)
        if self.callback is not None:
            self.callback(iterate, self.point.control, self.point.state)
        if iterate.gradient_norm <= self.options.gradient_tolerance:
            self.point.solve_exactly()
            self.stopped = self.point.gradient_norm <= self.options.gradient_tolerance
        self.stopped = self.stopped or iterate.iteration == self.options.iterations

    def result(self) -> Result:
        """Return the last iterate, its state and adjoint solved exactly. Collective."""
        finite = self.finite
        if self.point.control is not self.control:
            self.functional.propagate(self.point.state, self.control)
        self.point.solve_exactly()
        last = self.history[-1].iteration
        if self.point.gradient_norm <= self.options.gradient_tolerance:
            status = Status.CONVERGED
        elif last == self.options.iterations:
            status = Status.ITERATION_LIMIT
        else:
            status = Status.LINE_SEARCH_FAILED if finite else Status.NOT_FINITE
        return Result(
            control=self.point.control,
            objective=self.point.value.objective,
            cost=self.point.value.cost,
            gradient_norm=self.point.gradient_norm,
            status=status,
            iterations=last,
            history=tuple(self.history),
            state=self.point.state,
        )
