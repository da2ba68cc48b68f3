"""A linear correction of coarse steps: Newton's method for the C-points."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from pint.errors import shown
from pint.grid import TimeGrid
from pint.mgrit.hierarchy import Level, Propagator
from pint.mgrit.solver import MGRIT
from pint.states import ArraySpace, Block, StateSpace

MOST_NUMBERS = 20
"""Numbers of a state: a correction costs so many transposes of each step, and their square in
memory."""

Correction = Literal["full"] | int | None


@dataclass(frozen=True, eq=False)
class Delta:
    """The corrections of level 1, in ascending time: what belongs to a right-hand side `tau`.

    Attributes
    ----------
    matrices : ndarray, shape (B, n, n)
        By step of this rank; see `Corrected`.
    products : ndarray, shape (B, n, n)
        The derivatives of the intervals themselves.
    """

    matrices: np.ndarray
    products: np.ndarray


class Corrected(Propagator):
    """The steps of a propagator, on coarse levels with a linear correction of each [1]_.

        Psi_i(v) = Phi_i(v) + D_i v,   D_i = (derivative of the finer steps of interval i) - Phi_i'

    The derivatives are those at the points of the last relaxation of the finer level; "finer
    steps" are themselves corrected on all levels but the finest. The full approximation scheme
    takes ``D_i u_{i-1}`` off again in the coarse right-hand side, so that the coarse equation is

        v_i = Phi_i(v_{i-1}) + D_i (v_{i-1} - u_{i-1}) + tau_i,

    and its right-hand side and its steps are made together. Before a level has been linearised its
    steps are those of the propagator. Of a rank below n, D_i is the nearest matrix of that rank
    (truncated singular value decomposition).

    Parameters
    ----------
    propagator : Propagator
        With `Propagator.jacobians`; its states are numpy arrays.
    solver : MGRIT
        What solves with these steps.
    rank : int, optional
        Of the corrections, by default n.
    linear : bool
        The derivatives are the same at all points: each level is linearised once. Full corrections
        then take the place of the coarse steps, which are not made.

    Attributes
    ----------
    delta : Delta or None
        Of level 1. Set it to continue with a right-hand side that was made with it.

    References
    ----------
    .. [1] Vargas et al., Multigrid reduction in time for chaotic dynamical systems,
       arXiv:2208.12629, section 3.
    """

    corrects = True

    def __init__(
        self,
        propagator: Propagator,
        solver: MGRIT,
        rank: int | None = None,
        linear: bool = False,
    ) -> None:
        self.propagator, self.linear = propagator, linear
        self.layouts = [level.layout for level in solver.levels]
        self.size = state_size(solver.space)
        self.rank = None if rank == self.size else rank
        self.reverse, self.margin = propagator.reverse, propagator.margin
        self.relaxes = propagator.relaxes
        self._replaces = linear and self.rank is None
        self._matrices: list[np.ndarray | None] = [None for _ in self.layouts]
        self._products: np.ndarray | None = None

    @property
    def delta(self) -> Delta | None:
        matrices, products = self._matrices[1], self._products
        if matrices is None or products is None:
            return None
        return Delta(self._turned(matrices), self._turned(products))

    @delta.setter
    def delta(self, delta: Delta | None) -> None:
        self._matrices[1] = self._products = None
        if delta is not None:
            self._products = self._turned(delta.products)
            matrices = self._turned(delta.matrices)
            self._matrices[1] = self._products if self._replaces else matrices

    def _turned(self, matrices: np.ndarray) -> np.ndarray:
        """Return the matrices of a sweep forward in time as those of this sweep, or the reverse."""
        return matrices.swapaxes(1, 2) if self.reverse else matrices

    def begin_pass(self, last: bool) -> None:
        self.propagator.begin_pass(last)

    # Corrected steps

    def apply(
        self, level: int, steps: range, states: Block, out: Block, guess: Block | None = None
    ) -> None:
        matrices = self._matrices[level]
        if matrices is None:
            self.propagator.apply(level, steps, states, out, guess)
            return
        moved = self._moved(matrices[self._places(level, steps)], states)
        if self._replaces:
            out[...] = moved
        else:
            self.propagator.apply(level, steps, states, out, guess)
            out += moved

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
        matrices = self._matrices[level]
        if self._replaces and matrices is not None:
            super().march(level, steps, start, out, rhs, guessed)
            return
        if matrices is not None:
            linear = matrices[self._places(level, steps)]
        self.propagator.march(level, steps, start, out, rhs, guessed, linear)

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
        if self._matrices[level] is None:
            self.propagator.relax(level, steps, length, states, out, rhs, guessed)
            return
        y, last = states, (len(steps) - 1) * steps.step + length - 1
        for offset in range(length):
            # In sweeps backward in time the first row is that of the last step.
            first = length - 1 - offset if self.reverse else offset
            rows = slice(first, last - (length - 1 - first) + 1, steps.step)
            some = range(steps.start + offset, steps[-1] + offset + 1, steps.step)
            new = 1.0 * y
            self.apply(level, some, y, new, 1.0 * out[rows] if guessed else None)
            if rhs is not None:
                new += rhs[rows]
            out[rows] = new
            y = new

    def _moved(self, matrices: np.ndarray, states: Block) -> Block:
        moved = np.matmul(matrices, states.reshape(len(states), self.size, 1))
        return moved.reshape(states.shape)

    def _places(self, level: int, steps: range) -> slice:
        """Return where the matrices of steps lie, in ascending time."""
        layout = self.layouts[level]
        first, last = steps[0] - layout.first, steps[-1] - layout.first
        if self.reverse:
            first, last = layout.local_steps - 1 - last, layout.local_steps - 1 - first
        return slice(first, last + 1, steps.step)

    # Their derivatives

    def jacobians(
        self, level: int, steps: range, states: Block, out: np.ndarray, guess: Block = None
    ) -> None:
        matrices = self._matrices[level]
        if matrices is not None and self._replaces:
            out[...] = matrices[self._places(level, steps)]
            return
        self.propagator.jacobians(level, steps, states, out, guess)
        if matrices is not None:
            out += matrices[self._places(level, steps)]

    def linearise(self, fine: Level, coarse: Level) -> None:
        level = coarse.layout.level
        if self.linear and self._matrices[level] is not None:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            products = self._interval_derivatives(fine)
            matrices = products
            if not self._replaces:
                matrices = products.copy()
                first = coarse.layout.first
                for chunk in coarse.chunks(range(coarse.layout.local_steps)):
                    steps = range(first + chunk.start, first + chunk.stop)
                    own = self._derivatives(coarse, self.propagator, chunk)
                    matrices[self._places(level, steps)] -= own
                matrices = usable(matrices, self.rank)
        self._matrices[level] = matrices
        if level == 1:
            self._products = products
        for deeper in range(level + 1, len(self._matrices)):
            self._matrices[deeper] = None

    def _interval_derivatives(self, fine: Level) -> np.ndarray:
        """Return the derivatives of the steps between C-points, for each C-point of this rank.

        In ascending time. An interval that ranks share goes from one to the next. Collective.
        """
        layout, factor, end = fine.layout, fine.layout.coarsening_factor, fine.layout.local_steps
        count, n = len(layout.c_rows), self.size
        products = np.empty((count, n, n))
        # In the order of the sweep, whatever the direction of time
        ordered = products[::-1] if self.reverse else products
        carry, arrival, first = np.eye(n)[None], None, 0
        if not layout.starts_at_c_point:
            arrival = fine.receive_from_left(carry)
            first = min(layout.first_c_row, end)
        whole, per_chunk = (end - first) // factor, max(1, fine.chunk // factor)
        done = count - whole
        for begin in range(0, whole, per_chunk):
            some = range(begin, min(begin + per_chunk, whole))
            rows = range(first + some.start * factor, first + some.stop * factor)
            ordered[done + some.start : done + some.stop] = self._chained(fine, rows, factor)
        if first or arrival is not None:
            fine.wait(arrival)
            if first:
                carry = self._chained(fine, range(first), first) @ carry
            if done:
                ordered[0] = carry[0]
        if not layout.last_row_is_c_point:
            rest = range(first + whole * factor, end)
            if done:
                carry = np.eye(n)[None]
            if rest:
                carry = self._chained(fine, rest, len(rest)) @ carry
            fine.wait(fine.send_to_right(carry))
        return products

    def _chained(self, fine: Level, rows: range, length: int) -> np.ndarray:
        """Return the derivative of each `length` of consecutive steps, in the sweep's order."""
        n = self.size
        each = self._derivatives(fine, self, rows)
        runs = each.reshape(-1, length, n, n)
        if self.reverse:
            runs = runs[::-1, ::-1]
        product: np.ndarray = runs[:, 0]
        for step in range(1, length):
            product = runs[:, step] @ product
        return product

    def _derivatives(self, level: Level, propagator: Propagator, rows: range) -> np.ndarray:
        """Return the derivatives of the steps that begin at `rows`, and count their evaluations."""
        number, first = level.layout.level, level.layout.first
        if self._matrices[number] is None or not self._replaces:
            level.steps_evaluated += self.size * len(rows) * level.layout.substeps
        states = ends = None
        if not self.linear:  # otherwise the points do not matter, and there may be none yet
            states = level.trajectory[level.place(rows)]
            ends = level.trajectory[level.place(rows, 1)]
        found = np.empty((len(rows), self.size, self.size))
        steps = range(first + rows.start, first + rows.stop)
        propagator.jacobians(number, steps, states, found, ends)
        return found


