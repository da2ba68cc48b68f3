"""Products of the Hessian of the objective with directions, from a solved state and adjoint."""

from __future__ import annotations

from typing import Any, Literal

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control, on_host
from pint.equations.adjoint import AdjointEquation
from pint.equations.tangent.calls import TangentCalls
from pint.equations.tangent.cost import (
    Moved,
    add_initial,
    add_steps,
    has_second,
    of_cost,
    of_regularisers,
)
from pint.equations.tangent.equation import TangentEquation, TangentState
from pint.equations.trajectory import AdjointState, Cycles, March, State
from pint.mgrit import MGRIT, Guess

Kind = Literal["gauss-newton", "full"]


class SecondOrder:
    """Tangents and Hessian products at trajectories that the caller holds. Collective.

    Parameters
    ----------
    adjoint : AdjointEquation
    solver : MGRIT
        Forward in time, of the tangent equation.
    guess : Guess
        The first guess of its solves.
    """

    def __init__(self, adjoint: AdjointEquation, solver: MGRIT, guess: Guess) -> None:
        if not adjoint.calls.space.on_host:
            raise TypeError(
                "tangents and Hessian products need states on the host, numpy arrays or PETSc "
                "vectors; methods that need none, as `pint.ReducedSpace`, take other states, "
                "and `pint.torch.on_host` makes arrays of tensors."
            )
        self.calls, self.controls, self.cost = adjoint.calls, adjoint.controls, adjoint.cost
        self.adjoint, self.tangents = adjoint, TangentCalls(adjoint.calls)
        parts = (self.tangents, adjoint.controls, solver, guess, adjoint.state, adjoint.solves)
        self.tangent = TangentEquation(*parts)
        self._tangent: TangentState | None = None
        self._second: AdjointState | None = None

    def slope(self, tangent: TangentState) -> float:
        """Return the derivative of the objective along a solved tangent, forward in time."""
        state, direction, comm = tangent.state, tangent.direction, self.calls.grid.comm
        assert state is not None and direction is not None
        space, controls = self.calls.space, self.controls
        with ending_all_ranks(self.adjoint.ranks_to_end):
            lin, local = self.cost.linearise(state), 0.0
            if lin.sources is not None and self.calls.grid.local_steps:
                local += space.pair(lin.sources[:-1], tangent.points[:-1])
            if comm.rank == self.calls.grid.last_rank:
                local += space.pair(lin.terminal, tangent.points[-1:])
            total = on_host(lin.explicit)
            controls.sum_parts(total)
            for term in self.calls.problem.regularisers:
                total = total + term.derivative(state.solved_control)
            of_states = reduce(space.comm, reduce(comm, local))[0]
            if controls.part_comm.size > 1:
                of_states = reduce(controls.part_comm, of_states)[0]
            return float(of_states + controls.pair(total, direction))

    def product(
        self,
        state: State,
        adjoint: AdjointState,
        direction: Control,
        kind: Kind,
        how: Cycles | March,
    ) -> Control:
        """Return the second derivative of the objective along a direction, a dual vector.

        One tangent and one adjoint solve. `adjoint` is the one of all points, solved at `state`.
        """
        with ending_all_ranks(self.adjoint.ranks_to_end):
            adjoint.require_solved_at(state)
            tangent = self._tangent or self.tangent.new()
            second = self._second or self.adjoint.new()
            self._tangent, self._second = tangent, second
            self.tangent.solve(tangent, state, direction, how)
            lin = self._linearised(state, adjoint, tangent, direction, kind)
            second.forget()  # the first guess of another direction is nearer than the last one
            self.adjoint.solve(second, state, how, lin)
            derivative = self.adjoint.derivative(second, state)
            terms = self.calls.problem.regularisers
            return derivative + of_regularisers(
                self.controls, terms, state.solved_control, direction
            )

    def _linearised(
        self,
        state: State,
        adjoint: AdjointState,
        tangent: TangentState,
        direction: Control,
        kind: Kind,
    ) -> Any:
        """Return the sources of the second adjoint equation, and what it needs none for."""
        self.adjoint.state.selection.apply()
        full, exact = kind == "full", self.tangents.exact_second
        with self.tangent.solver.phases("gradient"):
            moved, known = None, has_second(self.cost)
            if not known or (full and not exact):
                moved = Moved.along(state, tangent, direction)
            lin = of_cost(self.cost, state, tangent, direction, None if known else moved)
            if full:
                chunk = self.tangent.solver.levels[0].chunk
                of_steps = None if exact else moved
                add_steps(lin, self.tangents, adjoint, tangent, of_steps, chunk)
                add_initial(lin, self.adjoint, adjoint, tangent)
        return lin
