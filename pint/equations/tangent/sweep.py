"""The tangent equation as a one-step recursion that the multigrid solver can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pint.controls import Control
from pint.controls.halo import Halo
from pint.equations.results import as_rows
from pint.equations.sweeps import Sweep, write_jacobians
from pint.equations.tangent.calls import TangentCalls
from pint.equations.trajectory import State
from pint.mgrit import Propagator
from pint.states import Block


class TangentSweep(Propagator):
    """``dy[n+1] = Phi_y dy[n] + Phi_u du[n] + Phi_theta dtheta`` at the states of a solved state.

    On every level a step is the derivative of the state's step there, linearised at the fine state
    where it begins.

    Parameters
    ----------
    tangents : TangentCalls
    state : State
    u : sequence of mapping
        The blocks of each level's steps, from `ControlSpace.restrict`.
    direction : Control
    du : sequence of mapping
        Those of the direction.
    begins : Halo
        Of the states of other ranks where coarse steps begin.
    """

    def __init__(
        self,
        tangents: TangentCalls,
        state: State,
        u: Sequence[Mapping[str, Any]],
        direction: Control,
        du: Sequence[Mapping[str, Any]],
        begins: Halo,
    ) -> None:
        calls, control = tangents.calls, state.solved_control
        self.tangents, self.calls = tangents, calls
        self.sweep = Sweep(calls, control, u, at=state, forward=True)
        self.theta, self.du, self.dtheta = control.shared, du, direction.shared
        self.points = [state.points]
        if calls.grid.levels > 1:
            before = fetched(calls, begins, state.points)
            self.points += [self._ends(level, state.points, before) for level in self._coarse]

    @property
    def _coarse(self) -> range:
        return range(1, self.calls.grid.levels)

    def _ends(self, level: int, points: Block, before: tuple[np.ndarray, Block]) -> Block:
        """Return the states where this rank's steps of a level begin, and where the last ends."""
        layout, first, space = self.sweep.layouts[level], self.calls.grid.first, self.calls.space
        count = layout.local_steps
        if count == 0:
            return self.calls.spaces[level].allocate(0)
        row = layout.first * layout.stride - first
        rows = slice(max(row, row % layout.stride), None, layout.stride)
        found = points[rows][: count + 1]
        if row < 0:  # the first step begins on another rank
            steps, arrived = before
            place = int(np.searchsorted(steps, row + first))
            whole = space.allocate(count + 1)
            whole[:1], whole[1:] = arrived[place : place + 1], found[:count]
            found = whole
        for transfer in self.calls.transfers[1 : level + 1]:
            if transfer is not None:
                restricted = transfer.coarse.allocate(len(found))
                transfer.restrict(found, restricted)
                found = restricted
        return found

    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        starts, here, ends, at, kept = self._at(level, steps)
        along = {name: values[here] for name, values in self.du[level].items()}
        self.tangents.jvp(level, starts, at, (states, along, self.dtheta), out, kept, ends)

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        starts, _, ends, (y, u, theta), kept = self._at(level, steps)
        write_jacobians(self.calls, level, starts, u, theta, y, out, kept, ends)

    def _at(self, level: int, steps: range) -> Any:
        """Return starts and places of steps, states at their ends, arguments, what they kept."""
        sweep = self.sweep
        starts, local = sweep.starts(level, steps), sweep.local(level, steps)
        here, points = as_rows(local), self.points[level]
        ends = points[local.start + 1 : local.stop + 1 : local.step]
        at = (points[here], sweep.blocks(level, local), self.theta)
        return starts, here, ends, at, sweep.kept(level, local, together=self.calls.batched)


def fetched(calls: Any, begins: Halo, points: Block) -> tuple[np.ndarray, Block]:
    """Return numbers and states of other ranks where coarse steps of this one begin. Collective."""
    space, comm, first = calls.space, calls.grid.comm, calls.grid.first
    arrived, requests, done = space.allocate(len(begins.before)), [], 0
    for other, steps in begins.receives.items():
        place = arrived[done : done + len(steps)]
        requests.append(comm.Irecv(place, source=other))
        done += len(steps)
    sent = []
    for other, steps in begins.sends.items():
        block = space.allocate(len(steps))
        for place, row in enumerate(steps - first):  # as many as levels, at most
            block[place : place + 1] = points[row : row + 1]
        sent.append(block)  # until it has left
        requests.append(comm.Isend(block, dest=other))
    for request in requests:
        request.Wait()
    return begins.before, arrived