def usable(matrices: np.ndarray, rank: int | None) -> np.ndarray:
    """Return the nearest matrices of a rank; zero, no correction, for those that are not finite."""
    finite = np.isfinite(matrices).all(axis=(1, 2))
    result = np.zeros(matrices.shape)
    if rank is None:
        result[finite] = matrices[finite]
    elif finite.any():
        left, sizes, right = np.linalg.svd(matrices[finite])
        result[finite] = (left[..., :rank] * sizes[..., None, :rank]) @ right[..., :rank, :]
    return result


def state_size(space: StateSpace) -> int:
    """Return how many numbers a state has."""
    return int(np.prod(space.shape, dtype=int))


def correction_rank(correction: Correction, grid: TimeGrid, space: StateSpace) -> int | None:
    """Return the rank of corrections, None for none.

    Raises
    ------
    ValueError
        If `correction` is none of "full", a rank from 1 to the numbers of a state, and None; or
        grid or states do not allow for it.
    """
    name = "`ReducedFunctional(correction=...)`"
    if correction is None:
        return None
    is_rank = isinstance(correction, Integral) and not isinstance(correction, bool)
    if not is_rank and not (isinstance(correction, str) and correction == "full"):
        raise ValueError(f"{name} is 'full', a rank >= 1 or None, got {shown(correction)}.")
    if grid.levels == 1:
        raise ValueError(
            f"{name} corrects the steps of coarse levels, and a grid of one level has none: use 2 "
            "levels, or None."
        )
    if not isinstance(space, ArraySpace) or space.comm.size > 1:
        raise ValueError(
            f"{name} needs states that are whole numpy arrays, got a {type(space).__name__} on "
            f"{space.comm.size} rank(s): use None."
        )
    size = state_size(space)
    if size > MOST_NUMBERS:
        raise ValueError(
            f"{name} is for states of up to {MOST_NUMBERS} numbers, those of the problem have "
            f"{size}: use None."
        )
    rank = size if isinstance(correction, str) else int(correction)
    if not 1 <= rank <= size:
        raise ValueError(
            f"{name} is 'full', or a rank from 1 to {size}, the numbers of a state, got "
            f"{shown(correction)}."
        )
    return rank
