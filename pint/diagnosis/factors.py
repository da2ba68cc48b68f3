"""Two-level convergence factors, and the residuals that a solve is going to have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pint.diagnosis.histories import Residuals
from pint.equations import AdjointState, Cycles, State
from pint.mgrit import Accuracy
from pint.mgrit.cycle import Smoother
from pint.mgrit.perturbation import Perturbation
from pint.reduced_functional import ReducedFunctional
from pint.states import Block

Equation = Literal["state", "adjoint"]

LARGEST = 1e12
"""An error that grows by more in a cycle has overflown."""


@dataclass(frozen=True)
class Factor:
    """How two neighbouring levels converge, from random errors of the C-points.

    Attributes
    ----------
    level : int
        The finer one.
    coarsening : int
    relaxation : str
    equation : 'state' or 'adjoint'
    ratios : tuple of float
        By which each cycle changes the norm of the error, without rounding; infinite where coarse
        steps overflow.
    theory : float or None
        What the eigenvalues of linear steps that are all alike say of `value`; None otherwise.
    bound : float or None
        The largest value for any error, by the eigenvalues (normal steps).
    """

    level: int
    coarsening: int
    relaxation: str
    equation: Equation
    ratios: tuple[float, ...]
    theory: float | None = None
    bound: float | None = None

    @property
    def value(self) -> float:
        """The largest ratio: cycles change the error by about so much where they are slowest.

        The first cycles damp what they damp well. The last ones before the exact solution, which
        is reached after finitely many, damp more.
        """
        return max(self.ratios, default=0.0)


@dataclass(frozen=True)
class Equations:
    """A functional with its exact state and adjoint, and the steps of both equations.

    Attributes
    ----------
    functional : ReducedFunctional
    state : State
    adjoint : AdjointState
    steps : dict
        The propagators, by equation.
    """

    functional: ReducedFunctional
    state: State
    adjoint: AdjointState
    steps: dict[str, Any]

    def perturbation(self, equation: Equation, depth: int = 0, levels: int = 2) -> Perturbation:
        """Return an equation near its solution. Collective."""
        one = self.functional.state if equation == "state" else self.functional.adjoint
        # The adjoint equation is linear, so that its errors need no solution.
        solution = self.state.points if equation == "state" else None
        return Perturbation(one.solver, self.steps[equation], depth, solution, levels)


def two_level_ratios(
    near: Perturbation, relaxation: str, cycles: int, seed: int = 0
) -> tuple[tuple[float, ...], Block]:
    """Return the ratios of at most `cycles` cycles, and the error of the slowest. Collective."""
    smoother = Smoother((relaxation.count("C"),) * len(near.solver.levels))

    def cycled(error: Block) -> tuple[Block, float]:
        return near.cycled(error, smoother)

    error = near.random(seed)
    return power_ratios(cycled, near.norm, error, cycles, near.noise)


def power_ratios(
    cycled: Callable[[Any], tuple[Any, float]],
    norm: Callable[[Any], float],
    error: Any,
    cycles: int,
    noise: float = 1e-14,
) -> tuple[tuple[float, ...], Any]:
    """Return ratios of norms from cycle to cycle, and the normalised error with the largest.

    An error whose ratio to the one before is at most `noise` is one: the levels solve exactly.
    """
    ratios: list[float] = []
    slowest = error
    for _ in range(cycles):
        error, _ = cycled(error)
        size = norm(error)
        if size <= noise:
            break
        if not size < LARGEST:  # or NaN: coarse steps overflow
            ratios.append(math.inf)
            break
        error = error / size
        ratios.append(size)
        if size >= max(ratios):
            slowest = error
        # The norms fall from here on: the end is near.
        if len(ratios) > 3 and ratios[-1] < ratios[-2] < ratios[-3] < 0.98 * max(ratios):
            break
    return tuple(ratios), slowest


def forecast(
    equations: Equations, equation: Equation, control: Any, accuracy: Accuracy, cycles: int
) -> Residuals:
    """Return the residuals to expect of a solve from the functional's first guess. Collective.

    The first cycle is made. The following ones are those of the linearised equation, from the
    error that the first one leaves.
    """
    functional, exact = equations.functional, equations.state
    first = Cycles(Accuracy(1, accuracy.absolute, accuracy.relative), truncated=True)
    trajectory: Any
    if equation == "state":
        trajectory = functional.state.new()
        functional.state.solve(trajectory, control, first)
    else:
        trajectory = functional.adjoint.new()
        functional.adjoint.solve(trajectory, exact, first)
    found, most = trajectory.convergence, functional.grid.steps // functional.grid.coarsening[0]
    if found.converged:
        return Residuals(found.residuals, found.bound, most)
    near = equations.perturbation(equation, levels=functional.grid.levels)
    solution = exact.points if equation == "state" else equations.adjoint.points
    error = near.difference(trajectory.points, solution)
    norms, solver = list(found.residuals), near.solver
    while len(norms) < cycles and norms[-1] > found.bound and math.isfinite(norms[-1]):
        size = near.norm(error)
        if size == 0:  # as after the last of the cycles that make the solution exact
            norms.append(0.0)
            break
        after, residual = near.cycled(error / size, solver.smoother, solver.f_cycle)
        norms.append(residual * size)
        error = after * size
    return Residuals(tuple(norms), found.bound, most)


def worst(factors: Iterable[Factor], relaxation: Sequence[str]) -> Factor | None:
    """Return the slowest two levels with the relaxation in use."""
    own = [factor for factor in factors if factor.relaxation == relaxation[factor.level]]
    return max(own, key=lambda factor: factor.value, default=None)
