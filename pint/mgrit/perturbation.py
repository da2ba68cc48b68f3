"""Cycles on errors of the C-points: what they make of them, to first order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pint.comm import reduce
from pint.mgrit.cycle import Smoother, c_point_residuals, coarse_right_hand_side, cycle
from pint.mgrit.hierarchy import Propagator
from pint.mgrit.relaxation import f_relaxation
from pint.mgrit.solver import MGRIT
from pint.mgrit.transfer import inject
from pint.states import Block


def random_state(shape: tuple[int, ...], point: int, seed: int = 0) -> np.ndarray:
    """Return normal numbers that depend on a point of level 0, counted in a sweep's direction."""
    return np.random.default_rng((seed, point)).standard_normal(shape)


class Perturbation:
    """Neighbouring levels by themselves, near the solution of the finest of them.

    A cycle on two levels turns an error e of the C-points, to first order, into [1]_

        e <- (I - B L)^{-1} (A - B) L (A L)^nu e,

    A the derivative of the fine steps over an interval, B that of the coarse step, L the shift to
    the next C-point, nu the number of FC-relaxations; with a transfer to another space

        e <- (I - P (I - B L)^{-1} R (I - A L)) (A L)^nu e.

    All methods are collective. They use the levels of the solver, whose next solve begins anew.

    Parameters
    ----------
    solver : MGRIT
    propagator : Propagator
    depth : int
        The finest of the levels, from 0.
    solution : Block, optional
        The solution on level 0, at the C-points at least; None for linear steps, at zero.
    levels : int
        Two, or more of them.

    Attributes
    ----------
    noise : float
        What rounding leaves of an error of norm 1, about.

    References
    ----------
    .. [1] Dobrev et al., SIAM J. Sci. Comput. 39 (2017), S501, doi:10.1137/16M1074096.
    """

    def __init__(
        self,
        solver: MGRIT,
        propagator: Propagator,
        depth: int = 0,
        solution: Block | None = None,
        levels: int = 2,
    ) -> None:
        self.solver, self.levels = solver, solver.levels[depth : depth + levels]
        self.depth, self.space, finest = depth, self.levels[0].space, solver.levels[0]
        self._linear = solution is None
        finest.trajectory = solver.allocate()
        if solution is not None:
            finest.trajectory[...] = solution
        finest.rhs = None
        for level in solver.levels:
            level.propagator, level.guessed = propagator, solution is not None
        for fine, coarse in pairwise(solver.levels[: depth + 1]):
            inject(fine, coarse)
            after = coarse.place(range(1, coarse.layout.local_steps + 1))
            coarse.rhs[after] = coarse.trajectory[after]
            coarse_right_hand_side(fine, coarse)  # with it the C-points solve the coarse level, too
        fine = self.levels[0]
        self._c_points = fine.place(fine.layout.c_rows)
        self._exact = 1.0 * fine.trajectory
        size = self.norm(self._exact[self._c_points])
        # Between the rounding of states and the curvature of steps
        small = self.space.precision**0.4
        self._scale = 1.0 if self._linear else small * (size if size > 0 else 1.0)
        self.noise = 1e2 * self.space.precision / (1.0 if self._linear else small)

    def norm(self, block: Block) -> float:
        """Return the norm of errors, over all ranks."""
        return self._sum(self.space.squared_norm(block)) ** 0.5

    def random(self, seed: int = 0) -> Block:
        """Return an error of norm 1 whose numbers depend on the point, and not on the ranks."""
        space, layout = self.space, self.levels[0].layout
        error, rows = space.allocate(len(layout.c_rows)), layout.c_rows
        shape, own = list(space.shape), [slice(None)] * len(space.shape)
        if space.comm.size > 1:  # a part of the numbers that all ranks in space have together
            sizes = space.comm.allgather(shape[space.axis])
            first = sum(sizes[: space.comm.rank])
            own[space.axis] = slice(first, first + shape[space.axis])
            shape[space.axis] = sum(sizes)
        for place, row in enumerate(reversed(rows) if self.solver.reverse else rows):
            values = random_state(tuple(shape), (layout.first + row) * layout.stride, seed)
            error[place : place + 1] = space.lift(values[tuple(own)][None])
        return self._normalised(error)

    def difference(self, trajectory: Block, solution: Block) -> Block:
        """Return the difference of trajectories of level 0 at the C-points. Not collective."""
        return trajectory[self._c_points] - solution[self._c_points]

    def cycled(
        self, error: Block, smoother: Smoother, f_cycle: bool = False
    ) -> tuple[Block, float]:
        """Return the error after a cycle from `error`, and on level 0 its first residual norm."""
        self._set(error)
        squared: list[float] = []

        def proceed(residual: float, norm: float) -> bool:
            squared.append(residual)
            return True

        cycle(self.levels, smoother, f_cycle, proceed)
        points = self.levels[0].trajectory[self._c_points]
        after = (points - self._exact[self._c_points]) / self._scale
        return after, self._sum(squared[0]) ** 0.5 / self._scale

    def growth(self, error: Block) -> tuple[float, float, float]:
        """Return ``|A e| / |e|``, ``|B e| / |e|`` and ``|(A - B) e| / |e|`` over one interval.

        With a transfer to another space P B R takes the place of B.
        """
        fine, coarse = self.levels[:2]
        coarse_steps = []
        for shift in (error, 0.0 * error):
            self._set(shift)
            inject(fine, coarse)
            coarse.rhs[...] = 0.0
            coarse_right_hand_side(fine, coarse)
            after = coarse.place(range(1, coarse.layout.local_steps + 1))
            coarse_steps.append(coarse.rhs[after] / -self._scale)
        by_coarse = coarse_steps[0] - coarse_steps[1]
        if coarse.transfer is not None:  # P B R in place of B
            by_coarse, below = self.space.allocate(len(by_coarse)), by_coarse
            coarse.transfer.prolong(below, by_coarse)
        self._set(error)
        f_relaxation(fine)
        by_fine = 1.0 * error
        for points, residual in c_point_residuals(fine):
            rows = self._rows(points)
            by_fine[rows] += residual / self._scale
        # No interval begins at the last C-point.
        begins = 1.0 * error
        layout = fine.layout
        last = layout.steps // max(layout.coarsening_factor, 1) * layout.coarsening_factor
        if layout.c_rows and layout.first + layout.c_rows[-1] == last:
            place = 0 if self.solver.reverse else len(begins) - 1
            begins[place : place + 1] = 0.0
        size = self.norm(begins)
        parts = (by_fine, by_coarse, by_fine - by_coarse)
        return tuple(self.norm(part) / size if size > 0 else 0.0 for part in parts)  # type: ignore

    def _set(self, error: Block) -> None:
        fine = self.levels[0]
        fine.trajectory[...] = self._exact
        fine.trajectory[self._c_points] += self._scale * error
        fine.guessed = not self._linear

    def _rows(self, points: slice) -> slice:
        """Return where C-points of a trajectory lie among the errors."""
        step = self._c_points.step or 1
        first = (points.start - self._c_points.start) // step
        return slice(first, first + len(range(points.start, points.stop, points.step or 1)))

    def _normalised(self, error: Block) -> Block:
        size = self.norm(error)
        return error / size if size > 0 else error

    def _sum(self, local: float) -> float:
        in_time = reduce(self.solver.comm, local)
        return float(reduce(self.space.comm, in_time)[0])
