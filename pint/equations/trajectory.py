"""What solves produce: state and adjoint trajectories that know what they were solved for.

A value says how to solve: `Cycles`, `Lagged`, `Relax` or `March`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control, Lifted
from pint.mgrit import Accuracy, Convergence, Delta
from pint.report.convergence import Solves
from pint.states import Block


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


class TapeMemory:
    """The memory for what the steps of a level keep, one array for each step of this rank.

    Only one trajectory at a time has its tape there: a new tape makes the one before it invalid.

    Parameters
    ----------
    steps : int
    shape : tuple of int or None
        Of the array of one step; None where nothing is kept.
    limit : float
        Most bytes; nothing is kept if all arrays together need more.
    comm : communicator
        The ranks that share a state.
    kind : type
        Of the entries.
    lift : callable, optional
        Makes what steps are given of an array of numpy: see `StateSpace.lift`.
    """

    def __init__(
        self,
        steps: int,
        shape: tuple[int, ...] | None,
        limit: float,
        comm: Any,
        kind: type = float,
        lift: Callable[[Any], Any] | None = None,
    ) -> None:
        # All or nothing: a batch of transposes needs the arrays of all its steps.
        keeps = fits(steps, shape, limit, comm)
        self.block: Any = np.empty((steps, *(shape or ())), kind) if keeps else None
        self.bytes = 0 if self.block is None else self.block.nbytes
        if lift is not None and self.block is not None:
            self.block = lift(self.block)
        self.current: Tape | None = None

    def new(self) -> Tape | None:
        """Return an empty tape in this memory; None where nothing is kept."""
        # All trajectories share one memory, because it may be the largest of a run. `current` says
        # whose it is: there is nothing to copy or to clear when another one takes over.
        self.current = None if self.block is None else Tape(self)
        if self.holds_objects:
            self.block[...] = None
        return self.current

    @property
    def holds_objects(self) -> bool:
        """Whether entries are objects: None where a step has kept nothing."""
        return self.block is not None and self.block.dtype == object


def fits(steps: int, shape: tuple[int, ...] | None, limit: float, comm: Any) -> bool:
    """Return whether arrays of a shape for some steps need at most `limit` bytes. Collective.

    All ranks of `comm`, which share a state in parts that may differ in size, decide alike: steps
    that find nothing kept may be collective.
    """
    own = shape is not None and 8 * steps * int(np.prod(shape, dtype=int)) <= limit
    return bool(reduce(comm, own, "min")[0])


class Tape:
    """What the steps to the states of one trajectory kept for their transposes.

    Attributes
    ----------
    missing : range
        The rows of steps whose arrays do not belong to the trajectory.
    """

    def __init__(self, memory: TapeMemory) -> None:
        self.memory = memory
        self.missing = range(0)

    @property
    def valid(self) -> bool:
        """Whether the memory still is this tape's."""
        return self.memory.current is self

    def place(self, rows: slice) -> Any:
        """Return the arrays of some steps, to be filled."""
        return self.memory.block[rows] if self.memory.block is not None else None

    def rows(self, rows: range) -> Any:
        """Return the arrays of some steps; None unless all of them have one."""
        if not self.valid or self._misses(rows):
            return None
        return self.place(slice(rows.start, rows.stop, rows.step))

    def each(self, rows: range) -> Any:
        """Return the arrays of steps one by one, as blocks of one row, None where there is none."""
        if not self.valid:
            return None
        if not self._misses(rows):
            return self.rows(rows)
        return [None if row in self.missing else self.place(slice(row, row + 1)) for row in rows]

    def runs(self, rows: range, length: int, apart: int) -> Any:
        """Return the arrays of rows; `length` of every `apart` ones must not be missing."""
        if not self.valid:
            return None
        fits = self.missing.step == apart and (self.missing.start - rows[0]) % apart >= length
        fits = fits or self.memory.holds_objects
        return self.place(slice(rows[0], rows[-1] + 1)) if fits or not self.missing else None

    def _misses(self, rows: range) -> bool:
        # Objects say by themselves where they are missing.
        if not self.missing or not rows or self.memory.holds_objects:
            return False
        # Of rows in the rhythm of the C-points all are missing, or none.
        if rows.step % self.missing.step == 0:
            return rows[0] in self.missing or rows[-1] in self.missing
        return any(row in self.missing for row in rows[: self.missing.step])


