"""A way to solve a problem: its levels and what is done on them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import Correction
from pint.mgrit.solver import relaxation_counts
from pint.reduced_functional import ReducedFunctional
from pint.steppers import SDIRK, RungeKutta, Theta
from pint.steppers.coarsening import coarse_step
from pint.steppers.runge_kutta import RungeKuttaAdjoint
from pint.steppers.sdirk import SDIRKAdjoint
from pint.steppers.theta import ThetaAdjoint

READY_MADE: dict[type, Any] = {
    RungeKutta: RungeKuttaAdjoint,
    Theta: ThetaAdjoint,
    SDIRK: SDIRKAdjoint,
}
"""Steppers that take another step on coarse levels, and their adjoints."""


@dataclass(frozen=True)
class Setup:
    """Levels, coarsening factors and relaxation; one level is sequential stepping.

    Attributes
    ----------
    coarsening : tuple of int
        As `TimeGrid.coarsening`, one factor for each level but the coarsest.
    relaxation : tuple of str
        One word for each level but the coarsest.
    coarse : str or None
        The step of coarse levels, a name of `pint.coarse`; None for that of the problem.
    correction : 'full', int or None
        As for `ReducedFunctional`.
    """

    coarsening: tuple[int, ...] = ()
    relaxation: tuple[str, ...] = ()
    coarse: str | None = None
    correction: Correction = None

    @classmethod
    def of(cls, functional: ReducedFunctional) -> Setup:
        """Return the set-up of a functional."""
        counts = functional.state.solver.smoother.counts
        words = tuple("F" + "CF" * count for count in counts[: functional.grid.levels - 1])
        return cls(functional.grid.coarsening, words, correction=functional.correction)

    @property
    def levels(self) -> int:
        """The number of levels."""
        return len(self.coarsening) + 1

    def functional(self, functional: ReducedFunctional) -> ReducedFunctional:
        """Return the functional of the same problem with this set-up. Collective."""
        old = functional.grid
        grid = TimeGrid(old.t, self.coarsening or 2, self.levels, old.comm)
        if self.coarse is not None:
            problem = with_coarse_step(functional.problem, self.coarse)
            if problem is None:
                raise ValueError(
                    f"`Setup(coarse={self.coarse!r})` is for steps of `RungeKutta`, `Theta` and "
                    f"`SDIRK`, got {type(functional.problem.stepper).__name__}."
                )
            functional = functional.of(problem)
        return functional.on(
            grid,
            relaxation=self.relaxation or "F",
            correction=self.correction,
            unconverged="ignore",
        )

    def cycle_steps(self, steps: int, ranks: int = 1) -> int:
        """Return the steps of a V-cycle that follow each other on one of many ranks."""
        if self.levels == 1:
            return steps
        total, counts = 0, relaxation_counts(self.relaxation, self.levels)
        for level, (factor, count) in enumerate(zip(self.coarsening, counts, strict=True)):
            intervals = steps // factor
            own = -(-intervals // ranks) * factor
            # Below level 0: relaxation, its right-hand side, and F-relaxation on the way up.
            total += own * (count + 1) + (2 * own - own // factor if level > 0 else 0)
            steps = intervals
        return total + steps + -(-steps // ranks)

    def __str__(self) -> str:
        if self.levels == 1:
            return "one level (sequential steps)"
        text = f"{self.levels} levels, m = {_short(self.coarsening)}, {_short(self.relaxation)}"
        text += f", coarse={self.coarse}" if self.coarse is not None else ""
        return f"{text}, correction={self.correction}" if self.correction is not None else text


def with_coarse_step(problem: Problem, name: str) -> Problem | None:
    """Return a problem with another step on coarse levels; None unless it is a ready-made one."""
    stepper: Any = problem.stepper
    kind = READY_MADE.get(type(stepper))
    if kind is None or type(problem.adjoint) is not kind:
        return None
    stepper = copy.copy(stepper)
    stepper.coarse = coarse_step("`Setup(coarse=...)`", name)
    adjoint: Any = kind
    return replace(problem, stepper=stepper, adjoint=adjoint(stepper), tangent=None)


def _short(values: tuple[object, ...]) -> str:
    """Return equal values once, others in order."""
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values))
