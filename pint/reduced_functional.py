"""The objective as a function of the control alone, and its gradient by the discrete adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pint.comm import ends_all_ranks, reduce
from pint.controls import Control
from pint.equations.cost import Cost
from pint.equations.intervals import IntervalAdjointSweep, Intervals, IntervalStateSweep
from pint.equations.sweeps import AdjointSweep, StateSweep, add
from pint.equations.tape import Kept
from pint.equations.trajectory import AdjointState, State, Value
from pint.errors import NotFiniteError
from pint.interface import Problem, checked
from pint.mgrit import MGRIT, Accuracy, Guess, Storage
from pint.report.timing import Phases, in_phase
from pint.states import Block

BATCHES_FROM = 8
"""Steps made one by one leave the derivative to batches of so many steps, or more."""


class ReducedFunctional:
    """``J(u, theta) = F(sum_n l_n + psi) + R`` with the states eliminated by MGRIT.

    ``value``, ``derivative`` and ``gradient`` solve to `accuracy`. The methods that they consist
    of (``state_cycles``, ``objective``, ``adjoint_cycles``, ``derivative_of``) work on trajectories
    that the caller holds, and are what the optimisers use.

    Parameters
    ----------
    problem : Problem
    accuracy : Accuracy
        Of state and adjoint in ``value``, ``derivative`` and ``gradient``; the default is 30
        cycles or a residual norm 1e-12 times that of the trajectory. Without effect on a grid
        of one level.
    relaxation, c_weight, cycle
        Of `pint.mgrit.MGRIT`.
    guess : 'zero', 'constant', 'coarse' or 'nested'
        First guess of the first state and the first adjoint solve.
    kept_bytes : float
        Most memory a rank spends on what steps keep for their transposes; see
        `TimeStepper.kept_shape`.
    chunk_bytes : int, optional
        States of so many bytes are advanced together; by default those of a core's L2 cache.
    storage : 'all' or 'C'
        The points that trajectories hold. With 'C', the C-points alone, the memory for them falls
        to 1/m, and the F-points are computed again where they are needed. It takes a grid of at
        least two levels whose N is divisible by m, and an interval of its own for each rank.

    Attributes
    ----------
    phases : pint.report.timing.Phases
        This rank's wall time by phase, of both solvers and of the gradient.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range, or the grid does not fit ``storage="C"``.

    Notes
    -----
    All methods are collective.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        accuracy: Accuracy | None = None,
        relaxation: str | Sequence[str] = "FCF",
        c_weight: float = 1.0,
        cycle: Literal["V", "F"] = "V",
        guess: Guess = "nested",
        kept_bytes: float = 2**31,
        chunk_bytes: int | None = None,
        storage: Storage = "all",
    ) -> None:
        if storage not in ("all", "C"):
            raise ValueError(f"`ReducedFunctional(storage=...)` is 'all' or 'C', got {storage!r}.")
        if storage == "C":
            problem.grid.check_c_points("`ReducedFunctional(storage='C')`")
        if guess not in ("zero", "constant", "coarse", "nested"):
            raise ValueError(
                "`ReducedFunctional(guess=...)` is 'zero', 'constant', 'coarse' or 'nested', "
                f"got {guess!r}."
            )
        if not kept_bytes >= 0:
            raise ValueError(f"`ReducedFunctional(kept_bytes=...)` must be >= 0, got {kept_bytes}.")
        problem = problem.space.adapt(problem)
        # Every rank looks at the initial state, so that a wrong one is an error on all of them.
        with np.errstate(all="ignore"):  # its shape counts, not its value at theta = 0
            initial = problem.stepper.initial(problem.controls.zeros().shared)
        if np.shape(initial) != tuple(problem.space.shape):
            raise ValueError(
                f"`{type(problem.stepper).__name__}.initial` must return a state of shape "
                f"{tuple(problem.space.shape)}, got {np.shape(initial)}."
            )
        self.problem = problem
        self.comm = problem.grid.comm
        self.ranks_to_end = self.comm if self.comm.size > 1 else problem.space.comm
        self.accuracy = accuracy or Accuracy(cycles=30, relative=1e-12)
        self.guess: Guess = guess
        self.phases = Phases()
        self.state_solver, self.adjoint_solver = (
            MGRIT(
                problem.grid,
                problem.space,
                reverse=reverse,
                relaxation=relaxation,
                c_weight=c_weight,
                cycle=cycle,
                phases=self.phases,
                chunk_bytes=chunk_bytes,
                storage=storage,
            )
            for reverse in (False, True)
        )
        self.intervals: Intervals | None = None
        kept_shape = problem.stepper.kept_shape
        if storage == "C":
            self.intervals = Intervals(problem, self.state_solver.levels[0], kept_bytes)
            kept_shape = None
        self.kept = Kept(problem.grid, kept_shape, kept_bytes)
        self.chunk = self.state_solver.levels[0].chunk
        self.cost = Cost(problem, self.phases, self.chunk, self.intervals)
        self._state: State | None = None
        self._adjoint: AdjointState | None = None
        self._vector: np.ndarray | None = None
        self._value: Value

    # The whole way, to `accuracy`

    def value(self, control: Control) -> float:
        """Return J.

        Raises
        ------
        NotFiniteError
            If it is NaN or infinite; the message names the level and its step size.
        TypeError, ValueError
            If it is no control of the problem; see `ControlSpace.require_fitting`.
        """
        self._solved_state(control)
        return self._value.objective

    def derivative(self, control: Control) -> Control:
        """Return dJ, a dual vector: ``space.pair(dJ, v)`` is the derivative in direction v."""
        state = self._solved_state(control)
        if self._adjoint is None:
            self._adjoint = self.new_adjoint(all_points=False)
        self.adjoint_cycles(self._adjoint, state, self.accuracy)
        return self.derivative_of(state, self._adjoint)

    def gradient(self, control: Control) -> Control:
        """Return the gradient of J in the control's metric."""
        return self.problem.controls.riesz(self.derivative(control))

    def _solved_state(self, control: Control) -> State:
        self.problem.controls.require_fitting(control)
        if self._state is None:
            self._state = self.new_state()
        # By value: a control may have been changed in place, and on one rank only.
        known = self._vector is not None and np.array_equal(self._vector, control.vector)
        in_time = reduce(self.comm, known, "min")
        if not reduce(self.problem.space.comm, in_time, "min")[0]:
            self.state_cycles(self._state, control, self.accuracy)
            self._vector = control.vector.copy()
            self._value = self.objective(self._state)
        self.require_finite(self._value)
        return self._state

    # The parts

    def select(self, indices: np.ndarray) -> None:
        """Make J that of some examples, by their numbers: see `pint.interface.Examples`.

        The trajectories that the caller holds are those of other examples from now on.

        Raises
        ------
        ValueError
            If the problem has no examples to select, or there are too many indices or wrong ones.
        """
        if self.problem.examples is None:
            raise ValueError(
                "`ReducedFunctional.select` needs a problem with `examples`: for a network, one "
                "made with `batch_size`."
            )
        self.problem.examples.select(indices)
        self._vector = self.kept.owner = None
        for solution in (self._state, self._adjoint):
            if solution is not None:
                solution.forget()

    def new_state(self) -> State:
        """Return an empty state trajectory; the first solve begins with the first guess."""
        return State(self.state_solver.allocate())

    def new_adjoint(self, all_points: bool = True) -> AdjointState:
        """Return an empty adjoint trajectory; the first solve begins with the first guess.

        Where a sweep on a grid of one level forms the derivative as it goes, the rows of the
        trajectory share the memory of one point without `all_points`, the last one reached.
        """
        if all_points or self.problem.grid.levels > 1 or not self._gathers(stepping=True):
            return AdjointState(self.adjoint_solver.allocate())
        point, count = self.problem.space.allocate(1), self.problem.grid.local_steps + 1
        shape, strides = (count, *point.shape[1:]), (0, *point.strides[1:])
        return AdjointState(np.lib.stride_tricks.as_strided(point, shape, strides))

    def copy_guess(self, source: State, target: State) -> None:
        """Make `target` start from `source`, in place; the solution itself is not copied."""
        self.state_solver.copy_guess(source.trajectory, target.trajectory)
        if source.tau is not None:
            self.tau_of(target)[...] = source.tau
        target.control, target.convergence = source.control, source.convergence
        self._forget(target)

    @ends_all_ranks
    def state_cycles(
        self, state: State, control: Control, accuracy: Accuracy, relaxed: bool = False
    ) -> None:
        """Solve the state equation for `control`, in place, from the trajectory at hand.

        `relaxed` says that its F-points belong to `control` already, after `relax_state` or a
        solve for the same control: the first F-relaxation is then left out.
        """
        sweep = self._state_sweep(control)
        self._set_initial(state, control)
        if state.control is None:
            self.state_solver.set_guess(sweep, state.trajectory, self.guess)
        self.kept.owner = None
        state.convergence = self.state_solver.solve(
            sweep, state.trajectory, accuracy, relaxed=relaxed, last=sweep.keeping(self.kept)
        )
        if not state.convergence.converged:
            self._remember(state, complete=False)
        elif not state.convergence.residuals:
            self._remember(state, complete=True)
        state.control = control

    @ends_all_ranks
    def lagged_state_cycles(
        self,
        state: State,
        control: Control,
        cycles: int = 1,
        adjoint: AdjointState | None = None,
    ) -> float:
        """Solve the state equation for `control`, in place, by cycles that start on level 1.

        Their first coarse equation is that of the control before, but for its steps; see
        `MGRIT.lagged_solve`. With F-relaxation each step of level 0 is made once a cycle.
        Returns the `state_correction` with an `adjoint`, zero without, at no cost.
        """
        sweep, solver = self._state_sweep(control), self.state_solver
        self._set_initial(state, control)
        self.kept.owner = None
        last, weights = sweep.keeping(self.kept), None
        if adjoint is not None:
            weights = solver.c_points(adjoint.trajectory[::-1])
        state.convergence, correction = solver.lagged_solve(
            sweep, state.trajectory, self.tau_of(state), cycles, last=last, weights=weights
        )
        self._remember(state, complete=True)
        state.control = control
        return correction

    def tau_of(self, solution: State | AdjointState) -> Block:
        """Return the right-hand side of level 1 that lagged solves go on with; zero at first."""
        if solution.tau is None:
            solution.tau = self.state_solver.allocate_tau()
            if isinstance(solution, AdjointState):
                solution.tau = self.adjoint_solver.allocate_tau()
        return solution.tau

    @ends_all_ranks
    def relax_state(self, state: State, control: Control) -> None:
        """Compute the F-points for `control` from the C-points at hand, in place."""
        self._set_initial(state, control)
        self._forget(state)
        self.state_solver.relax(self._state_sweep(control), state.trajectory)
        state.control = control

    @ends_all_ranks
    def propagate(self, state: State, control: Control) -> None:
        """Solve the state equation for `control` exactly, step after step, in place."""
        self._set_initial(state, control)
        sweep = self._state_sweep(control).keeping(self.kept)
        self.kept.owner = None
        state.convergence = self.state_solver.march(sweep, state.trajectory)
        self._remember(state, complete=True)
        state.control = control

    def _state_sweep(
        self, control: Control, kept: Kept | None = None
    ) -> StateSweep | IntervalStateSweep:
        sweep = StateSweep(self.problem, control, kept)
        return sweep if self.intervals is None else IntervalStateSweep(sweep, self.intervals)

    def states(self, state: State) -> Block:
        """Return this rank's part of a solved state at all points, row 0 the point before them.

        With ``storage="C"`` it is computed, into a new block, otherwise it is the trajectory.
        """
        if self.intervals is None:
            return state.trajectory
        return self.intervals.expand(state.solved_control, state.trajectory)

    def _forget(self, state: State) -> None:
        """Take note that `state` changes, so that what its steps have kept is out of date."""
        if self.kept.owner is state:
            self.kept.owner = None

    def _remember(self, state: State, complete: bool) -> None:
        """Take note that the steps to `state` were the last that have kept anything."""
        self.kept.owner, self.kept.complete = state, complete

    def kept_of(self, state: State) -> Kept | None:
        """Return what the steps to a state have kept; None if others have kept theirs since."""
        return self.kept if self.kept.owner is state else None

    def _set_initial(self, state: State, control: Control) -> None:
        if self.comm.rank == 0:
            initial = self.problem.stepper.initial(control.shared)
            checked(initial, state.trajectory[0], self.problem.stepper, "initial")
            state.trajectory[0] = initial

    @ends_all_ranks
    def objective(self, state: State) -> Value:
        """Return the objective of a solved state.

        No step is evaluated if all points are stored, or the objective has no step cost.
        """
        control, objective = state.solved_control, self.problem.objective
        total = self.cost.summed(state)
        cost = float(objective.outer(total))
        return Value(cost, tuple(float(r.value(control)) for r in self.problem.regularisers))

    @ends_all_ranks
    def adjoint_cycles(
        self, adjoint: AdjointState, state: State, accuracy: Accuracy, relaxed: bool = False
    ) -> None:
        """Solve the adjoint equation at a solved state, in place.

        `relaxed` says that the F-points belong to this state already, after `relax_adjoint` or
        a solve at the same state: the first F-relaxation is then left out.
        """
        first = adjoint.explicit is None
        if not relaxed:
            self._linearise(adjoint, state)
        sweep = self.adjoint_sweep(state, adjoint)
        if first:
            self.adjoint_solver.set_guess(sweep, adjoint.trajectory, self.guess, adjoint.sums)
        last = self._gathering(sweep, adjoint, stepping=self.problem.grid.levels == 1)
        adjoint.convergence = self.adjoint_solver.solve(
            sweep, adjoint.trajectory, accuracy, adjoint.sources, relaxed, last
        )
        if adjoint.convergence.converged:
            stepped = not adjoint.convergence.residuals
            adjoint.rows = self._rows(gathered=stepped and self._gathers(stepping=True))
        else:
            adjoint.rows = self._rows_to_c_points()

    @ends_all_ranks
    def lagged_adjoint_cycles(self, adjoint: AdjointState, state: State, cycles: int = 1) -> None:
        """Solve the adjoint equation at a solved state, in place; see `lagged_state_cycles`."""
        solver, known, tau = self.adjoint_solver, adjoint.tau is not None, self.tau_of(adjoint)
        if known and adjoint.sums is not None:
            solver.add_sums(tau, adjoint.sums, -1.0)
        self._linearise(adjoint, state)
        if adjoint.sums is not None:
            solver.add_sums(tau, adjoint.sums)
        sweep = self.adjoint_sweep(state, adjoint)
        last = self._gathering(sweep, adjoint)
        adjoint.convergence, _ = solver.lagged_solve(
            sweep, adjoint.trajectory, tau, cycles, adjoint.sources, last
        )
        adjoint.rows = range(0)

    @ends_all_ranks
    def relax_adjoint(self, adjoint: AdjointState, state: State) -> None:
        """Compute the F-points at a solved state from the C-points at hand, in place."""
        self._linearise(adjoint, state)
        stepping = self.problem.grid.levels == 1
        last = self._gathering(self.adjoint_sweep(state, adjoint), adjoint, stepping)
        self.adjoint_solver.relax(last, adjoint.trajectory, adjoint.sources)
        adjoint.rows = self._rows_to_c_points()

    @ends_all_ranks
    def propagate_adjoint(self, adjoint: AdjointState, state: State) -> None:
        """Solve the adjoint equation exactly, step after step, in place."""
        self._linearise(adjoint, state)
        last = self._gathering(self.adjoint_sweep(state, adjoint), adjoint, stepping=True)
        adjoint.convergence = self.adjoint_solver.march(last, adjoint.trajectory, adjoint.sources)
        adjoint.rows = self._rows(gathered=self._gathers(stepping=True))

    @in_phase("gradient")
    def _linearise(self, adjoint: AdjointState, state: State) -> None:
        self.cost.linearise(adjoint, state)

    def adjoint_sweep(
        self, state: State, adjoint: AdjointState
    ) -> AdjointSweep | IntervalAdjointSweep:
        """Return the adjoint equation at a solved state; the adjoint's cost is linearised there."""
        problem, control, intervals = self.problem, state.solved_control, self.intervals
        if intervals is None:
            return AdjointSweep(problem, control, state.trajectory, self.kept_of(state))
        sweep = AdjointSweep(problem, control, state.trajectory, spacing=intervals.factor)
        return IntervalAdjointSweep(sweep, control, intervals, adjoint.scale)

    def _gathers(self, stepping: bool) -> bool:
        """Whether an adjoint sweep also forms the derivative.

        One that makes steps one by one leaves it to large batches, where that repeats no
        evaluation: the calls cost more than another look at the adjoint.
        """
        if not (stepping and self.problem.stepper.batched and self.chunk >= BATCHES_FROM):
            return True
        adjoint, all_kept = self.problem.adjoint, len(self.kept) == self.problem.grid.local_steps
        alone = not adjoint.combines or (adjoint.derivative_from_kept and all_kept)
        return self.intervals is not None or not alone

    def _gathering(
        self,
        sweep: AdjointSweep | IntervalAdjointSweep,
        adjoint: AdjointState,
        stepping: bool = False,
    ) -> AdjointSweep | IntervalAdjointSweep:
        """Return the sweep that `_gathers` the derivative, which begins with the explicit one."""
        adjoint.derivative = Control(self.problem.controls, _explicit_of(adjoint).vector.copy())
        return sweep.with_derivative(adjoint.derivative) if self._gathers(stepping) else sweep

    def _rows(self, gathered: bool) -> range:
        return range(0) if gathered else range(self.problem.grid.local_steps)

    def _rows_to_c_points(self) -> range:
        """Return the rows where the adjoint steps end at C-points; F-relaxation omits these.

        It omits all steps where C-points alone are stored.
        """
        grid = self.problem.grid
        if self.intervals is not None:
            return self._rows(gathered=False)
        if grid.levels == 1:
            return self._rows(gathered=self._gathers(stepping=True))
        factor = grid.coarsening[0]
        # The adjoint counts from the end; points before its last C-point are F-points.
        return range((grid.steps - grid.first) % factor, grid.local_steps, factor)

    @ends_all_ranks
    @in_phase("relaxation")
    def state_correction(self, state: State, adjoint: AdjointState) -> float:
        """Return ``sum_n lam_{n+1}' (Phi_n(y_n) - y_{n+1})`` for a solved state.

        It takes N/m steps, or N with ``storage="C"``.

        Added to the objective it removes the first-order effect of the state's error: what
        remains is of the order of the product of the errors of state and adjoint.
        """
        kept = self.kept_of(state)
        sweep = self._state_sweep(state.solved_control, kept)
        backwards, local = adjoint.trajectory[::-1], 0.0
        for rows, residual in self.state_solver.residual(sweep, state.trajectory):
            residual *= backwards[rows]
            local += float(residual.sum())
        if kept is not None:
            kept.complete = True
        with self.phases("communication"):
            in_time = reduce(self.comm, local)
            return float(reduce(self.problem.space.comm, in_time)[0])

    @ends_all_ranks
    @in_phase("gradient")
    def derivative_of(self, state: State, adjoint: AdjointState) -> Control:
        """Return dJ from a solved state and adjoint: all steps, and no cycle more."""
        problem, control, theta = self.problem, state.solved_control, state.solved_control.shared
        derivative = adjoint.derivative
        if derivative is None:
            raise ValueError("the adjoint has not been solved: call `adjoint_cycles` first.")
        if adjoint.rows and self.intervals is not None:
            sweep = self.adjoint_sweep(state, adjoint).with_derivative(derivative)
            self.adjoint_solver.make_steps(sweep, adjoint.trajectory)
        elif adjoint.rows:
            self.cost.add_steps(derivative, state, adjoint, self.kept_of(state))
        adjoint.rows = range(0)
        derivative = Control(problem.controls, derivative.vector.copy())
        if self.comm.rank == problem.grid.first_step_rank:
            dtheta = problem.adjoint.initial_derivative(theta, adjoint.trajectory[-1])
            add((derivative.time, derivative.shared), ..., {}, dtheta, problem.adjoint)
        with self.phases("communication"):
            problem.controls.sum_parts(derivative)
        for regulariser in problem.regularisers:
            derivative = derivative + regulariser.derivative(control)
        return derivative

    def require_finite(self, value: Value) -> None:
        """Raise NotFiniteError, which says where, unless the objective is finite."""
        if math.isfinite(value.objective):
            return
        level = self.state_solver.bad_level()
        if level is None:
            raise NotFiniteError(
                f"the objective is {value.objective} although all states are finite: check "
                "`Objective` and the regularisers."
            )
        grid = self.problem.grid
        size = (grid.t[-1] - grid.t[0]) / grid.steps * grid.strides[level]
        raise NotFiniteError(
            f"the states of level {level} (step size {size:.3g}) are not finite. An explicit "
            "step may be unstable at that size: use fewer levels, a smaller coarsening factor or "
            "more steps."
        )


def _explicit_of(adjoint: AdjointState) -> Control:
    if adjoint.explicit is None:
        raise ValueError("the adjoint has not been solved: call `adjoint_cycles` first.")
    return adjoint.explicit