@dataclass
class State:
    """A state trajectory, the control that it was solved for, and how well.

    Attributes
    ----------
    points : Block
        This rank's points in row 1 on and the point before them in row 0: all points, or with
        ``storage="C"`` the C-points alone (`ReducedFunctional.states` has all).
    equation : object
        The equation that solves it.
    control : Control or None
        None before the first solve.
    given : Control, Lifted or None
        The control of the last solve as the user's methods were given it.
    convergence : Convergence or None
    tau : Block or None
        The right-hand side of level 1 that a lagged solve has left.
    delta : Delta or None
        The corrections of the steps of level 1 that belong to it.
    delta_at : object
        The `solution` at whose points `delta` was made.
    correction : float
        What the adjoint adds to the objective after a lagged solve with one: see `Lagged`.
    tapes : sequence of (Tape or None)
        By level: what the steps of level 0 to these states kept, and on two levels those of
        level 1 from its C-points.
    solution : object
        A token, new after each solve, by which adjoints tell whether they still belong to it.
    guessed : bool
        Whether all points have been solved for once.
    epoch : object
        The `Selection.epoch` of the solve.
    source : State or None
        For a state that a callback was `shown`, the one whose points it shares.
    """

    points: Block
    equation: Any = None
    control: Control | None = None
    given: Any = None
    convergence: Convergence | None = None
    tau: Block | None = None
    delta: Delta | None = None
    delta_at: object = None
    correction: float = 0.0
    tapes: Sequence[Tape | None] = ()
    solution: object = None
    guessed: bool = False
    epoch: object = None
    source: State | None = None

    def shown(self, control: Control) -> State:
        """Return a state with the same points, which cannot be changed through it.

        Its points may be read until the trajectory is solved again.
        """
        shown = copy.copy(self)
        shown.control, shown.source = control, self
        del shown.points
        return shown

    def __getattr__(self, name: str) -> Any:
        # Called for what an object lacks: the points of a state that a callback was shown.
        source = self.__dict__.get("source")
        if name != "points" or source is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._require_current()
        points = source.points
        if isinstance(points, np.ndarray):  # other blocks have no such views
            points = points.view()
            points.flags.writeable = False
        return points

    def _require_current(self) -> None:
        if self.source is not None and self.source.solution is not self.solution:
            raise ValueError(
                "the state that the callback was given has been solved for another control since: "
                "keep a copy, `state.points.copy()` or `functional.gather_states(state)`."
            )

    @property
    def tape(self) -> Tape | None:
        """The tape of level 0; None if it is not valid any more, or nothing was kept."""
        tape = self.tapes[0] if self.tapes else None
        return tape if tape is not None and tape.valid else None

    @property
    def solved_control(self) -> Control:
        """The control; ValueError without a solve, or without one of the selected examples."""
        if self.control is None or self.solution is None:
            raise ValueError(
                "the state has not been solved: call `functional.state.solve(state, control, "
                "...)` first."
            )
        self._require_current()
        if self.equation is not None and self.epoch is not self.equation.selection.epoch:
            raise ValueError(
                "the state was solved for other examples than those that the functional has "
                "selected since: call `functional.state.solve(state, control, ...)` first."
            )
        return self.control

    @property
    def solved_fields(self) -> Control | Lifted:
        """The control as the user's methods are given it; errors as of `solved_control`."""
        control = self.solved_control
        return self.given if isinstance(self.given, Lifted) else control

    def forget(self) -> None:
        """Let the next solve begin with the first guess, in place."""
        self.control = self.given = self.convergence = self.tau = self.delta = self.solution = None
        self.tapes, self.correction, self.guessed = (), 0.0, False


@dataclass
class Linearisation:
    """The derivative of the cost at a solved state: what the adjoint equation is given.

    Attributes
    ----------
    explicit : Control or Lifted
        With respect to the control at fixed states, this rank's part.
    terminal : Block
        With respect to the last state, one state; used on the last rank.
    sources : Block or None
        With respect to the states, laid out as the adjoint's points; None without step cost. With
        ``storage="C"`` they are what step costs contribute to the right ends of their intervals;
        the others are computed again.
    sums : Block or None
        The sources, or with ``storage="C"`` their sums over intervals, for first guesses and
        lagged solves.
    scale : float
        The factor F' of the step costs' derivatives.
    """

    explicit: Control | Lifted
    terminal: Block
    sources: Any = None
    sums: Any = None
    scale: float = 1.0


