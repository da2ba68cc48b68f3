"""Nested iteration: optimise on a coarse time grid first, continue on finer ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pint.comm import ending_all_ranks
from pint.controls import Control, prolong
from pint.errors import check_kind
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.ending import remaining
from pint.optimise.method import Callback, Method
from pint.optimise.result import Result, Stage
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Nested(Method):
    """Optimise on coarse time grids, one after the other, and then on the functional's grid.

    Each run starts from the control of the run before. The functionals on the coarse grids have
    the options of the one that is minimised, and are made when their turn comes. The result is
    that of the functional's grid; its `stages` are the runs on the coarse grids. The callback
    sees the iterates on the functional's grid alone. The start may be a control on any grid.

    Parameters
    ----------
    grids : sequence of TimeGrid
        With more and more steps, from the same first to the same last time as the functional's.
    method : Method
        Of every run: `ReducedSpace()`, `OneShot()`, ... Its limits of wall time and evaluations
        are for all runs together.
    interpolate : 'constant' or 'linear'
        Of `pint.prolong`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    grids: Sequence[TimeGrid]
    method: Method
    interpolate: Literal["constant", "linear"] = "constant"

    takes_any_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        grids = "a sequence of `pint.TimeGrid`"
        check_kind("Nested", "grids", self.grids, Sequence, grids)
        object.__setattr__(self, "grids", tuple(self.grids))
        for grid in self.grids:
            check_kind("Nested", "grids", grid, TimeGrid, grids)
        check_kind("Nested", "method", self.method, Method, "a method such as `pint.OneShot()`")
        if self.interpolate not in ("constant", "linear"):
            raise ValueError(
                f"`Nested(interpolate=...)` is 'constant' or 'linear', got {self.interpolate!r}."
            )

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        for coarse in self.grids:
            ends, expected = (np.asarray(g.t[[0, -1]], dtype=float) for g in (coarse, grid))
            # The times of a user may differ by rounding.
            if not np.allclose(ends, expected, rtol=0, atol=1e-12 * (expected[1] - expected[0])):
                raise ValueError(
                    f"`Nested(grids=...)`: the times of a grid run from {ends[0]} to {ends[1]}, "
                    f"those of the functional from {expected[0]} to {expected[1]}."
                )
        for each in (*self.grids, grid):
            self.method.check(problem, each)

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        stages: list[Stage] = []
        with ending_all_ranks(functional.ranks_to_end):
            method = self.method
            for grid in self.grids:
                stages.append(self._stage(functional, grid, start, method))
                start, method = stages[-1].control, remaining(method, stages[-1])
            start = prolong(start, functional.controls, self.interpolate)
            result = method.run(functional, start, callback, checkpoint)
        seconds = result.seconds + sum(stage.seconds for stage in stages)
        return replace(result, stages=tuple(stages), seconds=seconds)

    def _stage(
        self, functional: ReducedFunctional, grid: TimeGrid, start: Control, method: Method
    ) -> Stage:
        """Run a method on a coarse grid, whose functional and states end with it. Collective."""
        coarse = functional.on(grid)
        start = prolong(start, coarse.controls, self.interpolate)
        return method.run(coarse, start, None, None).stage()
