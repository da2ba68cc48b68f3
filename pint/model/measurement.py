"""Measure what a problem's operations cost here, with as many ranks at work as there are."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pint.comm import SerialComm, ends_all_ranks, reduce
from pint.controls import Control, ControlSpace
from pint.equations.sweeps import AdjointSweep, StateSweep, steps_from
from pint.grid import TimeGrid, as_slice
from pint.interface import Problem
from pint.mgrit import Accuracy
from pint.mgrit.hierarchy import Level
from pint.model.costs import FREE, CallCost, Costs
from pint.reduced_functional import ReducedFunctional


def measure(
    problem: Problem,
    control: Control,
    *,
    seconds: float = 0.2,
    average: Callable[[list[float]], float] = statistics.median,
) -> Costs:
    """Measure the costs of a problem's own steps, derivatives and objective on this machine.

    All ranks measure at the same time and the slowest one counts, so that what they take from
    each other, memory bandwidth above all, is part of the costs: run it on as many ranks of a
    machine as the run to be predicted has there. Collective.

    Parameters
    ----------
    problem : Problem
        Its levels are measured. It should be large enough not to fit the caches, if the one to
        be predicted does not; two or three levels will do.
    control : Control
        Steps are made for this control; their cost should not depend on it.
    seconds : float
        To spend on each of about 20 operations.
    average : callable
        Makes one number of the seconds of the same call again and again. The median leaves out
        what a busy machine adds; `statistics.fmean` keeps it, as runs on that machine do.

    Returns
    -------
    Costs
        Latency and bandwidth are measured between the first two ranks. With one rank they are
        those of `Costs`: 2 microseconds and 10 GB/s; see `Costs.with_network`.

    Raises
    ------
    ValueError
        If `seconds` is not positive.
    """
    if not 0 < seconds < np.inf:
        raise ValueError(f"`measure(seconds=...)` must be positive, got {seconds}.")
    return _Measurement(problem, control, seconds, average).costs()


class _Measurement:
    """A problem with a state and an adjoint, on which operations are timed."""

    def __init__(
        self,
        problem: Problem,
        control: Control,
        seconds: float,
        average: Callable[[list[float]], float],
    ) -> None:
        self.control, self.seconds, self.average = control, seconds, average
        # Its own functional: the user's counters and clocks stay as they are.
        self.functional = ReducedFunctional(problem, relaxation="F", guess="coarse")
        self.problem, self.comm = self.functional.problem, self.functional.comm
        self.ranks_to_end = self.functional.ranks_to_end
        self.state, self.adjoint = self.functional.new_state(), self.functional.new_adjoint()

    @ends_all_ranks
    def costs(self) -> Costs:
        functional, state, adjoint = self.functional, self.state, self.adjoint
        functional.state_cycles(state, self.control, Accuracy(cycles=1))
        functional.adjoint_cycles(adjoint, state, Accuracy(cycles=1))
        functional.derivative_of(state, adjoint)
        # The solver has been left with steps that form the derivative, too.
        solver, sweep = functional.adjoint_solver, functional.adjoint_sweep(state, adjoint)
        solver.relax(sweep, adjoint.trajectory, adjoint.sources)
        edges = self._edges()
        by_steps = self._by_steps(edges)
        latency, bandwidth = self._network()
        stages = int(np.ceil(np.log2(self.comm.size)))
        reduction = self._time(lambda: reduce(self.comm, [0.0, 0.0]))
        call = self._time(lambda: reduce(SerialComm(), [0.0, 0.0]))
        copy, norm = self._passes()
        return Costs(
            state=[self._step(level) for level in functional.state_solver.levels],
            adjoint=[self._step(level) for level in functional.adjoint_solver.levels],
            derivative=by_steps["derivative"],
            objective=by_steps["objective"],
            linearise=by_steps["linearise"],
            terminal=edges["terminal"],
            terminal_derivative=edges["terminal_derivative"],
            initial=edges["initial"],
            initial_derivative=edges["initial_derivative"],
            state_bytes=self.problem.space.state_bytes,
            copy=copy,
            norm=norm,
            bind=self._bind(),
            vector=self._vector(),
            latency=latency,
            bandwidth=bandwidth,
            reduction_call=call,
            reduction_stage=max(reduction - call, 0.0) / stages if stages else latency,
        )

    def _time(self, operation: Callable[[], Any]) -> float:
        """Return the average seconds of an operation, of the slowest rank. Collective."""
        return self._time_in_turn(operation)[0]

    def _time_in_turn(self, *operations: Callable[[], Any]) -> list[float]:
        """Return the average seconds of operations that are done in turn. Collective.

        All ranks do them equally often, so that they may be collective themselves.
        """
        first = reduce(self.comm, [_timed(operation) for operation in operations], "max")
        repeats = int(min(max(self.seconds / max(first.max(), 1e-9), 3), MOST_REPEATS))
        self.comm.Barrier()
        rounds = [[_timed(operation) for operation in operations] for _ in range(repeats)]
        own = [self.average(list(times)) for times in zip(*rounds, strict=True)]
        return reduce(self.comm, own, "max").tolist()

    # Steps

    def _step(self, level: Level) -> CallCost:
        """Time the calls of a relaxation, walking through the trajectory as it does."""
        largest = int(reduce(self.comm, _most_intervals(level), "min")[0])
        sizes, size = [], 1
        while size < largest:
            sizes.append(size)
            size *= 4
        sizes.append(max(largest, 1))
        return CallCost(sizes, [self._calls(level, size) for size in sizes])

    def _calls(self, level: Level, size: int) -> float:
        walks = list(_walks(level, size))
        own: list[float] = []
        self.comm.Barrier()
        end = time.perf_counter() + self.seconds
        for walk in itertools.islice(itertools.cycle(walks), MOST_REPEATS):
            start = time.perf_counter()
            if size == 1:  # an interval after the other
                level.advance(walk[0][0], walk[-1][0] + 1)
            else:
                for rows in walk:
                    level.step_rows(rows)
            now = time.perf_counter()
            own.append((now - start) / len(walk))
            if len(own) >= 3 and now > end:
                break
        return float(reduce(self.comm, self.average(own) if own else 0.0, "max")[0])

    def _passes(self) -> tuple[float, float]:
        """Return the seconds of copying a state, and of its squared norm, in a walk over many."""
        level = self.functional.state_solver.levels[0]
        rows = as_slice(level.c_rows if level.layout.coarsening_factor else range(1))
        source = level.trajectory[rows]
        target = self.problem.space.allocate(max(len(source), 1))
        if len(source) == 0:
            source = target.copy()

        def copy() -> None:
            target[...] = source

        seconds = self._time(copy), self._time(lambda: self.problem.space.squared_norm(target))
        most = float(reduce(self.comm, len(target), "max")[0])
        return seconds[0] / most, seconds[1] / most

    # Derivatives and objective

    def _edges(self) -> dict[str, float]:
        """Time what only the ranks at the ends do."""
        problem, theta, last = self.problem, self.control.shared, self.state.trajectory[-1]
        parts: dict[str, Callable[[], Any]] = {
            "terminal": lambda: problem.objective.terminal(last, theta),
            "terminal_derivative": lambda: problem.objective.terminal_derivative(last, theta),
            "initial": lambda: problem.stepper.initial(theta),
            "initial_derivative": lambda: problem.adjoint.initial_derivative(
                theta, self.adjoint.trajectory[-1]
            ),
        }
        return {name: self._time(part) for name, part in parts.items()}

    def _by_steps(self, edges: dict[str, float]) -> dict[str, CallCost]:
        """Time objective, linearised cost and derivative over this rank's steps, and over one."""
        functional, state, adjoint = self.functional, self.state, self.adjoint
        steps = int(reduce(self.comm, self.problem.grid.local_steps, "max")[0])
        objective = self._time(lambda: functional.objective(state)) - edges["terminal"]
        derivative = self._derivative()
        linearise = self._in_gradient(lambda: functional.relax_adjoint(adjoint, state))
        whole = {
            "objective": objective,
            "derivative": derivative,
            "linearise": linearise - edges["terminal_derivative"],
        }
        one = self._one_step()
        costs = {}
        for name, total in whole.items():
            total = max(total, 0.0)
            # One step again and again stays in the cache, as it does not in a walk over all.
            first = min(max(one[name], total / steps), total)
            costs[name] = CallCost((1,), (total,))
            if steps > 1:
                costs[name] = CallCost((1, steps), (first, total))
        return costs

    def _derivative(self) -> float:
        """Return what the derivative adds to the adjoint steps of level 0.

        It is the difference of two relaxations, which leave out the steps to C-points.
        """
        functional, adjoint = self.functional, self.adjoint
        solver, sweep = functional.adjoint_solver, functional.adjoint_sweep(self.state, adjoint)
        spare = sweep.with_derivative(self.problem.controls.zeros())
        plain, both = self._time_in_turn(
            lambda: solver.relax(sweep, adjoint.trajectory, adjoint.sources),
            lambda: solver.relax(spare, adjoint.trajectory, adjoint.sources),
        )
        factor = solver.levels[0].layout.coarsening_factor
        share = (factor - 1) / factor if factor else 1.0
        return (both - plain) / share

    def _in_gradient(self, operation: Callable[[], Any]) -> float:
        """Return the average seconds that an operation spends in the phase of the gradient."""
        clock, own = self.functional.phases.seconds, []
        for _ in range(3):
            self.comm.Barrier()
            before = clock["gradient"]
            operation()
            own.append(clock["gradient"] - before)
        return float(reduce(self.comm, self.average(own), "max")[0])

    def _one_step(self) -> dict[str, float]:
        """Time the user's functions for one step; zero on a rank that owns none."""
        problem, grid, control = self.problem, self.problem.grid, self.control
        objective, theta = problem.objective, control.shared
        kept = self.functional.kept_of(self.state)
        row: Any = slice(0, 1) if problem.stepper.batched else 0
        after: Any = slice(1, 2) if problem.stepper.batched else 1
        has_step = grid.local_steps > 0

        def parts(step: Callable[..., Any], *states: Any) -> Callable[[], Any]:
            if not has_step:
                return lambda: None
            _, _, s, u = next(steps_from(problem, control, range(1), kept))
            return lambda: step(s, *states[:-1], u, theta, *states[-1])

        y0 = self.state.trajectory[row]
        y1 = self.state.trajectory[after] if has_step else y0
        lam = self.adjoint.trajectory[row]
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        cost = objective.step_cost if objective.has_step_cost else nothing
        slope = objective.step_cost_derivative if objective.has_step_cost else nothing
        return {
            "objective": self._time(parts(cost, y0, y1, ())),
            "derivative": self._time(parts(problem.adjoint.control_derivative, y0, (lam,))),
            "linearise": self._time(parts(slope, y0, y1, ())),
        }

    # Controls

    def _bind(self) -> CallCost:
        """Time what each solve begins with: the control on all levels."""
        steps = int(reduce(self.comm, self.problem.grid.local_steps, "max")[0])
        trajectory = self.state.trajectory
        forward = self._time(lambda: StateSweep(self.problem, self.control))
        backward = self._time(lambda: AdjointSweep(self.problem, self.control, trajectory))
        return CallCost((steps,), ((forward + backward) / 2,))

    def _vector(self) -> CallCost:
        """Time an inner product and a sum of controls on grids of their own."""
        fields = self.problem.controls.fields
        if not fields:
            return FREE
        most = int(reduce(self.comm, self.problem.grid.local_steps, "max")[0])
        sizes = sorted({min(8, most), most})
        return CallCost(sizes, [self._product(size, fields) for size in sizes])

    def _product(self, steps: int, fields: dict[str, Any]) -> float:
        space = ControlSpace(TimeGrid.uniform(1.0, steps), **fields)
        # Several of each, as L-BFGS has them: they are not all in a cache.
        controls = [Control(space, np.ones(space.size)) for _ in range(10)]

        def products() -> None:
            for a, b in itertools.pairwise(controls):
                space.inner(a, b)
                a + 0.5 * b

        return self._time(products) / (len(controls) - 1)

    # Messages

    def _network(self) -> tuple[float, float]:
        """Return latency and bandwidth between the first two ranks; defaults for one rank."""
        if self.comm.size == 1:
            return Costs.latency, Costs.bandwidth
        large = max(self.problem.space.state_bytes // 8, 2**15)
        latency, whole = self._ping_pong(1), self._ping_pong(large)
        return latency, 8 * large / max(whole - latency, 1e-12)

    def _ping_pong(self, length: int) -> float:
        """Return half the time in which a message goes there and back."""
        rank, comm = self.comm.rank, self.comm
        out, back = np.zeros(length), np.zeros(length)

        def there_and_back() -> None:
            if rank == 0:
                comm.Isend(out, dest=1).Wait()
                comm.Irecv(back, source=1).Wait()
            elif rank == 1:
                comm.Irecv(back, source=0).Wait()
                comm.Isend(out, dest=0).Wait()

        return self._time(there_and_back) / 2


MOST_REPEATS = 1000
"""Of one timing."""


def _timed(operation: Callable[[], Any]) -> float:
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def _most_intervals(level: Level) -> int:
    """Return the size of the largest batch that a relaxation of this rank has, 0 without steps."""
    factor = level.layout.coarsening_factor or 1
    whole = level.layout.local_steps // factor
    return max([len(chunk) for chunk in level.chunks(range(whole))], default=0)


def _walks(level: Level, size: int) -> Iterator[list[range]]:
    """Yield the rows of successive calls: `size` intervals at a time from C-point to C-point."""
    factor = level.layout.coarsening_factor or 1
    if size == 1 and 0 < level.layout.local_steps < factor:
        yield [range(row, row + 1) for row in range(level.layout.local_steps)]
    for start in range(0, level.layout.local_steps - size * factor + 1, size * factor):
        yield [
            range(start + offset, start + offset + (size - 1) * factor + 1, factor)
            for offset in range(max(factor - 1, 1))
        ]
