"""The cost of a state trajectory, and its derivative at fixed states and with respect to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from pint.comm import alike, sums_and_means
from pint.controls import ControlSpace
from pint.equations.calls import Calls
from pint.equations.intervals import Intervals
from pint.equations.results import add, at_rows, checked_number, rows_after
from pint.equations.trajectory import Linearisation, State, Value
from pint.grid import Steps
from pint.interface import Fields
from pint.report.timing import Phases
from pint.states import Block

TINY = float(np.finfo(float).tiny)


class Cost:
    """``F(sum_n l_n + psi)`` of a problem's states.

    Parameters
    ----------
    calls : Calls
    controls : ControlSpace
    phases : Phases
        Clocks to add to.
    chunk : int
        Number of steps whose costs are evaluated together.
    intervals : Intervals or None
        Where trajectories hold C-points alone.
    """

    def __init__(
        self,
        calls: Calls,
        controls: ControlSpace,
        phases: Phases,
        chunk: int,
        intervals: Intervals | None,
    ) -> None:
        self.calls, self.controls, self.phases = calls, controls, phases
        self.chunk, self.intervals = chunk, intervals

    def visit(self, state: State) -> Iterator[tuple[Any, Block, Block, Steps, Fields]]:
        """Yield this rank's steps, some at a time: rows, states before and after, steps, u."""
        control, points = state.solved_fields, state.points
        if self.intervals is not None:
            yield from self.intervals.visit(control, points)
            return
        rows = range(self.calls.grid.local_steps)
        for here, _, s, u in self.calls.visit(rows, control, self.chunk):
            yield here, points[here], points[rows_after(here)], s, u

    def summed(self, state: State) -> float:
        """Return ``sum_n l_n + psi``. Collective."""
        return self._agreed(state, ())[0]

    def value(self, state: State, terms: Sequence[float] = ()) -> Value:
        """Return ``F(sum_n l_n + psi)`` and the regularisers' values. Collective.

        Raises
        ------
        ValueError
            If ranks have different terms, or ranks in space different costs.
        """
        summed, *means = self._agreed(state, terms)
        objective = self.calls.problem.objective
        return Value(checked_number(objective.outer(summed), objective, "outer"), tuple(means))

    def _agreed(self, state: State, terms: Sequence[float]) -> list[float]:
        """Return ``sum_n l_n + psi`` and some terms, the same on all ranks. Collective."""
        calls, theta, local = self.calls, state.solved_fields.shared, 0.0
        if calls.problem.objective.has_step_cost:
            for _, y0, y1, s, u in self.visit(state):
                local += calls.objective.step_cost(s, y0, y1, u, theta)
        # One rank adds psi, because the sum over the ranks follows.
        if calls.grid.comm.rank == calls.grid.last_rank:
            local += calls.objective.terminal(state.points[-1], theta)
        over = calls.space.comm if calls.space.comm.size > 1 else self.controls.space_comm
        with self.phases("communication"):
            sums, means, same = sums_and_means(calls.grid.comm, [local], terms)
            numbers = [*sums.tolist(), *means.tolist()]
            if over.size > 1:
                others, found, same_in_space = sums_and_means(over, [not same], numbers)
                numbers, same = found.tolist(), same_in_space and others[0] == 0
        if not same:
            self._raise_difference(over, [sums[0], *terms])
        return numbers

    def _raise_difference(self, over: Any, numbers: Sequence[float]) -> NoReturn:
        """Raise ValueError, which names the cost or the term that ranks differ in. Collective."""
        problem, comm = self.calls.problem, self.calls.grid.comm
        names = [f"the cost of `{type(problem.objective).__name__}`"]
        names += [f"`{type(term).__name__}.value`" for term in problem.regularisers]
        table = np.concatenate(over.allgather(comm.allgather(numbers)))
        least, most = table.min(axis=0), table.max(axis=0)
        worst = int(np.argmax((most - least) / np.abs(table).max(axis=0).clip(min=TINY)))
        raise alike(
            ValueError(
                f"{names[worst]} must be the same number on all ranks, but it lies between "
                f"{least[worst]:.6g} and {most[worst]:.6g}: sum it over the ranks."
            )
        )

    def linearise(self, state: State, old: Linearisation | None = None) -> Linearisation:
        """Return the derivative of the cost at a state, in the blocks of an old one. Collective."""
        calls, objective = self.calls, self.calls.problem.objective
        theta = state.solved_fields.shared
        explicit, terminal = calls.given(self.controls.zeros(), True), calls.space.allocate(1)
        new = Linearisation(explicit, terminal)
        # The chain rule needs the value itself only if the outer function is not the identity.
        if objective.has_outer:
            slope = objective.outer_derivative(self.summed(state))
            new.scale = checked_number(slope, objective, "outer_derivative")
        if objective.has_step_cost:
            self._add_step_costs(new, state, old)
        if calls.grid.comm.rank == calls.grid.last_rank:
            dy, dtheta = calls.objective.terminal_derivative(state.points[-1], theta)
            terminal[0] += new.scale * dy
            add(at_rows(explicit, ...), {}, dtheta, objective, new.scale)
        return new

    def _add_step_costs(self, new: Linearisation, state: State, old: Linearisation | None) -> None:
        """Add what the step costs contribute, in place. Collective."""
        calls, theta, scale = self.calls, state.solved_fields.shared, new.scale
        objective = calls.problem.objective
        space, count = calls.space, len(state.points)
        # Sources are as large as a trajectory: solves use the same blocks again.
        if old is not None and old.sources is not None:
            sources, sums = old.sources, old.sums
        else:
            sources = space.allocate(count)
            sums = sources if self.intervals is None else space.allocate(count)
        sources[...] = 0.0
        if sums is not sources:
            sums[...] = 0.0
        adds = calls.objective.adds_slopes and self.intervals is None
        for here, y0, y1, s, u in self.visit(state):
            if adds:
                places, into = (
                    (sources[here], sources[rows_after(here)]),
                    at_rows(new.explicit, here),
                )
                calls.objective.add_step_cost_derivative(
                    s, y0, y1, u, theta, scale, *places, into=into
                )
                continue
            dy0, dy1, du, dtheta = calls.objective.step_cost_derivative(s, y0, y1, u, theta)
            if self.intervals is None:
                sources[here] += scale * dy0
                sources[rows_after(here)] += scale * dy1
            else:
                self.intervals.add_sources(sources, sums, here, dy0, dy1, scale)
            add(at_rows(new.explicit, here), du, dtheta, objective, scale)
        # The last point of a rank is the first of the next one, which owns its adjoint; only the
        # last rank has no next rank.
        new.terminal += self.shift_right(sources)
        if sums is not sources:
            sums[:-1] += sources[:-1]
        new.sources, new.sums = sources, sums

    def shift_right(self, sources: Block) -> Block:
        """Hand the source at this rank's last point to the next rank, whose part begins there.

        Returns it.
        """
        grid, space = self.calls.grid, self.calls.space
        layout, comm = grid.layouts()[0], space.messenger(grid.comm)
        last = space.allocate(1)
        last[...] = sources[-1:]
        if not layout.active:
            return last
        request = None if layout.right is None else comm.Isend(last, dest=layout.right)
        if layout.left is not None:
            received = space.allocate(1)
            with self.phases("communication"):
                comm.Irecv(received, source=layout.left).Wait()
            sources[:1] += received
        if request is not None:
            with self.phases("communication"):
                request.Wait()
        return last
