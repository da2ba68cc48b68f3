"""The objective as a function of the control alone, and its gradient by the discrete adjoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pint.comm import ends_all_ranks, reduce
from pint.controls import Control
from pint.errors import NotFiniteError
from pint.interface import Problem, checked
from pint.kept import Kept
from pint.mgrit import MGRIT, Accuracy, Convergence, Guess
from pint.space import Block
from pint.sweep import AdjointSweep, StateSweep, add, derivative_targets, finest_steps
from pint.timing import Phases, in_phase


@dataclass(frozen=True)
class Value:
    """An objective: the sum of the cost ``F(...)`` and of the regularisers' values, in order."""

    cost: float
    regularisers: tuple[float, ...] = ()

    @property
    def objective(self) -> float:
        """The sum of all terms."""
        return self.cost + sum(self.regularisers)

    def corrected(self, correction: float) -> Value:
        """Return the value with a correction of the cost."""
        return Value(self.cost + correction, self.regularisers)


@dataclass
class State:
    """A state trajectory, the control it was computed for, and how well.

    ``trajectory`` holds this rank's points in row 1 on and the point before them in row 0;
    ``tau`` is the right-hand side of level 1 that a lagged solve has left.
    """

    trajectory: Block
    control: Control | None = None
    convergence: Convergence | None = None
    tau: Block | None = None

    @property
    def solved_control(self) -> Control:
        """The control; ValueError if no solve has been made yet."""
        if self.control is None:
            raise ValueError("the state has not been solved: call `state_cycles` first.")
        return self.control


