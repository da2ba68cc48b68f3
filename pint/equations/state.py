"""The state equation: trajectories of a control, solved in one of four ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pint.comm import alike, ending_all_ranks, reduce
from pint.controls import Control, ControlSpace, Lifted
from pint.equations.calls import Calls
from pint.equations.intervals import Intervals, StateIntervals
from pint.equations.sweeps import Sweep
from pint.equations.trajectory import (
    AdjointState,
    Cycles,
    How,
    Lagged,
    March,
    Relax,
    State,
    Tape,
    TapeMemory,
    check_how,
    note_convergence,
)
from pint.errors import Uncopied
from pint.interface import Examples
from pint.mgrit import MGRIT, Convergence, Corrected, Guess, Propagator
from pint.report.convergence import Solves
from pint.states import Block


class Selection:
    """The examples of a problem that one functional works with; others may have other ones.

    Attributes
    ----------
    epoch : object
        A token, new after each selection.
    indices : ndarray or None
        The numbers of the examples; None before the first selection.
    """

    def __init__(self, examples: Examples | None) -> None:
        self.examples = examples
        self.epoch: object = None
        self.indices: np.ndarray | None = None

    def select(self, indices: np.ndarray) -> None:
        """Work with these examples from now on."""
        assert self.examples is not None
        self.examples.select(indices)
        self.examples.selected_by, self.indices, self.epoch = self, indices, object()

    def apply(self) -> None:
        """Select them again if another functional has selected others since."""
        examples = self.examples
        if examples is None or examples.selected_by is None or examples.selected_by is self:
            return
        first = np.arange(min(examples.batch_size, examples.count))
        examples.select(first if self.indices is None else self.indices)
        examples.selected_by = self


class StateEquation(Uncopied):
    """``y_0 = y_0(theta)``, ``y_{n+1} = Phi_n(y_n, u_n, theta)``.

    Parameters
    ----------
    calls : Calls
    controls : ControlSpace
    solver : MGRIT
    guess : Guess
        The first guess of a trajectory.
    kept_bytes : float
        Most memory for what the steps keep.
    intervals : Intervals or None
        Where trajectories hold C-points alone.
    ranks_to_end : communicator
        The ranks that end if one of them raises.
    solves : Solves
        Counts the solves to a tolerance.
    rank : int or None
        Of the linear correction of coarse steps; None without one.

    Attributes
    ----------
    selection : Selection
    start : Block
        On the first rank, y_0 of the last solve.
    """

    def __init__(
        self,
        calls: Calls,
        controls: ControlSpace,
        solver: MGRIT,
        guess: Guess,
        kept_bytes: float,
        intervals: Intervals | None,
        ranks_to_end: Any,
        solves: Solves,
        rank: int | None = None,
    ) -> None:
        self.calls, self.controls, self.solver, self.guess = calls, controls, solver, guess
        self.intervals, self.ranks_to_end, self.solves = intervals, ranks_to_end, solves
        self.rank = rank
        # With C-points alone the steps are made again, so that nothing is kept for later.
        self.memories = [] if intervals is not None else _memories(calls, kept_bytes)
        self.repeated = [] if intervals is not None else _repeated(calls, kept_bytes, self.memories)
        self.selection = Selection(calls.problem.examples)
        self.start: Block = None

    def new(self) -> State:
        """Return an empty trajectory; the first solve begins with the first guess."""
        return State(self.solver.allocate(), self)

    def solve(self, state: State, control: Control, how: How) -> None:
        """Solve for `control`, in place, from the trajectory's current points. Collective."""
        with ending_all_ranks(self.ranks_to_end):
            self.calls.guard.failure = ""
            self.require_own(state)
            self.controls.require_fitting(control)
            check_how(how, self.calls.grid.levels, state.control is not None)
            self.selection.apply()
            solver, known, guessed = self.solver, state.control is not None, state.guessed
            given = self.calls.given(control)
            sweep, points = self._sweep(control, given), state.points
            engine: Any = self._over_intervals(sweep)
            if self.rank is not None:
                engine = Corrected(engine, solver, self.rank)
            # y_0 may depend on shared controls; other ranks receive their first point.
            if self.calls.grid.comm.rank == 0:
                points[0] = self.calls.initial(given.shared, points[0])
            self.start = points[:1]
            # From here on the points belong to no control.
            state.solution, state.tapes, state.correction = None, (), 0.0
            if isinstance(how, Lagged):
                weights = None if how.adjoint is None else how.adjoint.points
                begin = None if how.start is None else self.tau_of(how.start)
                tau = self.tau_of(state)
                if self.rank is not None:
                    engine.delta = (how.start or state).delta
                if how.start is not None and not solver.replaces_c_points:
                    solver.copy_guess(how.start.points, points)
                state.convergence, state.correction = solver.lagged_solve(
                    engine, points, tau, how.cycles, None, weights, guessed, begin
                )
            elif isinstance(how, Cycles):
                if not known:
                    # The F-points of a new trajectory are zeros: no guess for Newton's method.
                    solver.set_guess(engine, points, self.guess)
                    guessed = False
                state.convergence = solver.solve(
                    engine, points, how.accuracy, None, how.relaxed, guessed
                )
            elif isinstance(how, Relax):
                solver.relax(engine, points, None, guessed)
            else:
                state.convergence = solver.march(engine, points, None, guessed)
            state.tapes = self._tapes(sweep, how, state.convergence)
            state.control, state.given = control, given
            state.solution, state.guessed = object(), True
            state.epoch = self.selection.epoch
            if self.rank is not None and isinstance(how, Lagged):
                state.delta, state.delta_at = engine.delta, state.solution
            note_convergence(self.solves, "state equation", how, state.convergence)

    def correction(self, state: State, adjoint: AdjointState) -> float:
        """Return ``sum_n lam_{n+1}' (Phi_n(y_n) - y_{n+1})`` for a solved state. Collective.

        Added to the objective it removes the first-order effect of the state's error: what
        remains is of the order of the product of the errors of state and adjoint. It takes N/m
        steps, or N with ``storage="C"``.
        """
        solver, phases, local = self.solver, self.solver.phases, 0.0
        with ending_all_ranks(self.ranks_to_end), phases("relaxation"):
            self.selection.apply()
            sweep = self._sweep(state.solved_control, state.given)
            tape = state.tape
            sweep.tapes[:1] = [tape]
            engine = self._over_intervals(sweep)
            # At F-points the residual is zero.
            for rows, residual in solver.residual(engine, state.points):
                local += self.calls.space.pair(residual, adjoint.points[rows])
            if tape is not None:  # these steps were the missing ones
                tape.missing = range(0)
            with phases("communication"):
                in_time = reduce(self.calls.grid.comm, local)
                return float(reduce(self.calls.space.comm, in_time)[0])

    def propagator(self, control: Control) -> Propagator:
        """Return the steps for a control, which keep nothing. Collective."""
        with ending_all_ranks(self.ranks_to_end):
            self.controls.require_fitting(control)
            self.selection.apply()
            given = self.calls.given(control)
            u = self.calls.blocks(given, self.controls.restrict(control))
            return self._over_intervals(Sweep(self.calls, given, u))

    def correct(self, state: State) -> None:
        """Make the corrections of level 1 that the `tau` of a solved state belongs to. Collective.

        Nothing is done without a correction of coarse steps.
        """
        if self.rank is None:
            return
        with ending_all_ranks(self.ranks_to_end), self.solver.phases("coarse"):
            engine = Corrected(self.propagator(state.solved_control), self.solver, self.rank)
            self.solver.linearise(engine, state.points)
            state.delta, state.delta_at = engine.delta, state.solution

    def copy_guess(self, source: State, target: State) -> None:
        """Make `target` start from `source`, in place; the solution itself is not copied."""
        self.solver.copy_guess(source.points, target.points)
        if source.tau is not None:
            self.tau_of(target)[...] = source.tau
            target.delta = source.delta
        # The control marks a warm start; it is no solution, and so there is no token of one.
        target.control, target.convergence = source.control, source.convergence
        target.tapes, target.solution = (), None

    def tau_of(self, state: State) -> Block:
        """Return the right-hand side of level 1 that lagged solves continue; zero at first."""
        if state.tau is None:
            state.tau, state.delta = self.solver.allocate_tau(), None
        return state.tau

    def states(self, state: State) -> Block:
        """Return a solved trajectory at all points, row 0 the point before this rank's.

        With ``storage="C"`` it is computed, into a new block, otherwise it is the trajectory.
        """
        self.require_own(state)
        if self.intervals is None:
            return state.points
        self.selection.apply()
        return self.intervals.expand(state.solved_fields, state.points)

    def _over_intervals(self, sweep: Sweep) -> Propagator:
        """Return the steps between the points that trajectories hold."""
        return sweep if self.intervals is None else StateIntervals(sweep, self.intervals)

    def _sweep(self, control: Control, given: Control | Lifted) -> Sweep:
        u = self.calls.blocks(given, self.controls.restrict(control))
        return Sweep(self.calls, given, u, self.memories)

    def _tapes(self, sweep: Sweep, how: How, convergence: Convergence | None) -> list[Tape | None]:
        """Return what the steps kept that belongs to the states which a solve has left."""
        tapes = sweep.tapes
        if tapes and tapes[0] is not None:
            tapes[0].missing = sweep.missing
        # The march of level 1 has begun at the C-points, unless C-relaxation has moved them since.
        relaxed = self.solver.smoother.counts[:1] != (0,)
        corrected = isinstance(how, Cycles) and convergence and not convergence.converged
        if isinstance(how, (Relax, March)) or (relaxed and not corrected):
            return tapes[:1]
        return tapes

    def require_all_points(self, user: str, instead: str = "") -> None:
        """Raise ValueError, identically on all ranks, where trajectories hold C-points alone.

        The message says who needs all points, and perhaps what to use instead.
        """
        if self.intervals is not None:
            instead = f", or use {instead}" if instead else ""
            raise alike(
                ValueError(
                    f"`{user}` needs the states of all points: leave "
                    f'`ReducedFunctional(storage="C")` out{instead}.'
                )
            )

    def require_own(self, state: State) -> None:
        """Raise an error unless a state belongs to this equation."""
        if not isinstance(state, State):
            raise TypeError(
                f"a state must come from `functional.state.new()`, got {type(state).__name__}."
            )
        if state.equation is not self:
            raise ValueError(
                "the state belongs to another functional: make one with `functional.state.new()`."
            )


