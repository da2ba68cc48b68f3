"""The cost of a state trajectory, its derivative, and what the steps add to that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pint.comm import reduce
from pint.controls import Control
from pint.equations.intervals import Intervals
from pint.equations.sweeps import add, finest_steps, rows_after
from pint.equations.tape import Kept
from pint.equations.trajectory import AdjointState, State
from pint.grid import Steps
from pint.interface import Fields, Problem, checked
from pint.report.timing import Phases
from pint.states import Block


class Cost:
    """``sum_n l_n + psi`` of a problem's states.

    Parameters
    ----------
    problem : Problem
    phases : Phases
        Clocks to add to.
    chunk : int
        Steps that are looked at together.
    intervals : Intervals or None
        Where trajectories hold C-points alone.
    """

    def __init__(
        self, problem: Problem, phases: Phases, chunk: int, intervals: Intervals | None
    ) -> None:
        self.problem, self.comm, self.phases = problem, problem.grid.comm, phases
        self.intervals, self._chunk = intervals, chunk

    def visit(self, state: State) -> Iterator[tuple[Any, Block, Block, Steps, Fields]]:
        """Yield this rank's steps, some at a time: rows, states before and after, steps, u."""
        control = state.solved_control
        if self.intervals is None:
            return finest_steps(self.problem, control, state.trajectory, self._chunk)
        return self.intervals.visit(control, state.trajectory)

    def summed(self, state: State) -> float:
        """Return ``sum_n l_n + psi``. Collective."""
        problem, control = self.problem, state.solved_control
        theta, local = control.shared, 0.0
        if problem.objective.has_step_cost:
            for _, y0, y1, s, u in self.visit(state):
                costs = problem.objective.step_cost(s, y0, y1, u, theta)
                if problem.stepper.batched:
                    costs = checked(costs, s.index, problem.objective, "step_cost").sum()
                local += float(costs)
        if self.comm.rank == problem.grid.last_rank:
            local += float(problem.objective.terminal(state.trajectory[-1], theta))
        with self.phases("communication"):
            return float(reduce(self.comm, local)[0])

    def linearise(self, adjoint: AdjointState, state: State) -> None:
        """Set the cost's explicit derivative, its sources (None without step cost) and lam_N.

        In place. Collective.
        """
        problem, control = self.problem, state.solved_control
        grid, objective, theta = problem.grid, problem.objective, control.shared
        explicit, sources, sums = problem.controls.zeros(), None, None
        targets = (explicit.time, explicit.shared)
        at_end = problem.space.allocate(1)
        scale = 1.0
        if objective.has_outer:
            scale = float(objective.outer_derivative(self.summed(state)))
        if objective.has_step_cost:
            sources, sums = self._zero_sources(adjoint)
            by_point, by_interval = sources[::-1], sums[::-1]  # row j is point j of this rank
            for rows, y0, y1, s, u in self.visit(state):
                dy0, dy1, du, dtheta = objective.step_cost_derivative(s, y0, y1, u, theta)
                checked(dy0, y0, objective, "step_cost_derivative")
                checked(dy1, y1, objective, "step_cost_derivative")
                if self.intervals is None:
                    by_point[rows] += scale * dy0
                    by_point[rows_after(rows)] += scale * dy1
                else:
                    blocks = by_point, by_interval
                    self.intervals.add_source_terms(*blocks, rows, dy0, dy1, scale)
                add(targets, rows, du, dtheta, objective, scale)
            at_end[...] = self._shift_right(sources)
            if sums is not sources:
                sums[1:] += sources[1:]
        if self.comm.rank == grid.last_rank:
            dy, dtheta = objective.terminal_derivative(state.trajectory[-1], theta)
            checked(dy, state.trajectory[-1], objective, "terminal_derivative")
            adjoint.trajectory[0] = at_end[0] + scale * dy
            add(targets, ..., {}, dtheta, objective, scale)
        adjoint.explicit, adjoint.scale = explicit, scale
        adjoint.sources, adjoint.sums = sources, sums

    def _zero_sources(self, adjoint: AdjointState) -> tuple[Block, Block]:
        """Return blocks of zeros for sources and their sums, one block if all points are stored."""
        space, sources, sums = self.problem.space, adjoint.sources, adjoint.sums
        if sources is None or sums is None:
            sources = sums = space.allocate(len(adjoint.trajectory))
            if self.intervals is not None:
                sums = space.allocate(len(adjoint.trajectory))
        sources[...] = 0.0
        sums[...] = 0.0
        return sources, sums

    def _shift_right(self, sources: Block) -> Block:
        """Hand the source at this rank's last point to the next rank, whose part begins there.

        Returns it.
        """
        layout, space = self.problem.grid.layouts()[0], self.problem.space
        last = space.allocate(1)
        last[...] = sources[:1]  # in reversed time row 0 is the rank's last point
        if not layout.active:
            return last
        request = None if layout.right is None else self.comm.Isend(last, dest=layout.right)
        if layout.left is not None:
            received = space.allocate(1)
            with self.phases("communication"):
                self.comm.Irecv(received, source=layout.left).Wait()
            sources[-1:] += received
        if request is not None:
            with self.phases("communication"):
                request.Wait()
        return last

    def add_steps(
        self, derivative: Control, state: State, adjoint: AdjointState, kept: Kept | None
    ) -> None:
        """Add what the steps from ``adjoint.rows`` contribute to a derivative, in place."""
        problem, control = self.problem, state.solved_control
        targets = (derivative.time, derivative.shared)
        by_step = adjoint.trajectory[:-1][::-1]  # row i: the adjoint at the end of step i
        parts = finest_steps(problem, control, state.trajectory, self._chunk, adjoint.rows, kept)
        for rows, y, _, s, u in parts:
            du, dtheta = problem.adjoint.control_derivative(s, y, u, control.shared, by_step[rows])
            add(targets, rows, du, dtheta, problem.adjoint)
