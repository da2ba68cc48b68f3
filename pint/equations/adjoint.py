"""The adjoint equation at a solved state, and the derivative of the cost that it yields."""

from __future__ import annotations

from typing import Any

import numpy as np

from pint.comm import ending_all_ranks, reduce
from pint.controls import Control, ControlSpace, Lifted, on_host
from pint.equations.calls import Calls
from pint.equations.cost import Cost
from pint.equations.intervals import AdjointIntervals, Intervals
from pint.equations.results import KINDS, add_fields, as_rows, at_rows, rows_after
from pint.equations.state import StateEquation
from pint.equations.sweeps import Repeated, Sweep
from pint.equations.trajectory import (
    AdjointState,
    Cycles,
    How,
    Lagged,
    Linearisation,
    Relax,
    State,
    check_how,
    note_convergence,
)
from pint.errors import Uncopied, overrides
from pint.interface import DifferenceAdjoint, TimeStepper
from pint.mgrit import MGRIT, Corrected, Guess, Propagator
from pint.report.convergence import Solves
from pint.states import Block

BATCHES_FROM = 8
"""Steps made one by one leave the derivative to batches of so many steps, or more."""


class AdjointEquation(Uncopied):
    """``lam_n = (dPhi_n/dy)^T lam_{n+1} + source_n``, exact transposes of the state's steps.

    Parameters
    ----------
    calls : Calls
    controls : ControlSpace
    solver : MGRIT
        In reversed time.
    guess : Guess
        The first guess of a trajectory.
    cost : Cost
    state : StateEquation
        The equation of the states that it is solved at.
    intervals : Intervals or None
        Where trajectories hold C-points alone.
    ranks_to_end : communicator
        The ranks that end if one of them raises.
    solves : Solves
        Counts the solves to a tolerance.
    rank : int or None
        Of the linear correction of coarse steps; None without one.
    """

    def __init__(
        self,
        calls: Calls,
        controls: ControlSpace,
        solver: MGRIT,
        guess: Guess,
        cost: Cost,
        state: StateEquation,
        intervals: Intervals | None,
        ranks_to_end: Any,
        solves: Solves,
        rank: int | None = None,
    ) -> None:
        self.calls, self.controls, self.solver, self.guess = calls, controls, solver, guess
        self.cost, self.state = cost, state
        self.intervals, self.ranks_to_end, self.solves = intervals, ranks_to_end, solves
        self.rank = rank

    def new(self, all_points: bool = True) -> AdjointState:
        """Return an empty trajectory; the first solve begins with the first guess.

        On a grid of one level the trajectory holds one state without `all_points`, if sweeps form
        the derivative as they go: it stays in the cache.
        """
        if all_points or self.calls.grid.levels > 1 or self._prefers_batches:
            return AdjointState(self.solver.allocate(), self)
        return AdjointState(self.calls.space.allocate(1), self)

    def solve(
        self,
        adjoint: AdjointState,
        state: State,
        how: How,
        linearisation: Linearisation | None = None,
    ) -> None:
        """Solve at a solved state, in place, from the trajectory's current points. Collective.

        Another linear functional of the states may be given in place of the cost's derivative.
        """
        with ending_all_ranks(self.ranks_to_end):
            self._require_own(adjoint, state)
            self.state.selection.apply()
            control, solver, known = state.solved_fields, self.solver, adjoint.is_known
            check_how(how, self.calls.grid.levels, known)
            relaxed = isinstance(how, Cycles) and how.relaxed
            if relaxed:
                # Without a new F-relaxation the F-points must be those of this very state.
                adjoint.require_solved_at(state)
            if isinstance(how, Lagged) and adjoint.tau is not None:
                # Tau holds the sums of the old sources, whose blocks `linearise` writes over.
                self._add_sums(adjoint, -1.0)
            if not relaxed:  # otherwise the cost is linearised at this state already
                with solver.phases("gradient"):
                    old = adjoint.linearisation
                    adjoint.linearisation = linearisation or self.cost.linearise(state, old)
            lin = adjoint.linearisation
            assert lin is not None
            # Steps made one by one may leave the derivative to batches: see `_prefers_batches`.
            stepping = self.calls.grid.levels == 1 or not isinstance(how, (Cycles, Lagged, Relax))
            gathers = self._gathers(adjoint, state, stepping)
            self._complete_tape(state)
            engine = self._engine(control, state, lin, gathers, isinstance(how, Lagged))
            points, sources = adjoint.points, lin.sources
            # lam_N is given, as y_0 is for the state; other ranks receive their last point.
            if self.calls.grid.comm.rank == self.calls.grid.last_rank:
                points[-1:] = lin.terminal
            adjoint.solution = None  # until the solve has ended
            steps = self._corrected(engine, state, how)
            if isinstance(how, Lagged):
                tau = self.tau_of(adjoint)
                self._add_sums(adjoint, 1.0)
                adjoint.convergence, _ = solver.lagged_solve(
                    steps, points, tau, how.cycles, sources
                )
            elif isinstance(how, Cycles):
                if not known:
                    solver.set_guess(steps, points, self.guess, lin.sums)
                adjoint.convergence = solver.solve(steps, points, how.accuracy, sources, relaxed)
            elif isinstance(how, Relax):
                solver.relax(engine, points, sources)
            else:
                adjoint.convergence = solver.march(engine, points, sources)
            # Without a last pass that formed it, the derivative is still to be added in all rows.
            gathered = engine.derivative is not None
            adjoint.derivative = engine.derivative
            if not gathered:
                adjoint.derivative = lin.explicit.copy()
            rows = range(self.calls.grid.local_steps)
            adjoint.missing = engine.missing if gathered else rows
            adjoint.state, adjoint.solution = state, state.solution
            note_convergence(self.solves, "adjoint equation", how, adjoint.convergence)

    def propagator(self, state: State) -> Propagator:
        """Return the transposed steps at a solved state, without sources. Collective."""
        with ending_all_ranks(self.ranks_to_end):
            self.state.selection.apply()
            control, u = state.solved_fields, self._blocks(state)
            if self.intervals is None:
                return Sweep(self.calls, control, u, at=state)
            sweep = Sweep(self.calls, control, u, at=state, spacing=self.intervals.factor)
            return AdjointIntervals(sweep, self.intervals, scale=0.0)

    def derivative(self, adjoint: AdjointState, state: State) -> Control:
        """Return the cost's derivative with respect to the control, a dual vector. Collective.

        The passes of `solve` have formed most of it. The steps that they left out follow here.
        """
        with ending_all_ranks(self.ranks_to_end), self.solver.phases("gradient"):
            self._require_own(adjoint, state)
            adjoint.require_solved_at(state)
            self.state.selection.apply()
            if adjoint.missing:
                self._finish(adjoint, state)
            assert adjoint.derivative is not None
            # A copy: summed over ranks in place, it could not be asked for twice.
            derivative = adjoint.derivative.copy()
            grid = self.calls.grid
            # One rank adds the part of y_0(theta), because the sum over the ranks follows.
            if grid.comm.rank == grid.first_step_rank:
                theta, views = state.solved_fields.shared, at_rows(derivative, ...)
                self.calls.initial_vjp(theta, adjoint.points[0], views)
            derivative = on_host(derivative)
            with self.solver.phases("communication"):
                self.controls.sum_parts(derivative)
            return derivative

    def tau_of(self, adjoint: AdjointState) -> Block:
        """Return the right-hand side of level 1 that lagged solves continue; zero at first."""
        if adjoint.tau is None:
            adjoint.tau = self.solver.allocate_tau()
        return adjoint.tau

    def _add_sums(self, adjoint: AdjointState, sign: float) -> None:
        """Add the sums of the sources to the right-hand side of level 1, in place. Collective."""
        lin = adjoint.linearisation
        if lin is not None and lin.sums is not None:
            self.solver.add_sums(self.tau_of(adjoint), lin.sums, sign)

    def _blocks(self, state: State) -> list[Any]:
        """Return the blocks of each level's steps backward in time. Collective."""
        levels = self.controls.restrict(state.solved_control, reverse=True)
        return self.calls.blocks(state.solved_fields, levels)

    def _engine(
        self,
        control: Control | Lifted,
        state: State,
        lin: Linearisation,
        gathers: bool,
        lagged: bool = False,
    ) -> Sweep | AdjointIntervals:
        u = self._blocks(state)
        explicit = lin.explicit if gathers else None
        if self.intervals is None:
            # Lagged solves begin with the C-points. Where N is not divisible, the C-points of the
            # state, at which its correction needs the adjoint, are F-points of the adjoint.
            grid = self.calls.grid
            ends = lagged and gathers and grid.steps % grid.coarsening[0] == 0
            repeated = Repeated(self.state.repeated)
            return Sweep(
                self.calls,
                control,
                u,
                at=state,
                explicit=explicit,
                ends_only=ends,
                repeated=repeated,
            )
        spacing = self.intervals.factor
        sweep = Sweep(self.calls, control, u, at=state, explicit=explicit, spacing=spacing)
        return AdjointIntervals(sweep, self.intervals, lin.scale)

    def _complete_tape(self, state: State) -> None:
        """Make the iterative steps to C-points, which have kept nothing, once for all cycles."""
        tape, calls = state.tape, self.calls
        stepper = calls.steppers[0]
        if tape is None or not tape.valid or not tape.missing or not stepper.uses_guess:
            return
        if self.intervals is not None or tape.memory.holds_objects:
            return
        level, control, first = self.solver.levels[0], state.solved_fields, calls.grid.first
        rows, chunk = tape.missing, min(level.chunk, len(level.scratch))
        for begin in range(0, len(rows), chunk):
            some = rows[begin : begin + chunk]
            here = as_rows(some)
            calls.step(
                0,
                range(some.start + first, some.stop + first, some.step),
                {name: values[here] for name, values in control.time.items()},
                control.shared,
                state.points[here],
                level.scratch[: len(some)],
                tape.place(here),
                state.points[rows_after(here)],
            )
        tape.missing = range(0)

    def _corrected(self, engine: Propagator, state: State, how: How) -> Propagator:
        """Return the steps of a solve, if asked for with their linear correction. Collective."""
        if self.rank is None or not isinstance(how, (Cycles, Lagged)):
            return engine
        corrected = Corrected(engine, self.solver, self.rank, linear=True)
        grid = self.calls.grid
        m = grid.coarsening[0]
        # Where ranks own whole intervals, and these are the same in both directions of time
        coincide = grid.steps % m == 0 and grid.steps // m >= grid.comm.size
        if coincide and state.delta is not None and state.delta_at is state.solution:
            corrected.delta = state.delta
        else:
            with self.solver.phases("coarse"):
                corrected.linearise(*self.solver.levels[:2])
        return corrected

    @property
    def _prefers_batches(self) -> bool:
        """Whether steps that are made one by one leave the derivative to large batches.

        They do if the adjoint defines a cheaper `step`: making the products again in a few large
        batches then takes less time than many small calls. Iterative steps do not, because their
        transposes solve equations, which the batches would solve again.
        """
        chunk, calls = self.solver.levels[0].chunk, self.calls
        batches = calls.batched and chunk >= BATCHES_FROM and calls.own_step and not calls.relaxes
        # A graph is walked once for all products.
        walks = calls.steppers[0].kept_type is object
        return batches and not walks and not calls.steppers[0].uses_guess and self.intervals is None

    def _gathers(self, adjoint: AdjointState, state: State, stepping: bool) -> bool:
        """Whether a solve also forms the derivative."""
        if not (stepping and self._prefers_batches) or len(adjoint.points) == 1:
            return True
        # Batches would repeat what the steps have not kept.
        keeps = self.calls.problem.stepper.kept_shape is not None
        kept = state.tape is not None and not state.tape.missing
        return keeps and not kept

    def _finish(self, adjoint: AdjointState, state: State) -> None:
        """Add what the steps from the missing rows contribute to the derivative, in place."""
        control, derivative = state.solved_fields, adjoint.derivative
        assert derivative is not None and adjoint.linearisation is not None
        if self.intervals is not None:
            engine = self._engine(control, state, adjoint.linearisation, gathers=True)
            assert isinstance(engine, AdjointIntervals)
            engine.finish(adjoint.points)
            self.solver.levels[0].steps_evaluated += self.calls.grid.local_steps
            adjoint.derivative, adjoint.missing = engine.derivative, range(0)
            return
        # The products with the state are not wanted here; the engine's scratch takes them if made.
        level = self.solver.levels[0]
        rows, chunk = adjoint.missing, min(level.chunk, len(level.scratch))
        first = self.calls.grid.first
        for begin in range(0, len(rows), chunk):
            some = rows[begin : begin + chunk]
            here, count = as_rows(some), len(some)
            ends = rows_after(here)
            views = at_rows(derivative, here)
            self.calls.vjp(
                0,
                range(some.start + first, some.stop + first, some.step),
                {name: values[here] for name, values in control.time.items()},
                control.shared,
                state.points[here],
                adjoint.points[ends],
                level.scratch[:count],
                None if state.tape is None else self._tape_of(state, some),
                state.points[ends],
                views,
                wanted=False,
            )
        adjoint.missing = range(0)

    def _tape_of(self, state: State, rows: range) -> Any:
        assert state.tape is not None
        return state.tape.rows(rows) if self.calls.batched else state.tape.each(rows)

    def _require_own(self, adjoint: AdjointState, state: State) -> None:
        for value, kind, make in (
            (adjoint, AdjointState, "adjoint"),
            (state, State, "state"),
        ):
            if not isinstance(value, kind):
                raise TypeError(
                    f"the {make} must come from `functional.{make}.new()`, "
                    f"got {type(value).__name__}."
                )
        if state.equation is not self.state:
            raise ValueError(
                "the state belongs to another functional than the adjoint: make both with the "
                "same one, by `functional.state.new()` and `functional.adjoint.new()`."
            )
        if adjoint.equation is not self:
            raise ValueError(
                "the adjoint belongs to another functional: make one with "
                "`functional.adjoint.new()`."
            )


