"""One multigrid cycle (full approximation scheme), and the first guess from coarse levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from pint.grid import as_slice
from pint.mgrit.hierarchy import Level
from pint.mgrit.relaxation import c_relaxation, f_relaxation
from pint.states import Block


@dataclass(frozen=True)
class Smoother:
    """The relaxation of each level: nu times FC-relaxation, with a weight of the C-points.

    nu = 0 is F-, 1 FCF-, 2 FCFCF-relaxation; the F-relaxation before the residual belongs to it.
    """

    counts: tuple[int, ...]
    c_weight: float = 1.0

    def relax(
        self,
        level: Level,
        relaxed: bool = False,
        before_last: Callable[[], None] = lambda: None,
    ) -> None:
        """Relax one level in place; `relaxed` says that its F-points are up to date. Collective.

        `before_last` is called before the last F-relaxation.
        """
        count = self.counts[level.layout.level]
        for index in range(count + 1):
            if index > 0:
                c_relaxation(level, self.c_weight)
            if index == count:
                before_last()
            if index > 0 or not relaxed:
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
        squared_residual, squared_norm, _ = _residual(fine, coarse)
    if not proceed(squared_residual, squared_norm):
        return
    with coarse.work:
        _coarse_right_hand_side(coarse)
        if len(levels) == 2:
            march(coarse)
        else:
            _cycle_and_relax(levels[1:], smoother, f_cycle)
    # u_C += u^c - v, and v is u_C
    fine.trajectory[as_slice(fine.c_rows)] = coarse.trajectory[1:]


def lagged_cycle(
    levels: list[Level],
    smoother: Smoother,
    f_cycle: bool,
    tau: Block,
    before_relaxation: Callable[[], None],
    weights: Block | None = None,
) -> tuple[float, ...]:
    """Do one cycle that begins on level 1, in place; level 0 is left relaxed. Collective.

    The coarse equation is solved with the `tau` of the cycle before, which is that of another
    right-hand side or of other steps where these have changed since; then level 0 is relaxed,
    once, and gives the new `tau`:

        v_i = Phi_1(v_{i-1}) + tau_i,  tau_i <- Phi_0^m(v_{i-1}) - Phi_1(v_{i-1})

    (the sums of the right-hand side over the interval within Phi_0^m). The sequential solution
    is its fixed point. A `cycle` with the F-relaxation after it takes twice the steps of level 0.

    Parameters
    ----------
    levels, smoother, f_cycle
        As in `cycle`.
    tau : Block
        By row of ``levels[1]``, changed in place; zero if there was no cycle before.
    before_relaxation : callable
        Called before the last relaxation of level 0.
    weights : Block, optional
        One state for each C-point.

    Returns
    -------
    tuple of float
        This rank's parts of the squared norms of the residual and of the trajectory, and of the
        product of the residual with `weights`.
    """
    fine, coarse = levels[0], levels[1]
    with coarse.work:
        coarse.rhs[...] = tau
        coarse.trajectory[0] = fine.trajectory[0]
        if len(levels) == 2:
            march(coarse)
        else:
            coarse.trajectory[1:] = fine.trajectory[as_slice(fine.c_rows)]
            _cycle_and_relax(levels[1:], smoother, f_cycle)
        fine.trajectory[as_slice(fine.c_rows)] = coarse.trajectory[1:]
    with fine.work:
        smoother.relax(fine, before_last=before_relaxation)
        numbers = _residual(fine, coarse, weights)
    with coarse.work:
        if len(levels) == 2 and smoother.counts[0] == 0:
            # Phi_1(v_{i-1}) = v_i - tau_i, so that tau grows by the residual.
            tau[1:] += coarse.rhs[1:]
            tau[1:] -= coarse.trajectory[1:]
        else:
            _coarse_right_hand_side(coarse)
            tau[...] = coarse.rhs
    return numbers


def _cycle_and_relax(levels: list[Level], smoother: Smoother, f_cycle: bool) -> None:
    """Do a cycle on coarse levels, and relax the finest of them, in place. Collective."""
    cycle(levels, smoother, f_cycle)
    if f_cycle:
        cycle(levels, smoother, f_cycle=False)
    f_relaxation(levels[0])


def _residual(
    fine: Level, coarse: Level, weights: Block | None = None
) -> tuple[float, float, float]:
    """Put ``r_C + u_C = Phi(u_{C-1}) + f_C`` into `coarse.rhs` and u_C into its trajectory.

    Returns this rank's |r_C|^2, |u_C|^2 and product of r_C with `weights` on level 0, zeros on
    the others.
    """
    finest, done = fine.layout.level == 0, 0
    squared_residual = squared_norm = product = 0.0
    for chunk, target in c_point_steps(fine, coarse.rhs[1:]):
        if finest:
            difference = fine.scratch[: len(chunk)]
            difference[...] = target
            difference -= fine.trajectory[as_slice(chunk)]
            squared_residual += fine.space.squared_norm(difference)
            if weights is not None:
                difference *= weights[done : done + len(chunk)]
                product += float(difference.sum())
                done += len(chunk)
    coarse.trajectory[0] = fine.trajectory[0]
    coarse.trajectory[1:] = fine.trajectory[as_slice(fine.c_rows)]
    if finest:
        squared_norm = fine.space.squared_norm(coarse.trajectory[1:])
    return squared_residual, squared_norm, product


def c_point_steps(level: Level, out: Block | None = None) -> Iterator[tuple[range, Block]]:
    """Yield rows of C-points, some at a time, and ``Phi(u_{C-1}) + f_C``. Not collective.

    The results are written to `out`, row by row of all C-points, or to blocks of their own.
    """
    done = 0
    for chunk in level.chunks(level.c_rows):
        target = level.space.allocate(len(chunk)) if out is None else out[done:][: len(chunk)]
        done += len(chunk)
        level.propagate(range(chunk.start - 1, chunk.stop - 1, chunk.step), target)
        if level.rhs is not None:
            target += level.rhs[as_slice(chunk)]
        yield chunk, target


def _coarse_right_hand_side(coarse: Level) -> None:
    """Subtract ``Phi_{l+1}(v_{i-1})`` from ``r_C + v_i`` in `coarse.rhs`, in place. Collective."""
    arrival, departure = coarse.receive_from_left(), coarse.send_to_right()
    # The first step waits for the left neighbour, the others need not.
    others = range(0 if arrival is None else 1, coarse.layout.local_steps)
    _subtract_steps(coarse, others)
    if arrival is not None:
        coarse.wait(arrival)
        _subtract_steps(coarse, range(min(1, coarse.layout.local_steps)))
    coarse.wait(departure)


def _subtract_steps(coarse: Level, rows: range) -> None:
    for chunk in coarse.chunks(rows):
        stepped = coarse.scratch[: len(chunk)]
        coarse.propagate(chunk, stepped)
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


def add_sums(levels: list[Level], tau: Block, sign: float) -> None:
    """Add the sums of the right-hand side of ``levels[0]`` over coarse steps to `tau`, in place.

    Collective.
    """
    _sum_right_hand_sides(levels[0], levels[1])
    levels[1].rhs *= sign
    tau += levels[1].rhs


def _sum_right_hand_sides(fine: Level, coarse: Level) -> None:
    """Set `coarse.rhs` to the sums of `fine.rhs` over each coarse step. Collective."""
    coarse.rhs[...] = 0.0
    if fine.rhs is None or not fine.layout.active:
        return
    for back in range(fine.layout.coarsening_factor):
        skipped = 1 if fine.c_rows and fine.c_rows[0] <= back else 0
        rows = fine.c_rows[skipped:]
        inside = slice(rows.start - back, rows.stop - back, rows.step)
        coarse.rhs[1 + skipped :] += fine.rhs[inside]
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
