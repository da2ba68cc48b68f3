"""The objective as a function of the control alone, and its gradient by the discrete adjoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from pint.comm import agreeing, alike, ending_all_ranks
from pint.controls import Control
from pint.equations import AdjointEquation, AdjointState, Cycles, State, StateEquation, Value
from pint.equations.adjoint import require_initial_vjp
from pint.equations.cost import Cost
from pint.equations.intervals import Intervals
from pint.equations.results import checked_control, checked_number, require_same_shared
from pint.equations.tangent import SecondOrder
from pint.equations.tangent.products import Kind
from pint.errors import (
    ConvergenceWarning,
    NotFiniteError,
    Uncopied,
    check_choice,
    shown,
)
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import MGRIT, Accuracy, Correction, Guess, Storage
from pint.reduced_functional.causes import cause_of
from pint.reduced_functional.construction import agreed, check_kinds, engine
from pint.reduced_functional.directions import DirectionalDerivative, require_direction
from pint.report.convergence import Solves, Unconverged
from pint.report.timing import Phases
from pint.states import Block, gathered


class ReducedFunctional(Uncopied):
    """``J(u, theta) = F(sum_n l_n + psi) + R`` with the states eliminated by MGRIT.

    ``value``, ``derivative`` and ``gradient`` solve to `accuracy`. The optimisers hold trajectories
    of their own, which the two equations `state` and `adjoint` solve.

    Parameters
    ----------
    problem : Problem
    grid : TimeGrid
    accuracy : Accuracy
        Of state and adjoint in ``value``, ``derivative`` and ``gradient``; the default is 30
        cycles or a residual norm 1e-12 times that of the trajectory (1e-6 for float32 states).
        Without effect on a grid of one level.
    relaxation, c_weight, cycle
        Of `pint.mgrit.MGRIT`.
    guess : 'zero', 'constant', 'coarse' or 'nested'
        First guess of the first state and the first adjoint solve.
    kept_bytes : float
        Most memory a rank spends on what steps keep for their transposes; nothing is kept if they
        need more. See `TimeStepper.kept_shape`.
    chunk_bytes : int, optional
        States of so many bytes are advanced together; by default those of a core's L2 cache.
    storage : 'all' or 'C'
        The points that trajectories hold. With 'C', the C-points alone, the memory for them falls
        to 1/m, and the F-points are computed again where they are needed. It takes a grid of at
        least two levels whose N is divisible by m, and an interval of its own for each rank.
    correction : 'full', int or None
        Linear correction of coarse steps, for states of up to some 20 numbers: full, or of a rank.
        Cycles are then Newton's method for the C-points, and the adjoint takes one: see
        `pint.mgrit.Corrected`. Each cycle takes as many transposes of each step as a state has
        numbers.
    unconverged : 'warn', 'error' or 'ignore'
        What follows where MGRIT does not meet a tolerance that a solve was given: of this
        `accuracy`, or in `minimize` of a method that solves to a tolerance. A `ConvergenceWarning`
        for the first such solve, from the first rank; a `ConvergenceError` for each, on all
        ranks; or nothing. All of them are counted: see `solves`. Methods of a few cycles have no
        tolerance to meet.

    Attributes
    ----------
    controls : ControlSpace
        The controls of the problem on the grid.
    state : pint.equations.StateEquation
    adjoint : pint.equations.AdjointEquation
    calls : pint.equations.Calls
        The door to the user's methods.
    phases : pint.report.timing.Phases
        This rank's wall time by phase, of both solvers and of the gradient.
    solves : pint.report.convergence.Solves
        ``solves.asked`` counts the solves to a tolerance so far, ``solves.converged`` those that
        have met it; ``solves.worst`` is the one that has ended farthest above its tolerance.

    Raises
    ------
    TypeError
        If `problem` is no Problem, or `grid` no TimeGrid.
    ValueError
        If an argument is unknown or out of range, the grid does not fit ``storage="C"``, or the
        ranks have different arguments: see `Problem`.

    Notes
    -----
    All methods are collective. Nothing is remembered between `value`, `derivative` and `gradient`,
    so that a problem that has been changed in between counts as it is; `value_and_gradient` solves
    for both at the price of the gradient alone.
    """

    def __init__(
        self,
        problem: Problem,
        grid: TimeGrid | None = None,
        *,
        accuracy: Accuracy | None = None,
        relaxation: str | Sequence[str] = "FCF",
        c_weight: float = 1.0,
        cycle: Literal["V", "F"] = "V",
        guess: Guess = "nested",
        kept_bytes: float = 2**31,
        chunk_bytes: int | None = None,
        storage: Storage = "all",
        correction: Correction = None,
        unconverged: Unconverged = "warn",
        **unknown: Any,
    ) -> None:
        check_kinds(problem, grid)
        assert grid is not None
        if isinstance(relaxation, Iterable) and not isinstance(relaxation, str):
            relaxation = tuple(relaxation)  # two solvers read it
        self._options: dict[str, Any] = {
            "accuracy": accuracy,
            "relaxation": relaxation,
            "c_weight": c_weight,
            "cycle": cycle,
            "guess": guess,
            "kept_bytes": kept_bytes,
            "chunk_bytes": chunk_bytes,
            "storage": storage,
            "correction": correction,
            "unconverged": unconverged,
        }
        self.problem, self.grid, self.comm, self.space = problem, grid, grid.comm, problem.space
        self.controls = problem.control_space(grid)
        self.ranks_to_end = self.comm if self.comm.size > 1 else self.space.comm
        self.phases = Phases()
        self.calls, self.accuracy, rank, difference = agreed(
            problem, self.space, self.controls, self._options, unknown
        )
        # The engine's set-up sends messages, and begins where no rank has failed.
        with agreeing(self.comm, "ReducedFunctional", self.space.comm):
            forward, backward = (self._engine(reverse) for reverse in (False, True))
        if difference and self.comm.rank == self.space.comm.rank == 0:
            warnings.warn(difference, stacklevel=2)
        stalls = None if unconverged == "ignore" else forward.stalling_level
        if stalls is not None and self.comm.rank == self.space.comm.rank == 0:
            warnings.warn(
                f"`ReducedFunctional(relaxation=...)`: with F-relaxation on level {stalls} cycles "
                "do not converge, since the next level has a smaller space: use 'FCF' there.",
                ConvergenceWarning,
                stacklevel=2,
            )
        intervals = None
        if storage == "C":
            intervals = Intervals(self.calls, forward.levels[0], kept_bytes)
        chunk = forward.levels[0].chunk
        self.cost = Cost(self.calls, self.controls, self.phases, chunk, intervals)
        places = (self.comm.rank, self.space.comm.rank, self.controls.part_comm.rank)
        self.solves = Solves(unconverged, not any(places), self.controls.part_comm)
        common = (intervals, self.ranks_to_end, self.solves, rank)
        self.state = StateEquation(self.calls, self.controls, forward, guess, kept_bytes, *common)
        self.adjoint = AdjointEquation(
            self.calls, self.controls, backward, guess, self.cost, self.state, *common
        )
        self._state: State | None = None
        self._adjoint: AdjointState | None = None
        self._differentiable = False
        # Derivatives whose shared fields are compared; the first ones may be zero.
        self._to_compare = 0 if self.comm.size == 1 else 10

    def on(self, grid: TimeGrid, **options: Any) -> ReducedFunctional:
        """Return the functional of the same problem on another grid, with the same options.

        Options that are given here take the place of its own.
        """
        if isinstance(grid, TimeGrid) and grid.levels == 1:
            options = {"correction": None, **options}  # there are no coarse steps to correct
        return ReducedFunctional(self.problem, grid, **{**self._options, **options})

    def of(self, problem: Problem) -> ReducedFunctional:
        """Return the functional of another problem, with the same options, on the same grid."""
        return ReducedFunctional(problem, self.grid, **self._options)

    @property
    def correction(self) -> Correction:
        """The linear correction of coarse steps, as it was asked for."""
        correction: Correction = self._options["correction"]
        return correction

    def control(self, /, **values: Any) -> Control:
        """Return the control with the given values: see `ControlSpace.control`."""
        return self.controls.control(**values)

    # The whole way, to `accuracy`

    def value(self, control: Control) -> float:
        """Return J.

        Raises
        ------
        NotFiniteError
            If it is NaN or infinite; the message names the level and its step size, or quotes the
            NumericalError that one of the problem's methods has raised.
        ConvergenceError
            With ``unconverged="error"``, if MGRIT does not meet the tolerances of `accuracy`.
        TypeError, ValueError
            If it is no control of the problem; see `ControlSpace.require_fitting`.
        """
        return self._solved(control)[1].objective

    def derivative(self, control: Control) -> Control:
        """Return dJ, a dual vector: ``space.pair(dJ, v)`` is the derivative in direction v.

        It raises what `value` raises, NotFiniteError if the derivative is not finite, and what
        `require_differentiable` raises.
        """
        return self._differentiated(control)[1]

    def gradient(self, control: Control) -> Control:
        """Return the gradient of J in the control's metric. It raises what `derivative` raises."""
        return self.controls.riesz(self.derivative(control))

    def value_and_gradient(self, control: Control) -> tuple[float, Control]:
        """Return J and its gradient from one state and one adjoint solve.

        It raises what `derivative` raises.
        """
        value, derivative = self._differentiated(control)
        return value.objective, self.controls.riesz(derivative)

    def tangent(self, control: Control, direction: Control) -> DirectionalDerivative:
        """Return the derivatives of the states and of J along a direction of the control.

        One state solve and one of the tangent equation, forward in time. It raises what `value`
        raises, and ValueError with ``storage="C"``.
        """
        require_direction(self.state, "tangent", direction)
        second = self.second_order
        state, _ = self._solved(control)
        tangent = second.tangent.new()
        second.tangent.solve(tangent, state, direction, Cycles(self.accuracy))
        return DirectionalDerivative(second.slope(tangent), tangent.points, self.space, self.comm)

    def hessian_product(self, control: Control, direction: Control, kind: Kind = "full") -> Control:
        """Return the product of the Hessian with a direction, in the control's metric.

        It is the control h with ``inner(h, v)`` the second derivative of J along `direction` and v.
        It takes a solve of the state, one of the tangent equation, and two of the adjoint.

        Parameters
        ----------
        control, direction : Control
        kind : 'full' or 'gauss-newton'
            With or without the second derivatives of the steps. These are exact where
            `Tangent.second_vjp` is defined, as for steps by automatic differentiation, else
            central differences of `Adjoint.vjp`; likewise those of the cost by
            `Objective.step_cost_hessian` and `terminal_hessian`.

        Raises
        ------
        NotFiniteError, ConvergenceError, TypeError, ValueError
            As `derivative`; ValueError with ``storage="C"``.
        """
        check_choice("hessian_product", "kind", kind, ["full", "gauss-newton"])
        require_direction(self.state, "hessian_product", direction)
        self.require_differentiable()
        second, how = self.second_order, Cycles(self.accuracy)
        state, value = self._solved(control)
        adjoint = self.adjoint.new()
        self.adjoint.solve(adjoint, state, how)
        dual = second.product(state, adjoint, direction, kind, how)
        self.require_finite(value, dual)
        return self.controls.riesz(dual)

    @cached_property
    def second_order(self) -> SecondOrder:
        """Tangents and Hessian products at trajectories that the caller holds."""
        return SecondOrder(self.adjoint, self._engine(reverse=False), self._options["guess"])

    def _engine(self, reverse: bool) -> MGRIT:
        """Return an engine for one of the equations. Collective."""
        return engine(self.calls, self.space, self.phases, self._options, reverse)

    def _solved(self, control: Control) -> tuple[State, Value]:
        with agreeing(self.comm, "ReducedFunctional.value", self.space.comm) as ranks:
            self.controls.require_fitting(control)
            self.controls.require_agreement(ranks, control, "control")
        state = self._state or self.state.new()
        self._state = None  # what a solve that fails leaves is no start for the next one
        self.state.solve(state, control, Cycles(self.accuracy))
        value = self.objective(state)
        self.require_finite(value)
        self._state = state
        return state, value

    def _differentiated(self, control: Control) -> tuple[Value, Control]:
        self.require_differentiable()
        state, value = self._solved(control)
        adjoint = self._adjoint or self.adjoint.new(all_points=False)
        self._adjoint = None
        self.adjoint.solve(adjoint, state, Cycles(self.accuracy))
        derivative = self.derivative_of(state, adjoint)
        self.require_finite(value, derivative)
        self._adjoint = adjoint
        return value, derivative

    # On trajectories that the caller holds

    def objective(self, state: State) -> Value:
        """Return the objective of a solved state.

        No step is evaluated if all points are stored, or the objective has no step cost.
        """
        self.state.require_own(state)
        control = state.solved_control.read_only()
        with ending_all_ranks(self.ranks_to_end):
            self.state.selection.apply()
            terms = tuple(
                checked_number(term.value(control), term, "value")
                for term in self.problem.regularisers
            )
            return self.cost.value(state, terms)

    def derivative_of(self, state: State, adjoint: AdjointState) -> Control:
        """Return dJ, a dual vector, from a solved state and adjoint: all steps, no cycle more.

        Raises
        ------
        ValueError
            If the adjoint was solved for another state, or an older solution of this one.
        """
        derivative = self.adjoint.derivative(adjoint, state)
        control = state.solved_control.read_only()
        with ending_all_ranks(self.ranks_to_end), self.phases("gradient"):
            for term in self.problem.regularisers:
                part = checked_control(term.derivative(control), term, "derivative")
                if self._to_compare > 0:
                    require_same_shared(part, term, self.comm)
                derivative = derivative + part
        self._to_compare -= 1
        return derivative

    def states(self, state: State) -> Block:
        """Return this rank's part of a solved state at all points, row 0 the point before them.

        With ``storage="C"`` it is computed, into a new block, otherwise it is the trajectory.
        """
        return self.state.states(state)

    def gather_states(self, state: State) -> np.ndarray | None:
        """Return a solved state at all points, shape (N + 1, ...), on the first rank.

        The other ranks get None.
        """
        return gathered(self.space, self.comm, self.states(state))

    def select(self, indices: np.ndarray) -> None:
        """Make J that of some examples, by their numbers: see `pint.interface.Examples`.

        Other functionals of the same problem keep the examples that they have selected. The
        trajectories that the caller holds are those of other examples from now on: solve them
        again.

        Raises
        ------
        ValueError
            If the problem has no examples to select, or there are too many indices or wrong ones.
        """
        if not isinstance(indices, Iterable) or isinstance(indices, str):
            raise TypeError(f"`select(indices)` must be numbers of examples, got {shown(indices)}.")
        indices = np.array(indices if hasattr(indices, "__len__") else list(indices))
        with agreeing(self.comm, "ReducedFunctional.select", self.space.comm) as ranks:
            if self.problem.examples is None:
                raise ValueError(
                    "`ReducedFunctional.select` needs a problem with `examples`: for a network, "
                    "one made with `batch_size`."
                )
            ranks.same = {"indices": indices}
            self.state.selection.select(indices)
        for trajectory in (self._state, self._adjoint):
            if trajectory is not None:
                trajectory.forget()

    def require_differentiable(self) -> None:
        """Compare, the first time, what y_0 depends on with the derivatives that are defined.

        Raises
        ------
        TypeError
            If y_0 depends on a shared field that the result of `Adjoint.initial_vjp` leaves out.
        """
        if not self._differentiable:
            require_initial_vjp(self.calls, self.controls)
            self._differentiable = True

    def require_finite(self, value: Value, derivative: Control | None = None) -> None:
        """Raise NotFiniteError, which says where, unless both are finite. Collective."""
        cause = self.cause_of(value, derivative)
        if cause:  # it is the same on all ranks
            raise alike(NotFiniteError(cause))

    def cause_of(self, value: Value, derivative: Control | None = None) -> str:
        """Return why an objective or a derivative is NaN or infinite, "" if neither. Collective.

        They belong to the last solves. The sentence quotes the NumericalError that one of the
        problem's methods has raised, or names the level and its step size.
        """
        return cause_of(self.state, value, derivative)
