"""Relaxation of one level: F-relaxation and C-relaxation, batched over intervals."""

from __future__ import annotations

from collections.abc import Iterator

from pint.mgrit.hierarchy import Level


def f_relaxation(level: Level) -> None:
    """Step from each C-point through the F-points to its right, in place [1]_.

    Collective on the level's ranks; one message to the right-hand neighbour, sent as early as
    its content is known. Afterwards row 0 holds the left neighbour's last state.

    References
    ----------
    .. [1] Falgout et al., SIAM J. Sci. Comput. 36 (2014), C635, doi:10.1137/130944230.
    """
    for _ in relaxed_intervals(level):
        pass


def relaxed_intervals(level: Level) -> Iterator[range]:
    """Do an F-relaxation, some intervals at a time, and yield the rows of the C-points after them.

    Together these are all C-points of the rank. What is done with them at once finds the last
    F-points in the cache.
    """
    factor, end = level.layout.coarsening_factor, level.layout.local_steps
    if not level.layout.active:
        return
    arrival, departure = level.receive_from_left(), None
    # The right-hand neighbour waits for the end of an interval that it shares: that comes first.
    open_interval = level.layout.last_open_interval
    if open_interval is not None:
        level.advance(open_interval, end)
    known_early = open_interval is not None or level.layout.last_row_is_c_point
    if known_early:
        departure = level.send_to_right()
    chunks = list(level.chunks(level.layout.intervals(without=open_interval)))
    # If an interval begins at the left neighbour's point, its chunk waits for the message.
    waiting = 1 if arrival is not None and level.layout.starts_at_c_point else 0
    for number, chunk in enumerate([*chunks[waiting:], *chunks[:waiting]]):
        if waiting and number == len(chunks) - 1:
            level.wait(arrival)
        # One interval is marched from state to state, without the way through the scratch block.
        if len(chunk) == 1:
            level.advance(chunk.start, min(chunk.start + factor - 1, end))
            level.progress(departure)
        elif level.propagator.relaxes and factor > 1:
            level.advance_all(chunk, factor - 1)
            level.progress(departure)
        else:
            for offset in range(factor - 1):
                stop = min(chunk[-1] + offset + 1, end)
                if chunk.start + offset < stop:
                    level.step_rows(range(chunk.start + offset, stop, factor))
                    level.progress(departure)
        yield range(chunk.start + factor, min(chunk[-1] + factor, end) + 1, factor)
    if not (waiting and chunks):
        level.wait(arrival)
    # The rest of the interval that the left neighbour has begun waits for its last state.
    if not level.layout.starts_at_c_point:
        level.advance(0, min(level.layout.first_c_row - 1, end))
        yield range(level.layout.first_c_row, min(level.layout.first_c_row, end) + 1)
    level.wait(departure if known_early else level.send_to_right())
    level.guessed = True
    if factor == 1:  # there are no F-points, and no intervals to relax
        yield from level.chunks(level.layout.c_rows)


def c_relaxation(level: Level, weight: float) -> None:
    """Step to each C-point from the F-point before it, in place.

    ``u_C <- weight (Phi(u_{C-1}) + f_C) + (1 - weight) u_C``. Not collective: row 0 is up to date
    after F-relaxation.
    """
    # From the last to the first: where all points are C-points, no step may begin at a new one.
    for chunk in reversed(list(level.chunks(level.layout.c_rows))):
        before, rows = range(chunk.start - 1, chunk.stop - 1, chunk.step), level.place(chunk)
        if weight == 1.0:
            level.step_rows(before)
            continue
        old = (1.0 - weight) * level.trajectory[rows]
        level.step_rows(before)
        level.trajectory[rows] *= weight
        level.trajectory[rows] += old
