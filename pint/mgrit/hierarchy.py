"""Levels: storage, neighbours and stepping of one rank's part of each level."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.grid import LevelLayout
from pint.report.timing import Phases
from pint.states import Block, LevelTransfer, StateSpace


def cache_bytes() -> int:
    """Return the size of a core's L2 cache, 512 KiB if the operating system does not report it."""
    try:
        size = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):
        size = 0
    return size if size > 0 else 2**19


CHUNK_BYTES = cache_bytes()
"""States advanced together occupy about this much by default (``benchmarks/chunk_size.py``)."""


FEWEST_TOGETHER = 4
"""States of which fewer fit into a chunk are advanced one by one."""


def chunk_size(space: StateSpace, chunk_bytes: int) -> int:
    """Return the number of states that are advanced together. Collective in space."""
    # The ranks that share a state may have parts of different sizes, and caches, too; steps of
    # a batch may be collective.
    fitting = int(reduce(space.comm, chunk_bytes // max(1, space.state_bytes), "min")[0])
    # A few large states together would only take each other's place in the cache.
    return fitting if fitting >= FEWEST_TOGETHER else 1


class Propagator(ABC):
    """The one-step maps that the solver is given.

    Steps are numbered on their level, in the direction of the sweep. Blocks ascend in time: for a
    sweep backward in time, the last of the `steps` comes first in them.

    Attributes
    ----------
    reverse : bool
        Whether the sweep goes backward in time.
    margin : float
        The engine takes a pass for one that may be the last if it expects a residual of at most
        `margin` times the tolerance.
    relaxes : bool
        Whether `relax` can be called.
    corrects : bool
        Whether coarse steps follow the finer ones: the engine calls `linearise` before it forms a
        coarse equation.
    """

    reverse: bool = False
    margin: float = 1.0
    relaxes: bool = False
    corrects: bool = False

    @abstractmethod
    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        """Write Phi of `level` for each of `steps`, from the states at their beginnings.

        `states` and `out` are blocks of ``len(steps)`` states that do not overlap; `guess` is
        such a block near the results.
        """

    def march(
        self,
        level: int,
        steps: range,
        start: Block,
        out: Block,
        rhs: Block | None,
        guessed: bool = False,
        linear: np.ndarray | None = None,
    ) -> None:
        """Take consecutive `steps` one after the other, from the block `start` of one state.

        The results, ``Phi(y) + rhs``, go to `out`: to a block of ``len(steps)`` states, or the
        last one alone to a block of one state. `rhs` has a state for each step;
        None stands for zero. `guessed` says that `out` holds states near the results. `linear`,
        which only `pint.mgrit.Corrected` gives, has a matrix D for each step, and D y is added.
        """
        y, whole = start, len(out) == len(steps)
        for j, step in enumerate(steps):
            row = len(steps) - 1 - j if self.reverse else j
            new = out[row : row + 1] if whole else 1.0 * start
            guess = 1.0 * new if guessed and whole else None
            self.apply(level, range(step, step + 1), y, new, guess)
            if linear is not None:
                new += (linear[row] @ y.reshape(-1)).reshape(y.shape)
            if rhs is not None:
                new += rhs[row : row + 1]
            y = new
        if not whole:
            out[...] = y

    def relax(
        self,
        level: int,
        steps: range,
        length: int,
        states: Block,
        out: Block,
        rhs: Block | None,
        guessed: bool,
    ) -> None:
        """Take `length` steps from each of `steps` on, which are equally far apart.

        `states` has a row for each of `steps`, where they begin. `out` and `rhs`, which are as in
        `march`, have a row for each step from the first to the last one; rows of steps that are
        not taken are not touched. Only if `relaxes`.
        """
        raise NotImplementedError

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        """Write the derivative of Phi of `level` for each of `steps`, in place.

        `out` has shape (B, n, n), n being the numbers of a state; the rest is as in `apply`.
        `states` is None for steps that are linear. Only `pint.mgrit.Corrected` calls it.
        """
        raise NotImplementedError

    def linearise(self, fine: Level, coarse: Level) -> None:
        """Prepare the steps of `coarse` for the points that both levels hold. Collective.

        The points of `fine` are relaxed, those of `coarse` are its C-points. Only if `corrects`.
        """

    def begin_pass(self, last: bool) -> None:
        """Prepare for a pass over level 0, which makes each step at most once.

        `last` says that it may be the last pass of the solve: the trajectory that the solve leaves
        is then the one whose steps this pass makes. It may leave out the steps to C-points.
        """


class Level:
    """One rank's part of one level.

    Points are counted in *rows*, in the direction of the sweep: row r is point
    ``layout.first + r``, row 0 the left neighbour's last point (point 0 on the first rank). Blocks
    ascend in time in either direction, so that no view of them runs backward; `place` tells where
    rows lie. A level-l trajectory solves ``Y[k+1] = Phi_l(Y[k]) + rhs[k+1]``.

    Attributes
    ----------
    trajectory : Block, local steps + 1 states
        Level 0 may store only the state reached last, if it is solved by stepping.
    rhs : Block or None
        Right-hand side by row (row 0 unused): the FAS right-hand side on coarse levels; None
        stands for zero.
    solved : Block or None
        Where the last solve of the level left its states, if not in `trajectory`.
    guessed : bool
        Whether the points of the trajectory are near the solution: guesses for iterative steps.
    chunk : int
        Number of states that are advanced together.
    scratch : Block, chunk states
        For results on their way, which the levels of one space may share.
    transfer : LevelTransfer or None
        Between the next finer level and this one; None if their states are the same.
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
        chunk: int,
        scratch: Block | None = None,
        reverse: bool = False,
        transfer: LevelTransfer | None = None,
    ) -> None:
        self.layout = layout
        self.transfer = transfer
        self.reverse = reverse
        self.chunk = chunk
        self.space = space
        self.scratch = space.allocate(self.chunk) if scratch is None else scratch
        self.comm = comm
        self.steps_evaluated = 0
        self.work = phases("relaxation" if layout.level == 0 else "coarse")
        self.waiting = phases("communication")
        self.guessed = False
        self.solved: Block | None = None
        self.propagator: Propagator
        self.trajectory: Block
        self.rhs: Block = None
        if layout.level > 0:
            self.trajectory = space.allocate(layout.local_steps + 1)
            self.rhs = space.allocate(layout.local_steps + 1)

    # Where rows lie in a block

    def place(self, rows: range, shift: int = 0) -> slice:
        """Return the slice of a block that holds the rows ``rows + shift``, ascending in time."""
        if not rows:
            return slice(0, 0)
        first, last = rows[0] + shift, rows[-1] + shift
        if self.reverse:  # row 0 is the last in time; what comes last in the sweep comes first
            end = self.layout.local_steps
            first, last = end - last, end - first
        return slice(first, last + 1, rows.step)

    def point(self, row: int) -> slice:
        """Return the slice of the trajectory that holds one row."""
        place = self.layout.local_steps - row if self.reverse else row
        place = min(place, len(self.trajectory) - 1)  # only one state may be stored
        return slice(place, place + 1)

    def chunks(self, rows: range) -> Iterator[range]:
        """Split `rows` into pieces whose states fit the cache together."""
        for start in range(0, len(rows), self.chunk):
            yield rows[start : start + self.chunk]

    # Stepping

    def propagate(self, rows: range, out: Block) -> None:
        """Write Phi of the steps that begin at `rows` to `out`, and count them."""
        self.propagator.apply(*self._arguments(rows, out))

    def _arguments(self, rows: range, out: Block) -> tuple[int, range, Block, Block, Block | None]:
        """Return the arguments of `Propagator.apply`, and count the steps."""
        self.steps_evaluated += len(rows) * self.layout.substeps
        first = self.layout.first
        steps = range(first + rows.start, first + rows.stop, rows.step)
        # The old states at the ends of the steps, which the results will replace.
        guess = self.trajectory[self.place(rows, 1)] if self.guessed else None
        return self.layout.level, steps, self.trajectory[self.place(rows)], out, guess

    def step_rows(self, rows: range) -> None:
        """Replace the points after `rows`, at most a chunk, by ``Phi(y) + rhs``."""
        # Not written where they belong at once: numpy buffers operands whose rows interleave.
        new, after = self.scratch[: len(rows)], self.place(rows, 1)
        self.propagator.apply(*self._arguments(rows, new))
        if self.rhs is not None:
            new += self.rhs[after]
        self.trajectory[after] = new

    def advance(self, start: int, end: int) -> None:
        """Step one by one from row `start` to row `end`."""
        if end <= start:
            return
        self.steps_evaluated += (end - start) * self.layout.substeps
        after = self.place(range(start + 1, end + 1))
        first = self.trajectory[self.point(start)]
        if len(self.trajectory) > 1:
            out = self.trajectory[after]
        else:  # the only row stored is the first state now, and the last one afterwards
            out, first = first, self.space.allocate(1)
            first[...] = out
        self.propagator.march(
            self.layout.level,
            range(self.layout.first + start, self.layout.first + end),
            first,
            out,
            None if self.rhs is None else self.rhs[after],
            self.guessed,
        )

    def advance_all(self, starts: range, length: int) -> None:
        """Take `length` steps from each of the rows `starts`; the last one may have fewer."""
        end = self.layout.local_steps
        rest = starts[-1:] if starts[-1] + length > end else starts[:0]
        whole = starts[: len(starts) - len(rest)]
        if whole:
            self.steps_evaluated += len(whole) * length * self.layout.substeps
            first, after = (
                self.layout.first,
                self.place(range(whole[0] + 1, whole[-1] + length + 1)),
            )
            self.propagator.relax(
                self.layout.level,
                range(first + whole.start, first + whole.stop, whole.step),
                length,
                self.trajectory[self.place(whole)],
                self.trajectory[after],
                None if self.rhs is None else self.rhs[after],
                self.guessed,
            )
        for row in rest:
            self.advance(row, end)

    @property
    def is_finite(self) -> bool:
        """Whether all states of this rank's part are finite."""
        states = self.trajectory if self.solved is None else self.solved
        return math.isfinite(self.space.squared_norm(states))

    # Messages between neighbours; without a neighbour they do nothing

    def receive_from_left(self, into: Block | None = None) -> Any:
        """Post the receive of row 0, or of the block of one state `into`, for `wait`."""
        if self.layout.left is None or not self.layout.active:
            return None
        state = self.trajectory[self.point(0)] if into is None else into
        return self.comm.Irecv(state, source=self.layout.left, tag=self.layout.level)

    def send_to_right(self, state: Block | None = None) -> Any:
        """Start sending the last row, or the block of one state `state`, for `wait`."""
        if self.layout.right is None or not self.layout.active:
            return None
        if state is None:
            state = self.trajectory[self.point(self.layout.local_steps)]
        return self.comm.Isend(state, dest=self.layout.right, tag=self.layout.level)

    @staticmethod
    def progress(request: Any) -> None:
        """Poll a request: many MPI libraries progress large messages only inside MPI calls."""
        if request is not None:
            request.Test()

    def wait(self, request: Any) -> None:
        """Wait until a message has arrived, or has left."""
        if request is not None:
            with self.waiting:
                request.Wait()