def _memories(calls: Calls, kept_bytes: float) -> list[TapeMemory]:
    """Return the memories for what the steps of each level keep."""
    grid, steppers = calls.grid, calls.steppers
    comm = calls.space.comm

    def memory(level: int, steps: int, most: float) -> TapeMemory:
        stepper = steppers[level]
        lift = calls.spaces[level].lift if stepper.kept_type is float else None
        return TapeMemory(steps, stepper.kept_shape, most, comm, stepper.kept_type, lift)

    memories = [memory(0, grid.local_steps, kept_bytes)]
    # A tape of level 1 needs one march through that level, whose steps the adjoint repeats
    # backward: on more levels it is relaxed, and with other C-points the steps are others. In
    # another space it marches through states that are not those of the C-points.
    if grid.levels != 2 or not grid.coarse_steps_coincide or calls.transfers[1] is not None:
        return memories
    left = kept_bytes - memories[0].bytes
    return [*memories, memory(1, grid.layouts()[1].local_steps, left)]


def _repeated(
    calls: Calls, kept_bytes: float, memories: Sequence[TapeMemory]
) -> list[TapeMemory | None]:
    """Return the memories for what iterative coarse steps keep during an adjoint solve."""
    found: list[TapeMemory | None] = [None]
    left = kept_bytes - sum(memory.bytes for memory in memories)
    layouts = calls.grid.layouts(reverse=True)
    for level in range(1, calls.grid.levels):
        stepper, space = calls.steppers[level], calls.spaces[level]
        keeps = stepper.uses_guess and stepper.kept_type is float
        shape = stepper.kept_shape if keeps else None
        memory = TapeMemory(
            layouts[level].local_steps, shape, left, calls.space.comm, float, space.lift
        )
        found.append(memory)
        left -= memory.bytes
    return found
