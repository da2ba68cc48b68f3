"""Controls restricted to the intervals of coarse steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pint.controls.fields import TimeControl
from pint.controls.halo import coarse_halo
from pint.grid.timegrid import TimeGrid


class Restriction:
    """The restriction of time-dependent fields to the steps of all levels.

    Parameters
    ----------
    grid : TimeGrid
    fields : mapping of str to TimeControl
    """

    def __init__(self, grid: TimeGrid, fields: Mapping[str, TimeControl]) -> None:
        self.grid, self.fields = grid, fields
        whole = any(field.restrict != "inject" for field in fields.values())
        self._halos = {reverse: coarse_halo(grid, whole, reverse) for reverse in (False, True)}

    def levels(
        self, fields: Mapping[str, np.ndarray], reverse: bool
    ) -> list[dict[str, np.ndarray]]:
        """Return the blocks of each level's steps: see `ControlSpace.restrict`. Collective."""
        levels, grid = [dict(fields)], self.grid
        if grid.levels == 1:
            return levels
        halo = self._halos[reverse]
        available = {name: halo.extend(values) for name, values in fields.items()}
        for layout in grid.layouts(reverse)[1:]:
            starts = np.arange(layout.first, layout.last) * layout.stride
            if reverse:
                starts = (grid.steps - starts - layout.stride)[::-1]
            rows = halo.rows(starts)
            levels.append(
                {
                    name: self._restricted(name, blocks, rows, starts, layout.stride)
                    for name, blocks in available.items()
                }
            )
        return levels

    def _restricted(
        self, name: str, blocks: np.ndarray, rows: np.ndarray, starts: np.ndarray, stride: int
    ) -> np.ndarray:
        """Return a field's blocks of the coarse steps that cover `stride` blocks from `rows`."""
        restrict = self.fields[name].restrict
        if restrict == "inject":
            return blocks[rows]
        covered = np.arange(stride)
        dt = np.diff(self.grid.t[starts[:, None] + np.arange(stride + 1)])
        fine = blocks[rows[:, None] + covered]
        if restrict == "mean":
            return np.einsum("ij,ij...->i...", dt / dt.sum(axis=1, keepdims=True), fine)
        coarse = np.empty((len(rows), *blocks.shape[1:]))
        for row, (some, sizes) in enumerate(zip(fine, dt, strict=True)):
            block = restrict(some, sizes)
            if np.shape(block) != coarse.shape[1:]:
                raise ValueError(
                    f"`TimeControl(restrict=...)` of `{name}` must return a block of shape "
                    f"{coarse.shape[1:]}, got {np.shape(block)}."
                )
            coarse[row] = block
        return coarse
