"""A control, and states, on another time grid or mesh: deeper networks from shallower ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import scipy.sparse

from pint.comm import agreeing
from pint.controls.control import Control
from pint.controls.space import ControlSpace, described
from pint.errors import check_choice, check_kind, real_array
from pint.grid.timegrid import TimeGrid


def prolong(
    control: Control,
    space: ControlSpace,
    interpolate: Literal["constant", "linear"] = "constant",
    *,
    in_space: Mapping[str, Any] | None = None,
) -> Control:
    """Return a control of another number of steps, or mesh, as a control of `space`. Collective.

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
    in_space : mapping of str to matrix or callable, optional
        For fields on another mesh: the matrix, dense or sparse, that takes the numbers of a block
        to those on the new mesh, or a function of an array of blocks.

    Raises
    ------
    ValueError
        If the fields, their shapes or the times differ, `interpolate` is unknown, or blocks do not
        have their new shapes.

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
        others = dict(in_space or {})
        _check_fields(control.space, space, others)
        _check_times(control.space.grid, space.grid)
        ranks.same = {"interpolate": interpolate, "in_space": list(others)}
    return space.project(carried(control, space, interpolate, others))


def carried(
    control: Control,
    space: ControlSpace,
    interpolate: Literal["constant", "linear"] = "constant",
    others: Mapping[str, Any] = MappingProxyType({}),
) -> Control:
    """Do what `prolong` does without a look at the bounds, as for directions. Collective."""
    old, new = control.space.grid, space.grid
    weights = _means(old, new) if interpolate == "constant" else _interpolation(old, new)
    values = {}
    for name, blocks in control.gather().items():
        if name in space.time_fields:
            rows: Any = weights @ blocks.reshape(old.steps, -1)
            blocks = rows.reshape(new.steps, *blocks.shape[1:])
        if name in others:
            shape, in_time = space.block_shape(name), name in space.time_fields
            moved = _moved(blocks if in_time else blocks[None], others[name], shape, name)
            blocks = moved if in_time else moved[0]
        values[name] = blocks
    return space.control(**values)


def prolong_states(
    states: np.ndarray, old: TimeGrid, new: TimeGrid, in_space: Any = None
) -> np.ndarray:
    """Return states at all points of another grid, by linear interpolation in time. Not collective.

    For example for ``GaussNewton(start_states=...)``.

    Parameters
    ----------
    states : array of shape (N + 1, ...)
        At all points of `old`, as `Result.states` returns them.
    old, new : TimeGrid
        From the same first to the same last time.
    in_space : matrix or callable, optional
        For states on another mesh: as in `prolong`.

    Raises
    ------
    ValueError
        If there are not as many states as points, the times differ, or the matrix does not fit.
    """
    check_kind("prolong_states", "old", old, TimeGrid, "a TimeGrid")
    check_kind("prolong_states", "new", new, TimeGrid, "a TimeGrid")
    _check_times(old, new)
    values = real_array("prolong_states(states)", states)
    if values.ndim < 1 or len(values) != old.steps + 1:
        raise ValueError(
            f"`prolong_states(states)` must have {old.steps + 1} states, one for each point of "
            f"`old`, got shape {values.shape}."
        )
    t, at = np.asarray(old.t), np.asarray(new.t)
    left = np.clip(np.searchsorted(t, at) - 1, 0, old.steps - 1)
    share = ((at - t[left]) / (t[left + 1] - t[left])).reshape(-1, *(1,) * (values.ndim - 1))
    found: np.ndarray = (1 - share) * values[left] + share * values[left + 1]
    return found if in_space is None else _moved(found, in_space, None, "")


def _moved(blocks: np.ndarray, move: Any, shape: tuple[int, ...] | None, name: str) -> np.ndarray:
    """Return blocks on another mesh; ValueError unless they then have the given shape."""
    of = f"[{name!r}]" if name else ""
    if callable(move):
        moved = np.asarray(move(blocks))
    else:
        rows = blocks.reshape(len(blocks), -1)
        if np.ndim(move) != 2 or move.shape[1] != rows.shape[1]:
            raise ValueError(
                f"`prolong(in_space=...)`{of} must be a matrix with {rows.shape[1]} columns, got "
                f"shape {np.shape(move)}."
            )
        moved = np.asarray((move @ rows.T).T)
    if shape is not None and moved.size == len(blocks) * np.prod(shape, dtype=int):
        moved = moved.reshape(len(blocks), *shape)
    if len(moved) != len(blocks) or (shape is not None and moved.shape[1:] != shape):
        raise ValueError(
            f"`prolong(in_space=...)`{of} must make blocks of shape {shape}, got {moved.shape[1:]}."
        )
    return moved


def _check_times(old: TimeGrid, new: TimeGrid) -> None:
    ends = np.array([[grid.t[0], grid.t[-1]] for grid in (old, new)], dtype=float)
    if not np.allclose(ends[0], ends[1], rtol=0, atol=1e-12 * (ends[0, 1] - ends[0, 0])):
        raise ValueError(
            f"`prolong(space=...)`: its times run from {ends[1, 0]} to {ends[1, 1]}, those of the "
            f"control from {ends[0, 0]} to {ends[0, 1]}; use the same final time."
        )


def _check_fields(old: ControlSpace, new: ControlSpace, others: Mapping[str, Any]) -> None:
    for name in others:
        if name not in new.fields or name not in old.fields:
            raise ValueError(f"`prolong(in_space=...)` names `{name}`, which is no field of both.")
    before, after = (
        {name: text for name, text in described(space).items() if name not in others}
        for space in (old, new)
    )
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            raise ValueError(
                f"`prolong(space=...)`: the field `{name}` is not the same field of the same "
                "shape in the control and in `space`; `in_space` takes it to another mesh."
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
