"""One multigrid cycle (full approximation scheme), and the first guess from coarse levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from pint.mgrit.hierarchy import Level
from pint.mgrit.relaxation import c_relaxation, f_relaxation, relaxed_intervals
from pint.mgrit.transfer import (
    c_points,
    correct,
    inject,
    prolong_points,
    restrict,
    sum_right_hand_sides,
)
from pint.states import Block


@dataclass(frozen=True)
class Smoother:
    """The relaxation of each level: nu times FC-relaxation, with a weight of the C-points.

    nu = 0 is F-, 1 FCF-, 2 FCFCF-relaxation; the F-relaxation before the residual belongs to it.
    """

    counts: tuple[int, ...]
    c_weight: float = 1.0

    def relax(self, level: Level, relaxed: bool = False, last: bool = False) -> None:
        """Relax one level in place. Collective.

        Parameters
        ----------
        level : Level
        relaxed : bool
            The F-points are up to date: the first F-relaxation is left out.
        last : bool
            The pass over the level that begins with the last F-relaxation may be its last one;
            the propagator is told so.
        """
        count, finest = self.counts[level.layout.level], level.layout.level == 0
        for index in range(count + 1):
            if index > 0:
                c_relaxation(level, self.c_weight)
            left_out = index == 0 and relaxed
            # Passes between the first and the last one are no last passes either.
            if finest and index in (0, count):
                level.propagator.begin_pass(last and index == count and not left_out)
            for _ in () if left_out else relaxed_intervals(level):
                pass


def cycle(
    levels: list[Level],
    smoother: Smoother,
    f_cycle: bool,
    proceed: Callable[[float, float], bool] = lambda squared_residual, squared_norm: True,
    relaxed: bool = False,
    last: bool = False,
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
    last : bool
        Whether `proceed` may return False.

    References
    ----------
    .. [1] Falgout et al., SIAM J. Sci. Comput. 36 (2014), C635, doi:10.1137/130944230, Alg. 2.
    """
    fine, coarse = levels[0], levels[1]
    with fine.work:
        smoother.relax(fine, relaxed, last)
        squared_residual, _ = _residual(fine, coarse, fine.chunks(fine.layout.c_rows))
        inject(fine, coarse)
        squared_norm = _squared_norm(fine, coarse) if fine.layout.level == 0 else 0.0
    if not proceed(squared_residual, squared_norm):
        return
    with coarse.work:
        coarse_right_hand_side(fine, coarse)
        if len(levels) == 2:
            march(coarse)
        else:
            # An F-cycle does an F-cycle on the coarser levels, then a V-cycle.
            for as_f_cycle in (True, False) if f_cycle else (False,):
                cycle(levels[1:], smoother, as_f_cycle)
            # A cycle leaves its F-points behind; each of them is a C-point of the finer level.
            f_relaxation(coarse)
    correct(fine, coarse)


