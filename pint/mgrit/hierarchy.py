"""Levels: storage, neighbours and stepping of one rank's part of each level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

from pint.space import Block, StateSpace
from pint.timegrid import LevelLayout
from pint.timing import Phases

# States advanced together occupy about this much, so that they stay in a core's L2 cache
# between the operations of one step.
CHUNK_BYTES = 2**18


class Propagator(Protocol):
    """The one-step maps that the solver is given."""

    def apply(self, level: int, steps: range, states: Block) -> Block:
        """Return Phi of `level` for each of `steps`, from the states at their beginnings.

        Steps are numbered on their level, in the direction of the sweep. The result is a block
        of ``len(steps)`` states; `states` is not changed.
        """


class Level:
    """One rank's part of one level.

    Row r of `trajectory` is point ``layout.first + r``; row 0 is the left neighbour's last point
    (point 0 on the first rank). A level-l trajectory solves
    ``Y[k+1] = Phi_l(Y[k]) + rhs[k+1]``.

    Attributes
    ----------
    trajectory : Block, local steps + 1 states
    rhs : Block or None
        Right-hand side by row (row 0 unused): the FAS right-hand side on coarse levels; None
        stands for zero.
    steps_evaluated : int
        Steps of this level that this rank has evaluated so far.
    work : context
        The phase that work on this level belongs to.
    """

    def __init__(self, layout: LevelLayout, space: StateSpace, comm: Any, phases: Phases) -> None:
        self.layout = layout
        self.space = space
        self.comm = comm
        self.steps_evaluated = 0
        self.work = phases("relaxation" if layout.level == 0 else "coarse")
        self.waiting = phases("communication")
        self.propagator: Propagator
        self.trajectory: Block
        self.rhs: Block = None
        if layout.level > 0:
            self.trajectory = space.allocate(layout.local_steps + 1)
            self.rhs = space.allocate(layout.local_steps + 1)

    # C- and F-points

    @property
    def starts_at_c_point(self) -> bool:
        """Whether row 0 is a C-point."""
        return self.layout.first % self.layout.coarsening_factor == 0

    @property
    def first_c_row(self) -> int:
        """Row of the first C-point after row 0."""
        factor = self.layout.coarsening_factor
        return factor - self.layout.first % factor

    @property
    def c_rows(self) -> range:
        """Rows of the C-points that this rank owns, point 0 left out."""
        return range(self.first_c_row, self.layout.local_steps + 1, self.layout.coarsening_factor)

    @property
    def last_row_is_c_point(self) -> bool:
        """Whether the rank's last point is a C-point."""
        return self.layout.last % self.layout.coarsening_factor == 0

    @property
    def last_open_interval(self) -> int | None:
        """Row where an interval begins here that ends on the next rank; None if there is none."""
        if self.layout.right is None or self.last_row_is_c_point:
            return None
        factor = self.layout.coarsening_factor
        start = self.layout.last // factor * factor - self.layout.first
        return start if start > 0 or (start == 0 and self.layout.owns_initial) else None

    def intervals(self, without: int | None = None) -> range:
        """Return the rows at which intervals with F-points begin, but for the row `without`."""
        start = 0 if self.starts_at_c_point else self.first_c_row
        stop = self.layout.local_steps if without is None else without
        return range(start, stop, self.layout.coarsening_factor)

    def chunks(self, rows: range) -> Iterator[range]:
        """Split `rows` into pieces whose states fit the cache together."""
        size = max(1, CHUNK_BYTES // max(1, self.space.state_bytes))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    # Stepping

    def propagate(self, rows: range, states: Block) -> Block:
        """Return Phi of the steps that begin at `rows`, counting them."""
        self.steps_evaluated += len(rows)
        first = self.layout.first
        steps = range(first + rows.start, first + rows.stop, rows.step)
        return self.propagator.apply(self.layout.level, steps, states)

    def step_rows(self, rows: range, weight: float = 1.0) -> None:
        """Replace the points after `rows` by ``weight (Phi(y) + rhs)`` + (1 - weight) old."""
        if not rows:
            return
        before, after = as_slice(rows), as_slice(rows, shift=1)
        trajectory, rhs = self.trajectory, self.rhs
        new = self.propagate(rows, trajectory[before])
        if weight != 1.0:
            old = (1.0 - weight) * trajectory[after]
            trajectory[after] = weight * (new if rhs is None else new + rhs[after]) + old
            return
        trajectory[after] = new
        if rhs is not None:
            trajectory[after] += rhs[after]

    def advance(self, start: int, end: int) -> None:
        """Step one by one from row `start` to row `end`."""
        for row in range(start, end):
            self.step_rows(range(row, row + 1))

    @property
    def is_finite(self) -> bool:
        """Whether all states of this rank's part are finite."""
        return math.isfinite(self.space.squared_norm(self.trajectory))

    # Messages between neighbours; without a neighbour they do nothing

    def receive_from_left(self, into: Block | None = None) -> Any:
        """Post the receive of row 0, or of the block of one state `into`, for `wait`."""
        if self.layout.left is None or not self.layout.active:
            return None
        state = self.trajectory[0:1] if into is None else into
        return self.comm.Irecv(state, source=self.layout.left, tag=self.layout.level)

    def send_to_right(self, state: Block | None = None) -> Any:
        """Start sending the last row, or the block of one state `state`, for `wait`."""
        if self.layout.right is None or not self.layout.active:
            return None
        last = self.layout.local_steps
        state = self.trajectory[last : last + 1] if state is None else state
        return self.comm.Isend(state, dest=self.layout.right, tag=self.layout.level)

    def wait(self, request: Any) -> None:
        """Wait until a message has arrived, or has left."""
        if request is not None:
            with self.waiting:
                request.Wait()


def as_slice(rows: range, shift: int = 0) -> slice:
    """Return the slice of an ascending range of rows."""
    return slice(rows.start + shift, rows.stop + shift, rows.step)
