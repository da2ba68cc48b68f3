"""The state and the adjoint equation as one-step recursions that the multigrid solver can run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pint.controls import Control, Lifted
from pint.equations.calls import Calls
from pint.equations.results import Views, as_rows, at_rows
from pint.equations.trajectory import State, Tape, TapeMemory
from pint.grid import LevelLayout
from pint.mgrit import Propagator
from pint.states import Block


class Repeated:
    """What iterative coarse steps keep during one adjoint solve, so that each is made once.

    All its cycles transpose these steps at the same states.

    Parameters
    ----------
    memories : sequence of (TapeMemory or None)
        By level.
    """

    def __init__(self, memories: Sequence[TapeMemory | None]) -> None:
        blocks = [None if memory is None else memory.block for memory in memories]
        self._levels = [
            None if block is None else (block, np.zeros(len(block), bool)) for block in blocks
        ]

    def kept(self, level: int, local: range, make: Callable[[Any], None]) -> Any:
        """Return what some steps keep, or None; `make` makes the steps, and fills the arrays."""
        found = self._levels[level] if level < len(self._levels) else None
        if found is None:
            return None
        (block, made), rows = found, as_rows(local)
        if not made[rows].all():
            block[rows] = math.nan  # a step that fails keeps nothing
            make(block[rows])
            made[rows] = True
        return block[rows]


class Sweep(Propagator):
    """``Y[n+1] = Phi_n(Y[n], u_n, theta)``, or the transposed steps backward in time.

    Without a state it is the state equation. At a state it is the adjoint equation

        lam[n] = (dPhi_n/dy)^T lam[n+1] + source[n].

    Its step k goes from reversed point k to k + 1. On every level it is the transpose of the step
    that begins at the point where it ends, linearised at the fine states there. Sources enter as
    right-hand side of level 0.

    Parameters
    ----------
    calls : Calls
    control : Control or Lifted
        From `Calls.given`.
    u : sequence of mapping
        The blocks of each level's steps, from `Calls.blocks`.
    memories : sequence of TapeMemory, optional
        For the state equation, by level: where the last pass over level 0, and the last march of
        level 1, keep what the transposes need.
    at : State, optional
        For the adjoint equation.
    explicit : Control or Lifted, optional
        For the adjoint equation: the last pass adds to a copy of it what each step of level 0
        contributes to the derivative with respect to the control. By default it does not.
    spacing : int
        Number of finest steps between two rows of the state's points.
    ends_only : bool
        If steps are made one by one, the last pass stores only the last result of an interval.
        The others stay in the cache: no F-point is needed once the derivative has been formed.
    forward : bool
        Whether steps are numbered forward in time at a state, too, for the tangent equation.

    Attributes
    ----------
    tapes : list of (Tape or None)
        By level: what the last pass over level 0 and the last march of level 1 kept.
    derivative : Control, Lifted or None
        The derivative that the last pass formed.
    missing : range
        The rows where the steps of level 0 begin that the last pass has left out.
    """

    def __init__(
        self,
        calls: Calls,
        control: Control | Lifted,
        u: Sequence[Mapping[str, Any]],
        memories: Sequence[TapeMemory] = (),
        at: State | None = None,
        explicit: Control | Lifted | None = None,
        spacing: int = 1,
        ends_only: bool = False,
        repeated: Repeated | None = None,
        forward: bool = False,
    ) -> None:
        self.calls, self.control, self.u, self.theta = calls, control, u, control.shared
        self.reverse = at is not None and not forward
        self.layouts: tuple[LevelLayout, ...] = calls.grid.layouts(self.reverse)
        self.memories, self.at, self.explicit, self.spacing = memories, at, explicit, spacing
        self.ends_only, self.repeated = ends_only, repeated
        self.tapes: list[Tape | None] = [None for _ in memories]
        self.derivative: Control | Lifted | None = None
        # An iterative step keeps its result at no cost, and without it the adjoint would iterate
        # again. To keep stages costs a copy, to form the derivative another product.
        iterative = calls.steppers[0].uses_guess
        self.margin = 3.0 if self.reverse else math.inf if iterative else 100.0
        self.relaxes = calls.relaxes
        self._last_pass, self._made = False, 0
        self._restricts = any(calls.transfers)
        self._restricted: dict[int, tuple[Block, int, int]] = {}

    def begin_pass(self, last: bool) -> None:
        self._last_pass, self._made = last, 0
        if self.memories:
            self.tapes[0] = self.memories[0].new() if last else None
        self.derivative = None
        if last and self.explicit is not None:
            self.derivative = self.explicit.copy()

    @property
    def missing(self) -> range:
        """The rows where the steps of level 0 begin that the last pass has left out."""
        grid, steps = self.calls.grid, self.calls.grid.local_steps
        if not self._last_pass or grid.levels == 1 or self._made >= steps:
            return range(0 if self._last_pass and self._made >= steps else steps)
        # F-relaxation leaves out the steps to C-points. They begin one point before these; in
        # reversed time, where C-points are counted from the end, they begin there.
        factor = grid.coarsening[0]
        if self.reverse:
            return range((grid.steps - grid.first) % factor, steps, factor)
        return range((-1 - grid.first) % factor, steps, factor)

    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        starts, local = self.starts(level, steps), self.local(level, steps)
        u, rows = self.blocks(level, local), self.rows(starts)
        kept = self.kept(level, local, together=self.calls.batched)
        if level == 0:
            self._made += len(steps)
        if self.at is None:
            self.calls.step(level, starts, u, self.theta, states, out, kept, guess)
            return
        # The engine's guess is near the adjoint; transposes look for the state at the step's end.
        y, guess, into = self.linearised_at(level, rows)
        if kept is None:
            kept = self.kept_again(level, local, starts, u, y, guess)
        self.calls.vjp(level, starts, u, self.theta, y, states, out, kept, guess, into)

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
        starts, local = self.starts(level, steps), self.local(level, steps)
        u, rows = self.blocks(level, local), self.rows(starts)
        if level == 0:
            self._made += len(steps)
        elif level < len(self.memories):  # each march of level 1 begins a new tape
            self.tapes[level] = self.memories[level].new()
        kept = self.kept(level, local, together=False)
        if self.at is None:
            self.calls.march(level, starts, u, self.theta, start, out, rhs, kept, guessed, linear)
            return
        y, guess, into = self.linearised_at(level, rows)
        if kept is None:
            kept = self.kept_again(level, local, starts, u, y, guess)
        # The step to the C-point, which follows, needs the last state and no other.
        if level == 0 and self._last_pass and self.ends_only:
            out = out[:1]
        self.calls.march_back(
            level, starts, u, self.theta, y, start, out, rhs, kept, guess, into, linear
        )

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
        whole = range(steps[0], steps[-1] + length)
        starts, local = self.starts(level, whole), self.local(level, whole)
        u, rows, runs = (
            self.blocks(level, local),
            self.rows(starts),
            (len(steps), length, steps.step),
        )
        tapes = self.tapes if self.at is None else self.at.tapes
        tape = tapes[level] if level < len(tapes) else None
        kept = None if tape is None else tape.runs(local, length, steps.step)
        if level == 0:
            self._made += len(steps) * length
        if self.at is None:
            self.calls.relax(level, starts, runs, u, self.theta, states, out, rhs, kept, guessed)
            return
        y, guess, into = self.linearised_at(level, rows)
        self.calls.relax_back(
            level, starts, runs, u, self.theta, y, states, out, rhs, kept, guess, into
        )

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        starts, local = self.starts(level, steps), self.local(level, steps)
        kept = None
        if self.at is not None:
            states, guess, _ = self.linearised_at(level, self.rows(starts))
            kept, out = self.kept(level, local, self.calls.batched), out.swapaxes(1, 2)
        u = self.blocks(level, local)
        write_jacobians(self.calls, level, starts, u, self.theta, states, out, kept, guess)

    # What some steps of a level need; everything ascends in time

    def starts(self, level: int, steps: range) -> range:
        """Return the finest points where steps begin in time."""
        stride = self.layouts[level].stride
        first, last = steps[0], steps[-1]
        if self.reverse:
            end = self.calls.grid.steps - stride
            return range(end - last * stride, end - first * stride + 1, steps.step * stride)
        return range(first * stride, last * stride + 1, steps.step * stride)

    def local(self, level: int, steps: range) -> range:
        """Return the places of steps among this rank's steps of the level."""
        layout = self.layouts[level]
        first, last = steps[0] - layout.first, steps[-1] - layout.first
        if self.reverse:
            first, last = layout.local_steps - 1 - last, layout.local_steps - 1 - first
        return range(first, last + 1, steps.step)

    def blocks(self, level: int, local: range) -> dict[str, Any]:
        """Return the control blocks of steps."""
        return {name: values[as_rows(local)] for name, values in self.u[level].items()}

    def rows(self, starts: range) -> range:
        """Return the rows of the finest points where steps begin."""
        first = self.calls.grid.first
        return range(starts.start - first, starts.stop - first, starts.step)

    def kept(self, level: int, local: range, together: bool) -> Any:
        """Return the arrays for what steps keep, or have kept, if there are any."""
        tapes = self.tapes if self.at is None else self.at.tapes
        tape = tapes[level] if level < len(tapes) else None
        if tape is None:
            return None
        # The state sweep writes, the adjoint sweep reads what is valid.
        if self.at is None:
            return tape.place(as_rows(local))
        return tape.rows(local) if together else tape.each(local)

    def kept_again(
        self,
        level: int,
        local: range,
        starts: range,
        u: Mapping[str, Any],
        y: Block,
        guess: Block | None,
    ) -> Any:
        """Return what coarse steps keep, which this solve makes once; None where it does not."""
        if self.repeated is None:
            return None

        def make(kept: Any) -> None:
            out = self.calls.spaces[level].allocate(len(y))
            self.calls.step(level, starts, u, self.theta, y, out, kept, guess)

        return self.repeated.kept(level, local, make)

    def linearised_at(self, level: int, rows: range) -> tuple[Block, Block | None, Any]:
        """Return the states where steps begin, those where they end, and where to add to.

        The states at their ends are None if one of them is not stored on this rank.
        """
        assert self.at is not None
        points, base, spacing = self.at.points, 0, self.spacing
        if self._restricts:
            points, base, spacing = self.states_on(level)
        # Rows count finest points; the stored ones begin at `base` and are `spacing` apart.
        numbers = (rows[0] - base, rows[-1] - base, rows.step, self.layouts[level].stride)
        place = [number // spacing for number in numbers]
        first, last, step, length = place[0], place[1], max(place[2], 1), place[3]
        ends = None
        if 0 < length and last + length < len(points):
            ends = points[first + length : last + length + 1 : step]
        into = None
        if level == 0 and self.derivative is not None:
            into = at_rows(self.derivative, as_rows(rows))
        return points[first : last + 1 : step], ends, into

    def states_on(self, level: int) -> tuple[Block, int, int]:
        """Return the states of `at` on a level, the row of the first, and how far they are apart.

        Where levels have other spaces they are restricted, once in a solve, with both ends of
        each step of this rank as far as they are stored.
        """
        assert self.at is not None
        if level == 0:
            return self.at.points, 0, self.spacing
        transfer = self.calls.transfers[level]
        if transfer is None:
            return self.states_on(level - 1)
        if level not in self._restricted:
            fine, base, spacing = self.states_on(level - 1)
            layout, stride = self.layouts[level], self.layouts[level].stride
            rows = self.rows(self.starts(level, range(layout.first, layout.last)))
            first = (rows.start - base) // spacing
            found = fine[first :: stride // spacing][: len(rows) + 1]
            block = transfer.coarse.allocate(len(found))
            transfer.restrict(found, block)
            self._restricted[level] = block, rows.start, stride
        return self._restricted[level]


def write_jacobians(
    calls: Calls,
    level: int,
    starts: range,
    u: Mapping[str, Any],
    theta: Mapping[str, Any],
    y: Block,
    out: np.ndarray,
    kept: Any = None,
    guess: Block | None = None,
    into: Sequence[Views] = (),
) -> None:
    """Write dPhi/dy of independent steps, shape (B, n, n), by n calls of `vjp`, in place.

    With `into`, one for each number of a state, the derivatives of the i-th number with respect to
    the control are added to its i-th item. The other arguments are those of `Calls.vjp`.
    """
    lam, row = calls.space.allocate(len(y)), calls.space.allocate(len(y))
    unit = lam.reshape(len(y), -1)
    for i in range(out.shape[1]):
        unit[:, i] = 1.0
        views = into[i] if into else None
        calls.vjp(level, starts, u, theta, y, lam, row, kept, guess, views)
        out[:, i] = row.reshape(len(y), -1)
        unit[:, i] = 0.0