def lagged_cycle(
    levels: list[Level],
    smoother: Smoother,
    f_cycle: bool,
    tau: Block,
    last: bool = False,
    weights: Block | None = None,
    start: Block | None = None,
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
        A right-hand side of ``levels[1]``, changed in place; zero without a cycle before.
    start : Block, optional
        The right-hand side to begin with in place of `tau`; it stays as it is.
    last : bool
        Whether it is the last cycle of the solve.
    weights : Block, optional
        A state for each point of ``levels[0]``, laid out as its trajectory.

    Returns
    -------
    tuple of float
        This rank's parts of the squared norm of the residual, and of the product of the residual
        with `weights`, over the C-points.
    """
    fine, coarse = levels[0], levels[1]
    two = len(levels) == 2 and smoother.counts[0] == 0
    two = two and coarse.transfer is None and not fine.propagator.corrects
    before = tau if start is None else start
    with coarse.work:
        if two:
            _march_in_place(fine, coarse, before)
        else:
            coarse.rhs[...] = before
            inject(fine, coarse)
            if len(levels) == 2:
                march(coarse)
            else:
                for as_f_cycle in (True, False) if f_cycle else (False,):
                    cycle(levels[1:], smoother, as_f_cycle)
                f_relaxation(coarse)
            correct(fine, coarse)
    with fine.work:
        if two:
            fine.propagator.begin_pass(last)
            # Phi_1(v_{i-1}) = v_i - tau_i, so that tau grows by the residual.
            return _residual(fine, coarse, relaxed_intervals(fine), (before, tau), weights)
        smoother.relax(fine, last=last)
        numbers = _residual(fine, coarse, fine.chunks(fine.layout.c_rows), None, weights)
        inject(fine, coarse)
    with coarse.work:
        coarse_right_hand_side(fine, coarse)
        tau[...] = coarse.rhs
    return numbers


def _march_in_place(fine: Level, coarse: Level, rhs: Block) -> None:
    """Solve the coarse level with a right-hand side, where it lies, into the fine C-points."""
    own = coarse.rhs, coarse.trajectory
    aligned = fine.layout.starts_at_c_point
    try:
        coarse.rhs = rhs
        if aligned:  # then the C-points, row 0 among them, are a view: nothing is copied
            factor, steps = fine.layout.coarsening_factor, coarse.layout.local_steps
            c_points = fine.place(range(0, steps * factor + 1, factor))
            coarse.trajectory = fine.trajectory[c_points]
        else:
            coarse.trajectory[coarse.point(0)] = fine.trajectory[fine.point(0)]
        march(coarse)
    finally:
        coarse.solved = coarse.trajectory
        coarse.rhs, coarse.trajectory = own
    if aligned:
        coarse.guessed = True
    else:
        correct(fine, coarse)


def _squared_norm(fine: Level, coarse: Level) -> float:
    """Return this rank's part of the squared norm of the C-points, which have been injected."""
    if coarse.transfer is None:  # injected they lie together, so that their norm needs no copy
        after = coarse.place(range(1, coarse.layout.local_steps + 1))
        return fine.space.squared_norm(coarse.trajectory[after])
    places = (points for points, _ in c_points(fine, coarse))
    return sum(fine.space.squared_norm(fine.trajectory[points]) for points in places)


def _residual(
    fine: Level,
    coarse: Level,
    c_rows: Iterable[range],
    taus: tuple[Block, Block] | None = None,
    weights: Block | None = None,
) -> tuple[float, float]:
    """Put ``R (r_C + u_C)`` into `coarse.rhs`, or r_C + tau into a new tau.

    ``r_C + u_C = Phi(u_{C-1}) + f_C``.

    `c_rows` are the rows of all C-points, some at a time; `taus` the old and the new tau. Returns
    this rank's |r_C|^2 and product of r_C with `weights` on level 0, zeros on the others.
    """
    finest, space, factor = fine.layout.level == 0, fine.space, fine.layout.coarsening_factor
    squared_residual = product = 0.0
    for rows in c_rows:
        if not rows:
            continue
        row = (rows.start - fine.layout.first_c_row) // factor + 1
        above, points = coarse.place(range(row, row + len(rows))), fine.place(rows)
        difference = fine.scratch[: len(rows)]
        if taus is None:
            same = coarse.transfer is None
            step_to_c_points(fine, rows, coarse.rhs[above] if same else difference)
            if not same:
                restrict(coarse, difference, coarse.rhs[above])
            if not finest:
                continue
            if same:
                difference[...] = coarse.rhs[above]
        else:
            step_to_c_points(fine, rows, difference)
        difference -= fine.trajectory[points]
        squared_residual += space.squared_norm(difference)
        if weights is not None:
            product += space.pair(difference, weights[points])
        if taus is not None:
            difference += taus[0][above]
            taus[1][above] = difference
    return squared_residual, product


def step_to_c_points(level: Level, chunk: range, out: Block) -> None:
    """Write ``Phi(u_{C-1}) + f_C`` for some rows of C-points to `out`. Not collective."""
    level.propagate(range(chunk.start - 1, chunk.stop - 1, chunk.step), out)
    if level.rhs is not None:
        out += level.rhs[level.place(chunk)]


def c_point_residuals(level: Level) -> Iterator[tuple[slice, Block]]:
    """Yield where C-points lie, some at a time, and ``Phi(u_{C-1}) + f_C - u_C``."""
    for chunk in level.chunks(level.layout.c_rows):
        residual, points = level.space.allocate(len(chunk)), level.place(chunk)
        step_to_c_points(level, chunk, residual)
        residual -= level.trajectory[points]
        yield points, residual


def coarse_right_hand_side(fine: Level, coarse: Level) -> None:
    """Subtract ``Phi_{l+1}(v_{i-1})`` from ``r_C + v_i`` in `coarse.rhs`, in place. Collective."""
    arrival, departure = coarse.receive_from_left(), coarse.send_to_right()
    if coarse.propagator.corrects:  # the first step's correction needs the left neighbour's point
        coarse.wait(arrival)
        arrival = None
        coarse.propagator.linearise(fine, coarse)
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
        coarse.rhs[coarse.place(chunk, 1)] -= stepped


def march(level: Level) -> None:
    """Solve a level by stepping through it, in place: rank after rank. Collective."""
    if not level.layout.active:
        return
    level.wait(level.receive_from_left())  # before that there is nothing to start from
    level.advance(0, level.layout.local_steps)
    level.wait(level.send_to_right())


def first_guess(levels: list[Level], smoother: Smoother, v_cycles: int) -> None:
    """Set the C-points of ``levels[0]`` from the coarser levels, in place. Collective.

    The coarsest level is solved by stepping; each finer one takes over the C-points, prolonged,
    relaxes its F-points, and does `v_cycles` V-cycles: none is a coarse march, one is nested
    iteration. The right-hand side of a coarse step is the sum of those of the fine steps that it
    covers.
    """
    for fine, coarse in pairwise(levels):
        sum_right_hand_sides(fine, coarse)
        restrict(coarse, fine.trajectory[fine.point(0)], coarse.trajectory[coarse.point(0)])
    for level in levels:  # their points belong to earlier solves
        level.guessed = False
    march(levels[-1])
    for depth in range(len(levels) - 2, -1, -1):
        fine = levels[depth]
        prolong_points(fine, levels[depth + 1])
        if depth > 0:
            for _ in range(v_cycles):
                cycle(levels[depth:], smoother, f_cycle=False)
            f_relaxation(fine)