@dataclass
class AdjointState:
    """An adjoint trajectory, in reversed time, and the cost's explicit derivative.

    Row j of ``trajectory`` is point ``grid.last - j``. ``explicit`` is the derivative of the cost
    with respect to the control at fixed states, this rank's part; ``sources`` the derivative with
    respect to the states, by row. ``derivative`` is the cost's whole derivative, this rank's part,
    to which the steps from ``rows`` of the states have not contributed yet. ``tau`` is the
    right-hand side of level 1 that a lagged solve has left.
    """

    trajectory: Block
    explicit: Control | None = None
    sources: Block | None = None
    convergence: Convergence | None = None
    derivative: Control | None = None
    rows: range = range(0)
    tau: Block | None = None


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

    Attributes
    ----------
    phases : pint.timing.Phases
        This rank's wall time by phase, of both solvers and of the gradient.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

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
    ) -> None:
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
            )
            for reverse in (False, True)
        )
        self.kept = Kept(problem.grid, problem.stepper.kept_shape, kept_bytes)
        self._chunk = self.state_solver.levels[0].chunk
        self._state: State | None = None
        self._adjoint: AdjointState | None = None
        self._vector: np.ndarray | None = None

    # The whole way, to `accuracy`

    def value(self, control: Control) -> float:
        """Return J.

        Raises
        ------
        NotFiniteError
            If it is NaN or infinite; the message names the level and its step size.
        """
        return self.objective(self._solved_state(control)).objective

    def derivative(self, control: Control) -> Control:
        """Return dJ, a dual vector: ``space.pair(dJ, v)`` is the derivative in direction v."""
        state = self._solved_state(control)
        if self._adjoint is None:
            self._adjoint = self.new_adjoint()
        self.adjoint_cycles(self._adjoint, state, self.accuracy)
        return self.derivative_of(state, self._adjoint)

    def gradient(self, control: Control) -> Control:
        """Return the gradient of J in the control's metric."""
        return self.problem.controls.riesz(self.derivative(control))

    def _solved_state(self, control: Control) -> State:
        if self._state is None:
            self._state = self.new_state()
        # By value: a control may have been changed in place, and on one rank only.
        known = self._vector is not None and np.array_equal(self._vector, control.vector)
        if not reduce(self.comm, known, "min")[0]:
            self.state_cycles(self._state, control, self.accuracy)
            self._vector = control.vector.copy()
        self.require_finite(self.objective(self._state))
        return self._state

    # The parts

    def new_state(self) -> State:
        """Return an empty state trajectory; the first solve begins with the first guess."""
        return State(self.state_solver.allocate())

    def new_adjoint(self) -> AdjointState:
        """Return an empty adjoint trajectory; the first solve begins with the first guess."""
        return AdjointState(self.adjoint_solver.allocate())

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
        sweep = StateSweep(self.problem, control)
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
        sweep, solver = StateSweep(self.problem, control), self.state_solver
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
        self.state_solver.relax(StateSweep(self.problem, control), state.trajectory)
        state.control = control

    @ends_all_ranks
    def propagate(self, state: State, control: Control) -> None:
        """Solve the state equation for `control` exactly, step after step, in place."""
        self._set_initial(state, control)
        sweep = StateSweep(self.problem, control).keeping(self.kept)
        self.kept.owner = None
        state.convergence = self.state_solver.march(sweep, state.trajectory)
        self._remember(state, complete=True)
        state.control = control

    def _forget(self, state: State) -> None:
        """Take note that `state` changes, so that what its steps have kept is out of date."""
        if self.kept.owner is state:
            self.kept.owner = None

    def _remember(self, state: State, complete: bool) -> None:
        """Take note that the steps to `state` were the last that have kept anything."""
        self.kept.owner, self.kept.complete = state, complete

    def _kept_of(self, state: State) -> Kept | None:
        return self.kept if self.kept.owner is state else None

    def _set_initial(self, state: State, control: Control) -> None:
        if self.comm.rank == 0:
            initial = self.problem.stepper.initial(control.shared)
            checked(initial, state.trajectory[0], self.problem.stepper, "initial")
            state.trajectory[0] = initial

    @ends_all_ranks
    def objective(self, state: State) -> Value:
        """Return the objective of a solved state; no step is evaluated."""
        control, objective = state.solved_control, self.problem.objective
        total = self._summed_cost(state)
        cost = float(objective.outer(total))
        return Value(cost, tuple(float(r.value(control)) for r in self.problem.regularisers))

    def _summed_cost(self, state: State) -> float:
        """Return ``sum_n l_n + psi``."""
        problem, control = self.problem, state.solved_control
        theta, local = control.shared, 0.0
        if problem.objective.has_step_cost:
            for rows, after, s, u in finest_steps(problem, control, self._chunk):
                y0, y1 = state.trajectory[rows], state.trajectory[after]
                costs = problem.objective.step_cost(s, y0, y1, u, theta)
                if problem.stepper.batched:
                    costs = checked(costs, s.index, problem.objective, "step_cost").sum()
                local += float(costs)
        if self.comm.rank == problem.grid.last_rank:
            local += float(problem.objective.terminal(state.trajectory[-1], theta))
        with self.phases("communication"):
            return float(reduce(self.comm, local)[0])

    @ends_all_ranks
    def adjoint_cycles(
        self, adjoint: AdjointState, state: State, accuracy: Accuracy, relaxed: bool = False
    ) -> None:
        """Solve the adjoint equation at a solved state, in place.

        `relaxed` says that the F-points belong to this state already, after `relax_adjoint` or
        a solve at the same state: the first F-relaxation is then left out.
        """
        sweep = self.adjoint_sweep(state)
        first = adjoint.explicit is None
        if not relaxed:
            self._linearise_cost(adjoint, state)
        if first:
            self.adjoint_solver.set_guess(sweep, adjoint.trajectory, self.guess, adjoint.sources)
        last = self._gathering(sweep, adjoint)
        adjoint.convergence = self.adjoint_solver.solve(
            sweep, adjoint.trajectory, accuracy, adjoint.sources, relaxed, last
        )
        if adjoint.convergence.converged:
            adjoint.rows = self._rows(gathered=not adjoint.convergence.residuals)
        else:
            adjoint.rows = self._rows_to_c_points()

    @ends_all_ranks
    def lagged_adjoint_cycles(self, adjoint: AdjointState, state: State, cycles: int = 1) -> None:
        """Solve the adjoint equation at a solved state, in place; see `lagged_state_cycles`."""
        sweep, solver = self.adjoint_sweep(state), self.adjoint_solver
        known, tau = adjoint.tau is not None, self.tau_of(adjoint)
        if known and adjoint.sources is not None:
            solver.add_sums(tau, adjoint.sources, -1.0)
        self._linearise_cost(adjoint, state)
        if adjoint.sources is not None:
            solver.add_sums(tau, adjoint.sources)
        last = self._gathering(sweep, adjoint)
        adjoint.convergence, _ = solver.lagged_solve(
            sweep, adjoint.trajectory, tau, cycles, adjoint.sources, last
        )
        adjoint.rows = range(0)

    @ends_all_ranks
    def relax_adjoint(self, adjoint: AdjointState, state: State) -> None:
        """Compute the F-points at a solved state from the C-points at hand, in place."""
        sweep = self.adjoint_sweep(state)
        self._linearise_cost(adjoint, state)
        last = self._gathering(sweep, adjoint)
        self.adjoint_solver.relax(last, adjoint.trajectory, adjoint.sources)
        adjoint.rows = self._rows_to_c_points()

    @ends_all_ranks
    def propagate_adjoint(self, adjoint: AdjointState, state: State) -> None:
        """Solve the adjoint equation exactly, step after step, in place."""
        sweep = self.adjoint_sweep(state)
        self._linearise_cost(adjoint, state)
        last = self._gathering(sweep, adjoint)
        adjoint.convergence = self.adjoint_solver.march(last, adjoint.trajectory, adjoint.sources)
        adjoint.rows = range(0)

    def adjoint_sweep(self, state: State) -> AdjointSweep:
        """Return the adjoint equation at a solved state, for `adjoint_solver`. Collective."""
        return AdjointSweep(
            self.problem, state.solved_control, state.trajectory, self._kept_of(state)
        )

    def _gathering(self, sweep: AdjointSweep, adjoint: AdjointState) -> AdjointSweep:
        """Return the sweep that also forms the derivative, which begins with the explicit one."""
        adjoint.derivative = Control(self.problem.controls, _explicit_of(adjoint).vector.copy())
        return sweep.with_derivative(adjoint.derivative)

    def _rows(self, gathered: bool) -> range:
        return range(0) if gathered else range(self.problem.grid.local_steps)

    def _rows_to_c_points(self) -> range:
        """Return the rows where the adjoint steps end at C-points; F-relaxation omits these."""
        grid = self.problem.grid
        if grid.levels == 1:
            return range(0)
        factor = grid.coarsening[0]
        # The adjoint counts from the end; points before its last C-point are F-points.
        return range((grid.steps - grid.first) % factor, grid.local_steps, factor)

    @ends_all_ranks
    @in_phase("relaxation")
    def state_correction(self, state: State, adjoint: AdjointState) -> float:
        """Return ``sum_n lam_{n+1}' (Phi_n(y_n) - y_{n+1})`` for a solved state, by N/m steps.

        Added to the objective it removes the first-order effect of the state's error: what
        remains is of the order of the product of the errors of state and adjoint.
        """
        kept = self._kept_of(state)
        sweep = StateSweep(self.problem, state.solved_control, kept)
        backwards, local = adjoint.trajectory[::-1], 0.0
        for rows, residual in self.state_solver.residual(sweep, state.trajectory):
            residual *= backwards[rows]
            local += float(residual.sum())
        if kept is not None:
            kept.complete = True
        with self.phases("communication"):
            in_time = reduce(self.comm, local)
            return float(reduce(self.problem.space.comm, in_time)[0])

    @in_phase("gradient")
    def _linearise_cost(self, adjoint: AdjointState, state: State) -> None:
        """Set the cost's explicit derivative, its sources (None without step cost) and lam_N."""
        problem, control = self.problem, state.solved_control
        grid, objective, theta = problem.grid, problem.objective, control.shared
        explicit, sources = problem.controls.zeros(), None
        targets = derivative_targets(explicit)
        at_end = problem.space.allocate(1)
        scale = 1.0
        if objective.has_outer:
            scale = float(objective.outer_derivative(self._summed_cost(state)))
        if objective.has_step_cost:
            sources = adjoint.sources
            if sources is None:
                sources = self.adjoint_solver.allocate()
            sources[...] = 0.0
            by_point = sources[::-1]  # row j is point ``grid.first + j``
            for rows, after, s, u in finest_steps(problem, control, self._chunk):
                y0, y1 = state.trajectory[rows], state.trajectory[after]
                dy0, dy1, du, dtheta = objective.step_cost_derivative(s, y0, y1, u, theta)
                checked(dy0, y0, objective, "step_cost_derivative")
                checked(dy1, y1, objective, "step_cost_derivative")
                by_point[rows] += scale * dy0
                by_point[after] += scale * dy1
                add(targets, rows, du, dtheta, objective, scale)
            at_end[...] = self._shift_right(sources)
        if self.comm.rank == grid.last_rank:
            dy, dtheta = objective.terminal_derivative(state.trajectory[-1], theta)
            checked(dy, state.trajectory[-1], objective, "terminal_derivative")
            adjoint.trajectory[0] = at_end[0] + scale * dy
            add(targets, ..., {}, dtheta, objective, scale)
        adjoint.explicit, adjoint.sources = explicit, sources

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

    @ends_all_ranks
    @in_phase("gradient")
    def derivative_of(self, state: State, adjoint: AdjointState) -> Control:
        """Return dJ from a solved state and adjoint: all steps, and no cycle more."""
        problem, control, theta = self.problem, state.solved_control, state.solved_control.shared
        derivative = adjoint.derivative
        if derivative is None:
            raise ValueError("the adjoint has not been solved: call `adjoint_cycles` first.")
        targets, chunk = derivative_targets(derivative), self._chunk
        kept = self._kept_of(state)
        by_step = adjoint.trajectory[:-1][::-1]  # row i: the adjoint at the end of step i
        for rows, _, s, u in finest_steps(problem, control, chunk, adjoint.rows, kept):
            du, dtheta = problem.adjoint.control_derivative(
                s, state.trajectory[rows], u, theta, by_step[rows]
            )
            add(targets, rows, du, dtheta, problem.adjoint)
        adjoint.rows = range(0)
        derivative = Control(problem.controls, derivative.vector.copy())
        if self.comm.rank == problem.grid.first_step_rank:
            dtheta = problem.adjoint.initial_derivative(theta, adjoint.trajectory[-1])
            add(derivative_targets(derivative), ..., {}, dtheta, problem.adjoint)
        with self.phases("communication"):
            problem.controls.sum_shared(derivative)
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
