"""The tangent equation at a solved state: how states change along a direction of the control."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control, ControlSpace
from pint.controls.halo import coarse_halo
from pint.equations.state import StateEquation
from pint.equations.tangent.calls import TangentCalls
from pint.equations.tangent.sweep import TangentSweep
from pint.equations.trajectory import Cycles, March, State, note_convergence
from pint.errors import Uncopied
from pint.mgrit import MGRIT, Accuracy, Convergence, Corrected, Guess, Propagator
from pint.report.convergence import Solves
from pint.states import Block


@dataclass
class TangentState:
    """The derivative of a state trajectory along a direction of the control.

    Attributes
    ----------
    points : Block
        Laid out as `State.points`.
    state : State or None
        What was differentiated; None before the first solve.
    direction : Control or None
    solution : object
        The `State.solution` that it belongs to.
    convergence : Convergence or None
    """

    points: Block
    state: State | None = None
    direction: Control | None = None
    solution: object = None
    convergence: Convergence | None = None


class TangentEquation(Uncopied):
    """``dy_0 = y_0' dtheta``, ``dy_{n+1} = Phi_y dy_n + Phi_u du_n + Phi_theta dtheta``.

    Parameters
    ----------
    tangents : TangentCalls
    controls : ControlSpace
    solver : MGRIT
    guess : Guess
        The first guess of each trajectory.
    state : StateEquation
        The equation of the states that it is solved at.
    solves : Solves
        Counts the solves to a tolerance.
    """

    def __init__(
        self,
        tangents: TangentCalls,
        controls: ControlSpace,
        solver: MGRIT,
        guess: Guess,
        state: StateEquation,
        solves: Solves,
    ) -> None:
        self.tangents, self.controls, self.solver, self.guess = tangents, controls, solver, guess
        self.state, self.solves, self.ranks_to_end = state, solves, state.ranks_to_end
        self.grid = tangents.calls.grid
        self._begins = coarse_halo(self.grid, whole=False, reverse=False)

    def new(self) -> TangentState:
        """Return an empty trajectory."""
        return TangentState(self.solver.allocate())

    def solve(
        self, tangent: TangentState, state: State, direction: Control, how: Cycles | March
    ) -> None:
        """Solve along a direction at a solved state, in place, by the first guess. Collective."""
        with ending_all_ranks(self.ranks_to_end):
            self.state.require_own(state)
            self.controls.require_fitting(direction)
            self.state.selection.apply()
            control, points, solver = state.solved_control, tangent.points, self.solver
            sweep = TangentSweep(
                self.tangents,
                state,
                self.controls.restrict(control),
                direction,
                self.controls.restrict(direction),
                self._begins,
            )
            tangent.solution = None  # until the solve has ended
            if self.grid.comm.rank == 0:
                theta, dtheta = control.shared, direction.shared
                points[0] = self.tangents.initial_jvp(theta, dtheta, points[0])
            if isinstance(how, March):
                tangent.convergence = solver.march(sweep, points)
            else:
                engine = self._corrected(sweep, state)
                solver.set_guess(engine, points, self.guess)
                accuracy = self._reachable(how.accuracy)
                tangent.convergence = solver.solve(engine, points, accuracy)
            tangent.state, tangent.direction = state, direction
            tangent.solution = state.solution
            note_convergence(self.solves, "tangent equation", how, tangent.convergence)

    def _reachable(self, accuracy: Accuracy) -> Accuracy:
        """Return an accuracy that is not finer than differences allow for. Collective."""
        if accuracy.relative is None:
            return accuracy
        comm = self.grid.comm
        least = float(reduce(comm, self.tangents.precision, "max")[0])
        return replace(accuracy, relative=max(accuracy.relative, least))

    def _corrected(self, sweep: TangentSweep, state: State) -> Propagator:
        """Return the steps, if asked for with the linear correction of coarse ones. Collective."""
        if self.state.rank is None:
            return sweep
        corrected: Any = Corrected(sweep, self.solver, self.state.rank, linear=True)
        if state.delta is not None and state.delta_at is state.solution:
            corrected.delta = state.delta
        else:
            with self.solver.phases("coarse"):
                corrected.linearise(*self.solver.levels[:2])
        return corrected
