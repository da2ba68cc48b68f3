"""What optimisers of other packages need: one vector, one function, on one rank.

Rank 0 runs the optimiser on the vector of all ranks' values and tells the others what to evaluate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, ControlSpace
from pint.optimise.descent import Callback, Options, evaluated, measures
from pint.optimise.point import Point
from pint.optimise.result import Iterate, Result, Status
from pint.reduced_functional import ReducedFunctional
from pint.report.memory import peak_memory_of_ranks

Bounds = tuple[np.ndarray, np.ndarray]
Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray]]
Record = Callable[[np.ndarray], bool]
Optimiser = Callable[[Evaluate, Record, np.ndarray, Bounds | None], None]
"""Runs an optimiser from a start and within bounds, on rank 0 only.

`evaluate` returns objective and derivative, infinity and zeros where the objective is not finite;
`record` is told each iterate and returns whether to stop.
"""


def minimize_externally(
    functional: ReducedFunctional,
    control: Control,
    optimiser: Optimiser,
    options: Options,
    callback: Callback | None = None,
) -> Result:
    """Minimise by an optimiser of another package. Collective.

    The variables are the control's values times the square root of the metric's weights, so that
    the optimiser's Euclidean products are those of the metric.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Where to start; projected to the bounds.
    optimiser : Optimiser
    options : Options
        `iterations` and `gradient_tolerance` count.
    callback : callable, optional
        Receives each `Iterate`, its control and its state; it must not change them.

    Raises
    ------
    NotFiniteError
        If the objective at the first control is NaN or infinite.
    """
    with ending_all_ranks(functional.ranks_to_end):
        run = _Run(functional, control, options, callback)
        run.start()
        if not run.stopped:
            _drive(run, optimiser)
        return run.result()


def _drive(run: _Run, optimiser: Optimiser) -> None:
    """Run the optimiser on rank 0; the other ranks evaluate what it asks for. Collective."""
    layout = run.layout
    bounds, start = layout.bounds(), layout.gather(run.control.vector)
    if not layout.is_root:
        while (request := layout.broadcast(None)) is not None:
            getattr(run, request[0])(request[1])
        return

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        x = np.array(x)
        layout.broadcast(("evaluate", x))
        return run.evaluate(x)

    def record(x: np.ndarray) -> bool:
        x = np.array(x)
        layout.broadcast(("record", x))
        run.record(x)
        return run.stopped

    optimiser(evaluate, record, start, bounds)
    layout.broadcast(None)


class _Layout:
    """The vector of the optimiser: the scaled values of all ranks, each value once.

    Parameters
    ----------
    space : ControlSpace
    """

    def __init__(self, space: ControlSpace) -> None:
        self.space = space
        self.in_time, self.in_space = space.comm, space.space_comm
        self.roots = np.sqrt(space.weights)
        self.numbers = self._numbers()

    @property
    def is_root(self) -> bool:
        """Whether this rank runs the optimiser."""
        return bool(self.in_time.rank == 0 and self.in_space.rank == 0)

    def broadcast(self, value: Any) -> Any:
        """Give every rank the value of the root. Collective."""
        return self.in_space.bcast(self.in_time.bcast(value, root=0), root=0)

    def _numbers(self) -> np.ndarray:
        """Return the places of this rank's values in the optimiser's vector. Collective."""
        numbers, start = [], 0
        for part, (over_time, over_space) in self.space.parts:
            size = part.stop - part.start
            sizes = np.array(self.in_space.allgather(self.in_time.allgather(size)))
            column = self.in_time.rank if over_time else 0
            row = self.in_space.rank if over_space else 0
            sizes = sizes[: None if over_space else 1, : None if over_time else 1]
            before = sizes.ravel()[: row * sizes.shape[1] + column].sum()
            numbers.append(start + int(before) + np.arange(size))
            start += int(sizes.sum())
        self.total = start
        return np.concatenate(numbers)

    def gather(self, vector: np.ndarray) -> np.ndarray:
        """Return the scaled values of all ranks, from this rank's values. Collective."""
        return self._gathered(vector * self.roots)

    def gather_dual(self, vector: np.ndarray) -> np.ndarray:
        """Return the derivative with respect to the scaled values. Collective."""
        return self._gathered(vector / self.roots)

    def _gathered(self, vector: np.ndarray) -> np.ndarray:
        whole = np.empty(self.total)
        for column in self.in_space.allgather(self.in_time.allgather((self.numbers, vector))):
            for numbers, values in column:
                whole[numbers] = values
        return whole

    def control(self, x: np.ndarray) -> Control:
        """Return this rank's part of the optimiser's vector as a control within the bounds."""
        # Scaling there and back may leave a bound by the last digit.
        return self.space.project(Control(self.space, x[self.numbers] / self.roots))

    def bounds(self) -> Bounds | None:
        """Return the scaled bounds of all values, None without any. Collective."""
        if not self.space.bounded:
            return None
        return self.gather(self.space.lower), self.gather(self.space.upper)


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
        self.at = self.recorded = np.empty(
            0
        )  # the optimiser's variables of the point, and of the last row

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
        """Return J and its derivative at the optimiser's variables. Collective."""
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
            **measures(self.point),
            objective_error=math.nan,
            gradient_error=math.nan,
            step=math.nan,
            line_search_trials=max(self.evaluations - 1, 0),
            seconds=time.perf_counter() - self.started,
            **evaluated(self.functional),
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
            peak_memory=peak_memory_of_ranks(
                self.functional.comm, self.functional.problem.space.comm
            ),
        )