@dataclass
class AdjointState:
    """An adjoint trajectory, the state that it was solved at, and the derivative of the cost.

    Attributes
    ----------
    points : Block
        Row i is point ``grid.first + i``, as for the state; with ``storage="C"`` the i-th C-point.
        A trajectory of one row holds the point that was reached last.
    equation : object
        The equation that solves it.
    state : State or None
    solution : object
        The `State.solution` that it was solved at.
    linearisation : Linearisation or None
    convergence : Convergence or None
    tau : Block or None
        As `State.tau`.
    derivative : Control, Lifted or None
        The cost's derivative with respect to the control, this rank's part, to which the steps
        that begin at the rows `missing` have not contributed yet.
    missing : range
    """

    points: Block
    equation: object = None
    state: State | None = None
    solution: object = None
    linearisation: Linearisation | None = None
    convergence: Convergence | None = None
    tau: Block | None = None
    derivative: Control | Lifted | None = None
    missing: range = field(default=range(0))

    @property
    def is_known(self) -> bool:
        """Whether it has been solved, so that the next solve starts from there."""
        return self.solution is not None

    def require_solved_at(self, state: State) -> None:
        """Raise ValueError unless it was solved at this state, and that has not moved since."""
        if self.solution is None:
            raise ValueError(
                "the adjoint has not been solved: call `functional.adjoint.solve(adjoint, state, "
                "...)` first."
            )
        # By identity: each solve makes another solution, even for the same control.
        if self.state is not state or self.solution is not state.solution:
            raise ValueError(
                "the adjoint was solved for another state, or the state has been solved again "
                "since: call `functional.adjoint.solve(adjoint, state, ...)` first."
            )

    def forget(self) -> None:
        """Let the next solve begin with the first guess, in place."""
        self.state = self.solution = self.convergence = self.tau = self.derivative = None
        self.missing = range(0)


@dataclass(frozen=True)
class Cycles:
    """Solve by MGRIT cycles from the trajectory's points; on one level by stepping.

    Attributes
    ----------
    accuracy : Accuracy
    relaxed : bool
        Whether the F-points belong to the same control, or state, already, after `Relax` or a
        solve for it: the first F-relaxation is then left out.
    truncated : bool
        Whether a few cycles are meant: a solve that does not meet its tolerance within them is then
        no solve that has failed to converge.
    """

    accuracy: Accuracy
    relaxed: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class Lagged:
    """Solve by cycles that start on level 1: see `pint.mgrit.MGRIT.lagged_solve`.

    Their first coarse equation is that of the control before, except for its steps. With
    F-relaxation each step of level 0 is made once a cycle.

    Attributes
    ----------
    cycles : int
    adjoint : AdjointState or None
        For a state solve: ``State.correction`` becomes the product of the adjoint with the last
        residual, ``sum lam' r``, at no cost.
    start : State or None
        For a state solve: begin where this state is, which stays as it is. Nothing is copied on a
        grid of two levels.
    """

    cycles: int = 1
    adjoint: AdjointState | None = None
    start: State | None = None


@dataclass(frozen=True)
class Relax:
    """Compute the F-points from the C-points; on one level solve by stepping."""


@dataclass(frozen=True)
class March:
    """Solve exactly, step after step."""


How = Cycles | Lagged | Relax | March
"""How a solve is done."""


def check_how(how: object, levels: int, known: bool) -> None:
    """Raise an error unless `how` suits a trajectory, solved before (`known`) or new."""
    if not isinstance(how, (Cycles, Lagged, Relax, March)):
        raise TypeError(
            "`solve(how=...)` is `Cycles(accuracy)`, `Lagged()`, `Relax()` or `March()`, "
            f"got {how!r}."
        )
    if isinstance(how, Lagged) and levels < 2:
        raise ValueError("`solve(how=Lagged())` needs a grid of at least 2 levels.")
    if isinstance(how, (Cycles, Relax)) and levels > 1 and not known:
        relaxed = isinstance(how, Relax) or how.relaxed
        if relaxed:
            raise ValueError(
                "`solve(how=...)`: the trajectory has not been solved, so that there are no "
                "C-points to relax from: use `Cycles(accuracy)` first."
            )


def note_convergence(
    solves: Solves, equation: str, how: How, convergence: Convergence | None
) -> None:
    """Count a solve that was to meet a tolerance; ConvergenceError if that is one. Collective."""
    asked = isinstance(how, Cycles) and how.accuracy.has_tolerance and not how.truncated
    # Sequential stepping has no residuals.
    if asked and convergence is not None and convergence.residuals:
        solves.note(equation, convergence.residuals, convergence.bound)