def require_initial_vjp(calls: Calls, controls: ControlSpace) -> None:
    """Raise TypeError if y_0 depends on a shared field that its derivative leaves out. Collective.

    y_0 is computed at two values of each such field.
    """
    stepper, adjoint, space = calls.problem.stepper, calls.problem.adjoint, calls.space
    own = overrides(stepper, TimeStepper, "initial")
    if not own or not controls.shared_fields or isinstance(adjoint, DifferenceAdjoint):
        return
    before, after = space.allocate(2)
    at = controls.project(controls.control(**dict.fromkeys(controls.shared_fields, 0.5)))
    with np.errstate(all="ignore"):
        start = calls.given(at).shared
        before[...] = calls.initial(start, before)
        known = space.native(adjoint.initial_vjp, (1,))(start, before)
        add_fields(
            calls.given(controls.zeros(), True).shared, known, KINDS[1], adjoint
        )  # as far as there are any
        for name in controls.shared_fields.keys() - set(known):
            moved = at.copy()
            moved[name][...] += 0.25
            moved = controls.project(moved)
            after[...] = calls.initial(calls.given(moved).shared, after)
            old, new = space.as_array(before), space.as_array(after)
            moves = not np.array_equal(old, new, equal_nan=True)
            if reduce(space.comm, moves, "max")[0]:
                kinds = [type(getattr(part, "ode", part)).__name__ for part in (stepper, adjoint)]
                raise TypeError(
                    f"`{kinds[0]}.initial` depends on `{name}`, but `{kinds[1]}.initial_vjp` "
                    "returns no derivative with respect to it: define it, or add it there."
                )
