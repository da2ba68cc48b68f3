"""A control on another time grid: deeper networks from shallower ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse

from pint.comm import agreeing
from pint.controls.control import Control
from pint.controls.space import ControlSpace, described
from pint.errors import check_choice, check_kind
from pint.grid.timegrid import TimeGrid


def prolong(
    control: Control,
    space: ControlSpace,
    interpolate: Literal["constant", "linear"] = "constant",
) -> Control:
    """Return a control of another number of steps as a control of `space`. Collective.

    The time-dependent fields are functions of time; shared fields are copied. The grids may have
    any numbers of steps, finer or coarser, and any ranks. Every rank gathers all fields: O(N).

    Parameters
    ----------
    control : Control
    space : ControlSpace
        With the same fields, on a grid from the same first to the same last time.
    interpolate : 'constant' or 'linear'
        A block is the mean of the old piecewise constant control over the new step, which is a
        copy where the old step covers the new one; or that of the piecewise linear function
        through the old blocks at the midpoints of their steps, at the midpoint of the new step.

    Raises
    ------
    ValueError
        If the fields, their shapes or the times differ, or `interpolate` is unknown.

    Examples
    --------
    >>> import pint
    >>> coarse, fine = (
    ...     pint.ControlSpace(pint.TimeGrid.uniform(1.0, steps), u=pint.TimeControl(1))
    ...     for steps in (2, 4)
    ... )
    >>> control = coarse.control(u=[[1.0], [3.0]])
    >>> prolong(control, fine)["u"].ravel().tolist()
    [1.0, 1.0, 3.0, 3.0]
    >>> prolong(control, fine, "linear")["u"].ravel().tolist()
    [0.5, 1.5, 2.5, 3.5]
    """
    check_kind("prolong", "space", space, ControlSpace, "a ControlSpace: `functional.controls`")
    with agreeing(space.comm, "prolong", space.space_comm) as ranks:
        check_kind("prolong", "control", control, Control, "a pint.Control")
        check_choice("prolong", "interpolate", interpolate, ("constant", "linear"))
        _check_fields(control.space, space)
        _check_times(control.space.grid, space.grid)
        ranks.same = {"interpolate": interpolate}
    return space.project(carried(control, space, interpolate))


def carried(
    control: Control,
    space: ControlSpace,
    interpolate: Literal["constant", "linear"] = "constant",
) -> Control:
    """Do what `prolong` does without a look at the bounds, as for directions. Collective."""
    old, new = control.space.grid, space.grid
    weights = _means(old, new) if interpolate == "constant" else _interpolation(old, new)
    values = {}
    for name, blocks in control.gather().items():
        if name in space.time_fields:
            rows: Any = weights @ blocks.reshape(old.steps, -1)
            blocks = rows.reshape(new.steps, *blocks.shape[1:])
        values[name] = blocks
    return space.control(**values)


def _check_times(old: TimeGrid, new: TimeGrid) -> None:
    ends = np.array([[grid.t[0], grid.t[-1]] for grid in (old, new)], dtype=float)
    if not np.allclose(ends[0], ends[1], rtol=0, atol=1e-12 * (ends[0, 1] - ends[0, 0])):
        raise ValueError(
            f"`prolong(space=...)`: its times run from {ends[1, 0]} to {ends[1, 1]}, those of the "
            f"control from {ends[0, 0]} to {ends[0, 1]}; use the same final time."
        )


def _check_fields(old: ControlSpace, new: ControlSpace) -> None:
    before, after = described(old), described(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise ValueError(
                f"`prolong(space=...)`: the field `{name}` is not the same field of the same "
                "shape in the control and in `space`."
            )


def _means(old: TimeGrid, new: TimeGrid) -> Any:
    """Return the matrix whose row is the mean over a new step of what is constant on old ones."""
    # No interval between two points of either grid is shorter than rounding makes it.
    short = 1e-12 * (old.t[-1] - old.t[0])
    points = np.unique(np.concatenate([old.t[:], new.t[:]]))
    middles, lengths = 0.5 * (points[1:] + points[:-1]), np.diff(points)
    real = lengths > short
    middles, lengths = middles[real], lengths[real]
    rows, columns = (
        np.clip(np.searchsorted(grid.t[:], middles, side="right") - 1, 0, grid.steps - 1)
        for grid in (new, old)
    )
    shape = (new.steps, old.steps)
    overlaps = scipy.sparse.csr_matrix((lengths, (rows, columns)), shape=shape)
    sums = np.asarray(overlaps.sum(axis=1)).ravel()
    overlaps.data /= np.repeat(sums, np.diff(overlaps.indptr))
    return overlaps


def _interpolation(old: TimeGrid, new: TimeGrid) -> Any:
    """Return the matrix of linear interpolation between midpoints, extrapolation at the ends."""
    if old.steps == 1:
        return np.ones((new.steps, 1))
    middles, at = (0.5 * (grid.t[1:] + grid.t[:-1]) for grid in (old, new))
    left = np.clip(np.searchsorted(middles, at) - 1, 0, old.steps - 2)
    share = (at - middles[left]) / (middles[left + 1] - middles[left])
    places = (np.tile(np.arange(new.steps), 2), np.concatenate([left, left + 1]))
    values = np.concatenate([1 - share, share])
    return scipy.sparse.csr_matrix((values, places), shape=(new.steps, old.steps))
