"""Levels: storage, neighbours and stepping of one rank's part of each level."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from pint.grid import LevelLayout, as_slice
from pint.report.timing import Phases
from pint.states import Block, StateSpace


def cache_bytes() -> int:
    """Return the size of a core's L2 cache, 512 KiB where the system does not tell."""
    try:
        size = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):
        size = 0
    return size if size > 0 else 2**19


CHUNK_BYTES = cache_bytes()
"""States advanced together occupy about this much by default (``benchmarks/chunk_size.py``)."""


class Propagator(ABC):
    """The one-step maps that the solver is given.

    Steps are numbered on their level, in the direction of the sweep.
    """

    @abstractmethod
    def apply(self, level: int, steps: range, states: Block, out: Block) -> None:
        """Write Phi of `level` for each of `steps`, from the states at their beginnings.

        `states` and `out` are blocks of ``len(steps)`` states that do not overlap.
        """

    def march(self, level: int, steps: range, trajectory: Block, rhs: Block | None) -> None:
        """Take consecutive `steps` one after the other, in place.

        ``trajectory[j + 1] = Phi(trajectory[j]) + rhs[j + 1]``; None stands for a zero `rhs`.
        """
        for j, step in enumerate(steps):
            out = trajectory[j + 1 : j + 2]
            self.apply(level, range(step, step + 1), trajectory[j : j + 1], out)
            if rhs is not None:
                out += rhs[j + 1 : j + 2]


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
    chunk : int
        Number of states that are advanced together.
    scratch : Block, chunk states
        For results on their way, which all levels may share.
    steps_evaluated : int
        Time steps of this level that this rank has evaluated so far.
    work : context
        The phase that work on this level belongs to.
    """

    def __init__(
        self,
        layout: LevelLayout,
        space: StateSpace,
        comm: Any,
        phases: Phases,
        chunk_bytes: int = CHUNK_BYTES,
        scratch: Block | None = None,
    ) -> None:
        self.layout = layout
        self.chunk = max(1, chunk_bytes // max(1, space.state_bytes))
        self.space = space
        self.scratch = space.allocate(self.chunk) if scratch is None else scratch
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
        # There are none where all points are C-points.
        stop = start if self.layout.coarsening_factor == 1 else stop
        return range(start, stop, self.layout.coarsening_factor)

    def chunks(self, rows: range) -> Iterator[range]:
        """Split `rows` into pieces whose states fit the cache together."""
        for start in range(0, len(rows), self.chunk):
            yield rows[start : start + self.chunk]

    # Stepping

    def propagate(self, rows: range, out: Block) -> None:
        """Write Phi of the steps that begin at `rows` to `out`, counting them."""
        self.steps_evaluated += len(rows) * self.layout.substeps
        first = self.layout.first
        steps = range(first + rows.start, first + rows.stop, rows.step)
        self.propagator.apply(self.layout.level, steps, self.trajectory[as_slice(rows)], out)

    def step_rows(self, rows: range) -> None:
        """Replace the points after `rows`, at most a chunk, by ``Phi(y) + rhs``."""
        # Not written where they belong at once: numpy buffers operands whose rows interleave.
        new, after = self.scratch[: len(rows)], as_slice(rows, shift=1)
        self.propagate(rows, new)
        if self.rhs is not None:
            new += self.rhs[after]
        self.trajectory[after] = new

    def advance(self, start: int, end: int) -> None:
        """Step one by one from row `start` to row `end`."""
        if end <= start:
            return
        self.steps_evaluated += (end - start) * self.layout.substeps
        steps = range(self.layout.first + start, self.layout.first + end)
        rows = slice(start, end + 1)
        rhs = None if self.rhs is None else self.rhs[rows]
        self.propagator.march(self.layout.level, steps, self.trajectory[rows], rhs)

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

    @staticmethod
    def progress(request: Any) -> None:
        """Let MPI work on a message: many move large ones within its calls only."""
        if request is not None:
            request.Test()

    def wait(self, request: Any) -> None:
        """Wait until a message has arrived, or has left."""
        if request is not None:
            with self.waiting:
                request.Wait()
