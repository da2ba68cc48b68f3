"""Between two levels: states and residuals go down, corrections go up.

The states of the coarse level may lie in another space. `coarse.transfer` then restricts them, R,
and prolongs corrections, P; without one both are the identity.
"""

from __future__ import annotations

from collections.abc import Iterator

from pint.mgrit.hierarchy import Level
from pint.states import Block


def inject(fine: Level, coarse: Level) -> None:
    """Set the coarse trajectory to the fine one's C-points, in place: v = R u_C."""
    coarse.guessed, coarse.solved = True, None
    restrict(coarse, fine.trajectory[fine.point(0)], coarse.trajectory[coarse.point(0)])
    if coarse.transfer is None:
        after = coarse.place(range(1, coarse.layout.local_steps + 1))
        coarse.trajectory[after] = fine.trajectory[fine.place(fine.layout.c_rows)]
        return
    for points, above in c_points(fine, coarse):
        coarse.transfer.restrict(fine.trajectory[points], coarse.trajectory[above])


def correct(fine: Level, coarse: Level) -> None:
    """Add the coarse correction to the fine C-points, in place: u_C += P (u^c - v), v = R u_C."""
    transfer = coarse.transfer
    if transfer is None:  # v is u_C
        prolong_points(fine, coarse)
        return
    coarse.guessed = True
    for points, above in c_points(fine, coarse):
        # The C-points have not changed since they were restricted: nobody has to store v.
        old = fine.trajectory[points]
        difference, change = coarse.scratch[: len(old)], fine.scratch[: len(old)]
        transfer.restrict(old, difference)
        difference -= coarse.trajectory[above]
        transfer.prolong(difference, change)
        fine.trajectory[points] -= change


def prolong_points(fine: Level, coarse: Level) -> None:
    """Set the fine C-points to the coarse trajectory, prolonged, in place: u_C = P u^c."""
    coarse.guessed = True
    if coarse.transfer is None:
        after = coarse.place(range(1, coarse.layout.local_steps + 1))
        fine.trajectory[fine.place(fine.layout.c_rows)] = coarse.trajectory[after]
        return
    for points, above in c_points(fine, coarse):
        coarse.transfer.prolong(coarse.trajectory[above], fine.trajectory[points])


def restrict(coarse: Level, states: Block, out: Block) -> None:
    """Write states of the finer level to a block of the coarse one."""
    if coarse.transfer is None:
        out[...] = states
    else:
        coarse.transfer.restrict(states, out)


def c_points(fine: Level, coarse: Level) -> Iterator[tuple[slice, slice]]:
    """Yield where C-points lie on the fine and on the coarse level, as many as fit both caches."""
    rows, layout = fine.layout.c_rows, fine.layout
    size = min(fine.chunk, coarse.chunk)
    for begin in range(0, len(rows), size):
        some = rows[begin : begin + size]
        row = (some.start - layout.first_c_row) // layout.coarsening_factor + 1
        yield fine.place(some), coarse.place(range(row, row + len(some)))


def sum_right_hand_sides(fine: Level, coarse: Level) -> None:
    """Set `coarse.rhs` to the sums of `fine.rhs` over each coarse step. Collective."""
    if coarse.transfer is None:
        _sum_into(coarse.rhs, fine, coarse)
        return
    sums = fine.space.allocate(coarse.layout.local_steps + 1)
    _sum_into(sums, fine, coarse)
    coarse.transfer.restrict(sums, coarse.rhs)


def _sum_into(sums: Block, fine: Level, coarse: Level) -> None:
    """Set a block, laid out as `coarse.rhs`, to the sums of `fine.rhs`. Collective."""
    sums[...] = 0.0
    if fine.rhs is None or not fine.layout.active:
        return
    end = coarse.layout.local_steps
    for back in range(fine.layout.coarsening_factor):
        skipped = 1 if fine.layout.c_rows and fine.layout.c_rows[0] <= back else 0
        places = coarse.place(range(1 + skipped, end + 1))
        sums[places] += fine.rhs[fine.place(fine.layout.c_rows[skipped:], -back)]
    # What lies before the first C-point here, and after the last one, belongs to coarse steps
    # that other ranks share.
    carry = fine.space.allocate(1)
    fine.wait(fine.receive_from_left(carry))
    if fine.layout.c_rows:
        sums[coarse.place(range(1, 2))] += carry
        carry = fine.space.allocate(1)
    after_last_c_point = fine.layout.c_rows[-1] + 1 if fine.layout.c_rows else 1
    for row in range(after_last_c_point, fine.layout.local_steps + 1):
        carry += fine.rhs[fine.place(range(row, row + 1))]
    fine.wait(fine.send_to_right(carry))
