"""The same method from several starts: the best of their optima."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pint.controls import Control
from pint.errors import check_kind, integer, number
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.method import Callback, Method
from pint.optimise.result import Result, Status
from pint.reduced_functional import ReducedFunctional

WAVES = 4
"""Cosines that a random change of a control is made of."""


@dataclass(frozen=True)
class MultiStart(Method):
    r"""Minimise from the given start, and from random ones beside it; the best result counts.

    A random start adds :math:`s \sum_{k=0}^{3} a_k \cos(k π t/T) / (k + 1)`, with normal numbers
    :math:`a_k`, to each number of a time-dependent field, and :math:`s a_0` to each shared one;
    it is projected to the bounds. Starts do not depend on the number of ranks. The result is the
    least objective among the runs that have converged, else among all, those that violate
    constraints least first; its `stages` are
    all runs, in order, the given start first. The callback sees all runs.

    Parameters
    ----------
    method : Method
        Of every run: `GaussNewton()`, `ReducedSpace()`, ...
    starts : int
        Number of runs.
    size : float
        s, in the units of the control.
    seed : int
        Of the random numbers.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    method: Method
    starts: int = 8
    size: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("MultiStart", "method", self.method, Method, "a method, `pint.GaussNewton()`")
        integer("MultiStart", "starts", self.starts, 1)
        integer("MultiStart", "seed", self.seed, 0)
        number("MultiStart", "size", self.size, positive=True)

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        self.method.check(problem, grid)

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        start, best, stages = functional.controls.project(start), None, []
        for number_of_run in range(self.starts):
            control = start if number_of_run == 0 else self._random(start, number_of_run)
            result = self.method.run(functional, control, callback, None)
            stages.append(result.stage())
            # One at a time, so that states of two runs at most need memory.
            if best is None or _merit(result) < _merit(best):
                best = result
            if result.status is Status.STOPPED:
                break
        assert best is not None
        return replace(best, stages=tuple(stages))

    def _random(self, start: Control, number_of_run: int) -> Control:
        """Return a random start beside another. Not collective."""
        space, random = start.space, np.random.default_rng([self.seed, number_of_run])
        grid, changed = space.grid, start.copy()
        whole = grid.t[grid.first : grid.last + 1]
        middle = (0.5 * (whole[1:] + whole[:-1]) - grid.t[0]) / (grid.t[-1] - grid.t[0])
        waves = np.cos(np.pi * np.outer(middle, np.arange(WAVES))) / np.arange(1, WAVES + 1)
        for name, field in space.fields.items():
            numbers = self.size * random.standard_normal((WAVES, *field.shape))
            if name in space.time_fields:
                changed[name][...] += np.tensordot(waves, numbers, 1)
            else:
                changed[name][...] += numbers[0]
        for name, mesh in space.meshes.items():
            changed[name][...] = mesh.project(changed[name])
        return space.project(changed)


def _merit(result: Result) -> tuple[bool, float, float]:
    """Return what is smaller for a better run: first whether it has not converged."""
    if result.status is Status.CONVERGED:
        return False, 0.0, result.objective
    violation = max(result.constrained.violations) if result.constrained else 0.0
    return True, violation, result.objective
