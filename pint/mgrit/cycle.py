"""One multigrid cycle (full approximation scheme), and the first guess from coarse levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from pint.mgrit.hierarchy import Level, as_slice
from pint.mgrit.relaxation import c_relaxation, f_relaxation
from pint.space import Block


@dataclass(frozen=True)
class Smoother:
    """The relaxation of each level: nu times FC-relaxation, with a weight of the C-points.

    nu = 0 is F-, 1 FCF-, 2 FCFCF-relaxation; the F-relaxation before the residual belongs to it.
    """

    counts: tuple[int, ...]
    c_weight: float = 1.0

    def relax(self, level: Level, relaxed: bool = False) -> None:
        """Relax one level in place; `relaxed` says that its F-points are up to date. Collective."""
        if not relaxed:
            f_relaxation(level)
        for _ in range(self.counts[level.layout.level]):
            c_relaxation(level, self.c_weight)
            f_relaxation(level)


def cycle(
    levels: list[Level],
    smoother: Smoother,
    f_cycle: bool,
    proceed: Callable[[float, float], bool] = lambda squared_residual, squared_norm: True,
    relaxed: bool = False,
) -> None:
    """Do one V- or F-cycle on `levels`, finest first, in place [1]_.

    On return the C-points of ``levels[0]`` are corrected, its F-points are not yet. Collective.

    Parameters
    ----------
    levels : list of Level
        At least two.
    smoother : Smoother
    f_cycle : bool
        Do one V-cycle from each intermediate level on the way up.
    proceed : callable
        Receives, on level 0, this rank's parts of the squared norms of the residual and of the
        trajectory over the C-points after relaxation; the coarse correction is left out if it
        returns False.
    relaxed : bool
        Whether the F-points of ``levels[0]`` are those that F-relaxation gives.

    References
    ----------
    .. [1] Falgout et al., SIAM J. Sci. Comput. 36 (2014), C635, doi:10.1137/130944230, Alg. 2.
    """
    fine, coarse = levels[0], levels[1]
    with fine.work:
        smoother.relax(fine, relaxed)
        squared_norms = _residual(fine, coarse)
    if not proceed(*squared_norms):
        return
    with coarse.work:
        _coarse_right_hand_side(coarse)
        if len(levels) == 2:
            march(coarse)
        else:
            cycle(levels[1:], smoother, f_cycle)
            if f_cycle:
                cycle(levels[1:], smoother, f_cycle=False)
            f_relaxation(coarse)
    # u_C += u^c - v, and v is u_C
    fine.trajectory[as_slice(fine.c_rows)] = coarse.trajectory[1:]


def _residual(fine: Level, coarse: Level) -> tuple[float, float]:
    """Put ``r_C + u_C = Phi(u_{C-1}) + f_C`` into `coarse.rhs` and u_C into its trajectory.

    Returns this rank's |r_C|^2 and |u_C|^2 on level 0, zeros on the others.
    """
    squared_residual = squared_norm = 0.0
    for chunk, stepped in c_point_steps(fine):
        here = as_slice(chunk)
        first = (chunk.start - fine.first_c_row) // chunk.step + 1
        target = coarse.rhs[first : first + len(chunk)]
        target[...] = stepped
        if fine.rhs is not None:
            target += fine.rhs[here]
        if fine.layout.level == 0:
            squared_residual += fine.space.squared_norm(target - fine.trajectory[here])
    coarse.trajectory[0] = fine.trajectory[0]
    coarse.trajectory[1:] = fine.trajectory[as_slice(fine.c_rows)]
    if fine.layout.level == 0:
        squared_norm = fine.space.squared_norm(coarse.trajectory[1:])
    return squared_residual, squared_norm


def c_point_steps(level: Level) -> Iterator[tuple[range, Block]]:
    """Yield rows of C-points, some at a time, and ``Phi(u_{C-1})``. Not collective."""
    for chunk in level.chunks(level.c_rows):
        before = range(chunk.start - 1, chunk.stop - 1, chunk.step)
        yield chunk, level.propagate(before, level.trajectory[as_slice(before)])


def _coarse_right_hand_side(coarse: Level) -> None:
    """Subtract ``Phi_{l+1}(v_{i-1})`` from ``r_C + v_i`` in `coarse.rhs`, in place. Collective."""
    arrival, departure = coarse.receive_from_left(), coarse.send_to_right()
    coarse.wait(arrival)
    coarse.wait(departure)
    for chunk in coarse.chunks(range(coarse.layout.local_steps)):
        stepped = coarse.propagate(chunk, coarse.trajectory[as_slice(chunk)])
        coarse.rhs[as_slice(chunk, shift=1)] -= stepped


def march(level: Level) -> None:
    """Solve a level by stepping through it, in place: rank after rank. Collective."""
    if not level.layout.active:
        return
    level.wait(level.receive_from_left())
    level.advance(0, level.layout.local_steps)
    level.wait(level.send_to_right())


def first_guess(levels: list[Level], smoother: Smoother, v_cycles: int) -> None:
    """Set the C-points of ``levels[0]`` from the coarser levels, in place. Collective.

    The coarsest level is solved by stepping; each finer one takes over the C-points, relaxes its
    F-points, and does `v_cycles` V-cycles: none is a coarse march, one is nested iteration. The
    right-hand side of a coarse step is the sum of those of the fine steps that it covers.
    """
    for fine, coarse in pairwise(levels):
        _sum_right_hand_sides(fine, coarse)
        coarse.trajectory[0] = fine.trajectory[0]
    march(levels[-1])
    for depth in range(len(levels) - 2, -1, -1):
        fine, coarse = levels[depth], levels[depth + 1]
        fine.trajectory[as_slice(fine.c_rows)] = coarse.trajectory[1:]
        if depth > 0:
            for _ in range(v_cycles):
                cycle(levels[depth:], smoother, f_cycle=False)
            f_relaxation(fine)


def _sum_right_hand_sides(fine: Level, coarse: Level) -> None:
    """Set `coarse.rhs` to the sums of `fine.rhs` over each coarse step. Collective."""
    coarse.rhs[...] = 0.0
    if fine.rhs is None or not fine.layout.active:
        return
    for back in range(fine.layout.coarsening_factor):
        rows = [row for row in fine.c_rows if row > back]
        skipped = len(fine.c_rows) - len(rows)
        if rows:
            inside = range(rows[0] - back, rows[-1] - back + 1, fine.layout.coarsening_factor)
            coarse.rhs[1 + skipped :] += fine.rhs[as_slice(inside)]
    # What lies before the first C-point here, and after the last one, belongs to coarse steps
    # that other ranks share.
    carry = fine.space.allocate(1)
    fine.wait(fine.receive_from_left(carry))
    if fine.c_rows:
        coarse.rhs[1:2] += carry
        carry = fine.space.allocate(1)
    after_last_c_point = fine.c_rows[-1] + 1 if fine.c_rows else 1
    for row in range(after_last_c_point, fine.layout.local_steps + 1):
        carry += fine.rhs[row : row + 1]
    fine.wait(fine.send_to_right(carry))
