"""What solves produce: objectives, state and adjoint trajectories, and how well."""

from __future__ import annotations

from dataclasses import dataclass

from pint.controls import Control
from pint.mgrit import Convergence
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


@dataclass
class State:
    """A state trajectory, the control it was computed for, and how well.

    ``trajectory`` holds this rank's points in row 1 on and the point before them in row 0: all
    points, or with ``storage="C"`` the C-points alone (`ReducedFunctional.states` has all).
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

    def forget(self) -> None:
        """Let the next solve begin with the first guess, in place."""
        self.control = self.convergence = self.tau = None


@dataclass
class AdjointState:
    """An adjoint trajectory, in reversed time, and the cost's explicit derivative.

    Row j of ``trajectory`` is point ``grid.last - j``, with ``storage="C"`` the j-th C-point from
    there. ``explicit`` is the derivative of the cost with respect to the control at fixed states,
    this rank's part; ``sources`` the derivative with respect to the states, by row. With
    ``storage="C"`` the sources are what step costs contribute to the right ends of their
    intervals; the others are computed again, ``scale`` is their factor. ``sums`` is what first
    guesses and lagged solves take: the sources, or their sums over intervals. ``derivative`` is
    the cost's whole derivative, this rank's part, to which the steps from ``rows`` of the states
    have not contributed yet. ``tau`` is the right-hand side of level 1 that a lagged solve has
    left.
    """

    trajectory: Block
    explicit: Control | None = None
    sources: Block | None = None
    sums: Block | None = None
    scale: float = 1.0
    convergence: Convergence | None = None
    derivative: Control | None = None
    rows: range = range(0)
    tau: Block | None = None

    def forget(self) -> None:
        """Let the next solve begin with the first guess, in place."""
        self.explicit = self.convergence = self.tau = None
