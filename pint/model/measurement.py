"""Measure what a problem's operations cost here, with as many ranks at work as there are."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pint.comm import agreeing, ending_all_ranks, reduce
from pint.controls import Control
from pint.equations import March
from pint.equations.results import at_rows
from pint.equations.sweeps import Sweep
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit.hierarchy import Level
from pint.model.costs import FREE, CallCost, Costs
from pint.reduced_functional import ReducedFunctional
from pint.report.timing import Phases
from pint.states import Block


def measure(
    problem: Problem,
    control: Control,
    *,
    seconds: float = 0.2,
    average: Callable[[list[float]], float] = statistics.median,
) -> Costs:
    """Measure the costs of a problem's own steps, derivatives and objective on this machine.

    All ranks measure at the same time and the slowest one counts. The costs therefore include what
    ranks take from each other, memory bandwidth above all: run it on as many ranks of a machine
    as the predicted run has there. Collective.

    Parameters
    ----------
    problem : Problem
        If the states of the predicted run do not fit the caches, those measured should not either.
    control : Control
        Steps are made for this control; their cost should not depend on it. All levels of its grid
        are measured; two or three will do.
    seconds : float
        To spend on each of about 20 operations.
    average : callable
        Makes one number of the seconds of repeated calls. The median leaves out what a busy
        machine adds; `statistics.fmean` keeps it, as runs on that machine do.

    Returns
    -------
    Costs
        Latency and bandwidth are measured between the first two ranks. With one rank they are
        those of `Costs`: 2 microseconds and 10 GB/s; see `Costs.with_network`. Where levels have
        other state spaces their steps are measured there; copies and messages count as those of
        level 0, and transfers as copies.

    Raises
    ------
    ValueError
        If `seconds` is not positive, or states are tensors.
    """
    space = control.space
    with agreeing(space.comm, "measure", space.space_comm):
        if not 0 < seconds < np.inf:
            raise ValueError(f"`measure(seconds=...)` must be positive, got {seconds}.")
        if not problem.space.on_host:  # calls may return before a device has done their work
            raise ValueError(
                "`measure(problem=...)` must have states that are numpy arrays or PETSc vectors; "
                "time states on a device by whole updates, as in `benchmarks/device.py`."
            )
    # Its own functional: the user's counters, clocks and trajectories stay as they are.
    options: dict[str, Any] = {"relaxation": "F", "guess": "coarse", "unconverged": "ignore"}
    functional = ReducedFunctional(problem, space.grid, **options)
    with ending_all_ranks(functional.ranks_to_end):
        return _Measurement(functional, control, seconds, average).costs()


class _Measurement:
    """A functional with a solved state and adjoint, on which operations are timed."""

    def __init__(
        self,
        functional: ReducedFunctional,
        control: Control,
        seconds: float,
        average: Callable[[list[float]], float],
    ) -> None:
        self.functional, self.control = functional, control
        self.calls, self.grid, self.space = functional.calls, functional.grid, functional.space
        self.clock = _Clock(functional, seconds, average)
        self.steps = int(self.clock.agreed(self.grid.local_steps, "max"))
        # Ranks in space may have parts of different sizes; the slowest counts in all else, too.
        self.state_bytes = int(self.clock.agreed(self.space.state_bytes, "max"))
        # Exact solves: each step has kept what its transposes read.
        self.state, self.adjoint = functional.state.new(), functional.adjoint.new()
        functional.state.solve(self.state, control, March())
        functional.adjoint.solve(self.adjoint, self.state, March())

    def costs(self) -> Costs:
        clock, edges = self.clock, self._edges()
        backward = self._backward()
        by_steps = self._by_steps(edges, backward[0])
        latency, bandwidth = self._network()
        reduction, call = self._reduction()
        stages = int(np.ceil(np.log2(clock.comm.size)))
        copy, norm = self._passes()
        return Costs(
            state=[self._step(level) for level in self._forward()],
            adjoint=[self._step(level) for level in backward],
            **by_steps,
            **edges,
            state_bytes=self.state_bytes,
            runs=self.calls.relaxes,
            copy=copy,
            norm=norm,
            bind=self._bind(),
            vector=self._vector(),
            latency=latency,
            bandwidth=bandwidth,
            reduction_call=call,
            reduction_stage=max(reduction - call, 0.0) / stages if stages else latency,
        )

    # The engine's levels, each with a trajectory and with the equation's steps

    def _forward(self) -> list[Level]:
        sweep = self._sweep(reverse=False)
        sweep.tapes[:1] = [self.state.tape]  # these steps keep what the solve has kept
        return self._levels(sweep, self.state.points)

    def _backward(self) -> list[Level]:
        levels = self._levels(self._sweep(reverse=True), self.adjoint.points)
        assert self.adjoint.linearisation is not None
        levels[0].rhs = self.adjoint.linearisation.sources
        return levels

    def _sweep(self, reverse: bool, explicit: Control | None = None) -> Sweep:
        u = self.functional.controls.restrict(self.control, reverse=reverse)
        at = self.state if reverse else None
        return Sweep(self.calls, self.control, u, at=at, explicit=explicit)

    def _levels(self, sweep: Sweep, points: Block) -> list[Level]:
        grid, equation = (
            self.grid,
            self.functional.adjoint if sweep.reverse else self.functional.state,
        )
        levels: list[Level] = []
        for own, layout in zip(equation.solver.levels, grid.layouts(sweep.reverse), strict=True):
            level = Level(
                layout, own.space, grid.comm, Phases(), own.chunk,
                reverse=sweep.reverse, transfer=own.transfer,
            )  # fmt: skip
            level.propagator, level.trajectory = sweep, points
            levels.append(level)
            if layout.level > 0:
                level.trajectory = own.space.allocate(layout.local_steps + 1)
                for row in range(layout.local_steps + 1):
                    point = (layout.first + row) * layout.stride
                    at = (grid.steps - point if sweep.reverse else point) - grid.first
                    at = min(max(at, 0), grid.local_steps)  # a neighbour's point: one nearby
                    level.trajectory[level.point(row)] = _restricted(levels, points[at : at + 1])
        return levels

    # Steps

    def _step(self, level: Level) -> CallCost:
        """Time the calls of a relaxation, on a walk through the trajectory as it makes."""
        largest = int(self.clock.agreed(_most_intervals(level), "min"))
        sizes, size = [], 1
        while size < largest:
            sizes.append(size)
            size *= 4
        sizes.append(max(largest, 1))
        return CallCost(sizes, [self._calls(level, size) for size in sizes])

    def _calls(self, level: Level, size: int) -> float:
        """Return the average seconds of calls for `size` steps; a run counts as calls for one."""
        if size == 1 and level.propagator.relaxes:
            return self._run(level)
        walks = list(_walks(level, size))

        def walk(rows: list[range]) -> None:
            if size == 1:  # an interval after the other
                level.advance(rows[0][0], rows[-1][0] + 1)
                return
            for some in rows:
                new = level.scratch[:size]
                level.propagate(some, new)
                if level.layout.level == 0 and level.rhs is not None:
                    new += level.rhs[level.place(some, 1)]

        turns = itertools.cycle(walks)
        calls = len(walks[0]) if walks else 1
        return self.clock.time(lambda: walk(next(turns)) if walks else None) / calls

    def _run(self, level: Level) -> float:
        """Return the average seconds of a step in runs through all intervals."""
        factor, count = level.layout.coarsening_factor, level.layout.local_steps
        length = factor - 1 if factor and count >= factor > 1 else count
        starts = range(0, count - length + 1, factor or count) if count else range(0)
        seconds = self.clock.time(lambda: level.advance_all(starts, length) if starts else None)
        return seconds / max(self.clock.agreed(len(starts) * length, "max"), 1)

    def _passes(self) -> tuple[float, float]:
        """Return the seconds of copying a state, and of its squared norm, in a walk over many."""
        level = self._forward()[0]
        rows = level.layout.c_rows if level.layout.coarsening_factor else range(1)
        source = level.trajectory[level.place(rows)]
        target = self.space.allocate(max(len(source), 1))

        def copy() -> None:
            if len(source):
                target[...] = source

        seconds = (
            self.clock.time(copy),
            self.clock.time(lambda: self.space.squared_norm(target)),
        )
        most = self.clock.agreed(len(target), "max")
        return seconds[0] / most, seconds[1] / most

    # Derivatives and objective

    def _edges(self) -> dict[str, Any]:
        """Time what only the ranks at the ends do."""
        calls, theta, points = self.calls, self.control.shared, self.state.points
        spare = at_rows(self.functional.controls.zeros(), ...)
        parts: dict[str, Callable[[], Any]] = {
            "terminal": lambda: calls.objective.terminal(points[-1], theta),
            "terminal_derivative": lambda: calls.objective.terminal_derivative(points[-1], theta),
            "initial": lambda: calls.initial(theta, points[0]),
            "initial_derivative": lambda: calls.initial_vjp(theta, self.adjoint.points[0], spare),
        }
        return {name: self.clock.time(part) for name, part in parts.items()}

    def _by_steps(self, edges: dict[str, Any], level: Level) -> dict[str, Any]:
        """Time objective, linearised cost and derivative over this rank's steps, and over one.

        `level` is that of the adjoint on the finest grid.
        """
        functional, state, steps = self.functional, self.state, self.steps
        old = self.adjoint.linearisation
        objective = self.clock.time(lambda: functional.objective(state)) - edges["terminal"]
        linearise = self.clock.time(lambda: functional.cost.linearise(state, old))
        linearise -= edges["terminal_derivative"]
        cost, slope = self._one_step()
        along, apart = self._derivative(level)
        return {
            "objective": _over_steps(steps, cost, objective),
            "linearise": _over_steps(steps, slope, linearise),
            "derivative": _over_steps(steps, *along),
            "derivative_apart": _over_steps(steps, *apart),
        }

    def _derivative(self, level: Level) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return what the derivative adds to adjoint steps, and what it takes with them.

        Both are those of one step, and of all of this rank's steps in large batches.
        """
        plain = level.propagator
        gathering = self._sweep(reverse=True, explicit=self.functional.controls.zeros())
        gathering.begin_pass(last=True)
        count = self.grid.local_steps

        def one_by_one(sweep: Any) -> None:
            level.propagator = sweep
            level.advance(0, count)

        def in_batches(sweep: Any) -> None:
            level.propagator = sweep
            for rows in level.chunks(range(count)):
                level.propagate(rows, level.scratch[: len(rows)])

        without, single = self.clock.time_in_turn(
            lambda: one_by_one(plain), lambda: one_by_one(gathering)
        )
        alone, batch = self.clock.time_in_turn(
            lambda: in_batches(plain), lambda: in_batches(gathering)
        )
        level.propagator = plain
        return ((single - without) / self.steps, batch - alone), (single / self.steps, batch)

    def _one_step(self) -> tuple[float, float]:
        """Time the step cost and its derivative for one step; zero on a rank that owns none."""
        calls, objective, theta = self.calls, self.functional.problem.objective, self.control.shared
        if not objective.has_step_cost:
            return 0.0, 0.0
        first = range(min(1, self.grid.local_steps))
        visits = list(calls.visit(first, self.control, 1))
        points = self.state.points

        def each(method: Callable[..., Any]) -> None:
            for here, _, s, u in visits:
                y0 = points[here]
                y1 = points[1:2] if isinstance(here, slice) else points[1]
                method(s, y0, y1, u, theta)

        cost = self.clock.time(lambda: each(calls.objective.step_cost))
        return cost, self.clock.time(lambda: each(calls.objective.step_cost_derivative))

    # Controls

    def _bind(self) -> CallCost:
        """Time what each solve begins with: the control on all levels."""
        forward = self.clock.time(lambda: self._sweep(reverse=False))
        backward = self.clock.time(lambda: self._sweep(reverse=True))
        return CallCost((self.steps,), ((forward + backward) / 2,))

    def _vector(self) -> CallCost:
        """Time an inner product and a sum of controls on grids of their own."""
        if not self.functional.problem.controls:
            return FREE
        sizes = sorted({min(8, self.steps), self.steps})
        return CallCost(sizes, [self._product(size) for size in sizes])

    def _product(self, steps: int) -> float:
        space = self.functional.problem.control_space(TimeGrid.uniform(1.0, steps))
        # Several of each, as L-BFGS has them: they are not all in a cache.
        controls = [Control(space, np.ones(space.size)) for _ in range(10)]

        def products() -> None:
            for a, b in itertools.pairwise(controls):
                space.inner(a, b)
                a + 0.5 * b

        return self.clock.time(products) / (len(controls) - 1)

    # Messages

    def _reduction(self) -> tuple[float, float]:
        """Return the seconds of a sum over all ranks, and of one within a state's ranks."""
        comm, space_comm = self.clock.comm, self.space.comm
        whole = self.clock.time(lambda: reduce(space_comm, reduce(comm, [0.0, 0.0])))
        return whole, self.clock.time(lambda: reduce(space_comm, [0.0, 0.0]))

    def _network(self) -> tuple[float, float]:
        """Return latency and bandwidth between the first two ranks; defaults for one rank."""
        if self.clock.comm.size == 1:
            return Costs.latency, Costs.bandwidth
        large = max(self.state_bytes // 8, 2**15)
        latency, whole = self._ping_pong(1), self._ping_pong(large)
        return latency, 8 * large / max(whole - latency, 1e-12)

    def _ping_pong(self, length: int) -> float:
        """Return half the time in which a message goes there and back."""
        comm = self.clock.comm
        out, back = np.zeros(length), np.zeros(length)

        def there_and_back() -> None:
            if comm.rank == 0:
                comm.Isend(out, dest=1).Wait()
                comm.Irecv(back, source=1).Wait()
            elif comm.rank == 1:
                comm.Irecv(back, source=0).Wait()
                comm.Isend(out, dest=0).Wait()

        return self.clock.time(there_and_back) / 2


MOST_REPEATS = 1000
"""Of one timing."""


class _Clock:
    """Times operations that all ranks do equally often, so that they may be collective."""

    def __init__(
        self,
        functional: ReducedFunctional,
        seconds: float,
        average: Callable[[list[float]], float],
    ) -> None:
        self.comm, self.seconds, self.average = functional.comm, seconds, average
        # In time; ranks that share a state; ranks that share a control or the examples.
        self._comms = functional.comm, functional.space.comm, functional.controls.space_comm

    def agreed(self, value: Any, operation: Any) -> Any:
        """Return a number, or an array, combined over all ranks in all directions."""
        combined = value
        for comm in self._comms:
            combined = reduce(comm, combined, operation)
        return combined if np.ndim(value) else float(combined[0])

    def time(self, operation: Callable[[], Any]) -> float:
        """Return the average seconds of an operation, of the slowest rank. Collective."""
        return self.time_in_turn(operation)[0]

    def time_in_turn(self, *operations: Callable[[], Any]) -> list[float]:
        """Return the average seconds of operations that are done in turn. Collective."""
        first = self.agreed([_timed(operation) for operation in operations], "max")
        repeats = int(min(max(self.seconds / max(first.max(), 1e-9), 3), MOST_REPEATS))
        self.comm.Barrier()
        rounds = [[_timed(operation) for operation in operations] for _ in range(repeats)]
        own = [self.average(list(times)) for times in zip(*rounds, strict=True)]
        slowest: list[float] = self.agreed(own, "max").tolist()
        return slowest


def _timed(operation: Callable[[], Any]) -> float:
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def _over_steps(steps: int, one: float, total: float) -> CallCost:
    """Return the cost of an operation on 1 to `steps` steps."""
    total = max(total, 0.0)
    if steps == 1:
        return CallCost((1,), (total,))
    # One step again and again stays in the cache, as it does not in a walk over all.
    return CallCost((1, steps), (min(max(one, total / steps), total), total))


def _restricted(levels: list[Level], state: Block) -> Block:
    """Return a block of one state of the first level as the last level has it."""
    for level in levels:
        if level.transfer is not None:
            fine, state = state, level.space.allocate(1)
            level.transfer.restrict(fine, state)
    return state


def _most_intervals(level: Level) -> int:
    """Return the size of the largest batch that a relaxation of this rank has, 0 without steps."""
    whole = level.layout.local_steps // (level.layout.coarsening_factor or 1)
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
