"""Relaxation of one level: F-relaxation and C-relaxation, batched over intervals."""

from __future__ import annotations

from typing import Any

from pint.grid import as_slice
from pint.mgrit.hierarchy import Level


def f_relaxation(level: Level) -> None:
    """Step from each C-point through the F-points to its right, in place [1]_.

    Collective on the level's ranks; one message to the right-hand neighbour, sent as early as
    its content is known. Afterwards row 0 holds the left neighbour's last state.

    References
    ----------
    .. [1] Falgout et al., SIAM J. Sci. Comput. 36 (2014), C635, doi:10.1137/130944230.
    """
    if not level.layout.active:
        return
    arrival, departure = level.receive_from_left(), None
    open_interval = level.last_open_interval
    if open_interval is not None:
        level.advance(open_interval, level.layout.local_steps)
    known_early = open_interval is not None or level.last_row_is_c_point
    if known_early:
        departure = level.send_to_right()
    chunks = list(level.chunks(level.intervals(without=open_interval)))
    # Those of the first chunk that begin at the left neighbour's point come last.
    waiting = 1 if arrival is not None and level.starts_at_c_point else 0
    for chunk in chunks[waiting:]:
        _relax(level, chunk, departure)
    level.wait(arrival)
    for chunk in chunks[:waiting]:
        _relax(level, chunk, departure)
    if not level.starts_at_c_point:
        level.advance(0, min(level.first_c_row - 1, level.layout.local_steps))
    level.wait(departure if known_early else level.send_to_right())


def _relax(level: Level, chunk: range, departure: Any) -> None:
    """Advance the intervals that begin at the rows `chunk` together; look after a message."""
    factor = level.layout.coarsening_factor
    if len(chunk) == 1:
        level.advance(chunk.start, min(chunk.start + factor - 1, level.layout.local_steps))
        level.progress(departure)
        return
    for offset in range(factor - 1):
        end = min(chunk[-1] + offset + 1, level.layout.local_steps)
        if chunk.start + offset < end:
            level.step_rows(range(chunk.start + offset, end, factor))
            level.progress(departure)


def c_relaxation(level: Level, weight: float) -> None:
    """Step to each C-point from the F-point before it, in place.

    ``u_C <- weight (Phi(u_{C-1}) + f_C) + (1 - weight) u_C``. Not collective: row 0 is up to date
    after F-relaxation.
    """
    # From the last to the first: where all points are C-points, no step may begin at a new one.
    for chunk in reversed(list(level.chunks(level.c_rows))):
        before, rows = range(chunk.start - 1, chunk.stop - 1, chunk.step), as_slice(chunk)
        if weight == 1.0:
            level.step_rows(before)
            continue
        old = (1.0 - weight) * level.trajectory[rows]
        level.step_rows(before)
        level.trajectory[rows] *= weight
        level.trajectory[rows] += old
