"""What constraints are at a state: their numbers, violations, and the penalty in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.equations import State
from pint.errors import NumericalError
from pint.optimise.constrained.calls import value_of
from pint.optimise.constrained.integrals import Layout
from pint.optimise.constrained.penalty import Augmented, Term
from pint.reduced_functional import ReducedFunctional
from pint.steppers.constraints import PathConstraint


@dataclass(frozen=True)
class Measured:
    """The constraints at a state.

    Attributes
    ----------
    numbers : tuple of ndarray
        Of each constraint: of a path constraint those of this rank's steps.
    violations : tuple of float
        The largest size of ``c``, or of its positive part, of each constraint.
    distances : tuple of float
        The same, but for inequalities ``max(c, -λ/ρ)``: zero if also the multipliers of those
        that are not active are zero.
    penalty : float
        What all terms add to the objective.
    """

    numbers: tuple[np.ndarray, ...]
    violations: tuple[float, ...]
    distances: tuple[float, ...]
    penalty: float

    def sizes(self, comm: Any) -> list[np.ndarray]:
        """Return the largest size of each number of each constraint, shapes (k,). Collective.

        Those that are not finite are left out; it is 1 where all are zero.
        """
        sizes = []
        for numbers in self.numbers:
            rows = np.abs(np.reshape(numbers, (-1, numbers.shape[-1])))
            finite = np.where(np.isfinite(rows), rows, 0.0).max(axis=0, initial=0.0)
            largest = np.asarray(reduce(comm, finite, "max"))
            sizes.append(np.where(largest > 0, largest, 1.0))
        return sizes


def measured(
    functional: ReducedFunctional,
    augmented: Augmented,
    layout: Layout | None,
    terms: Sequence[Term],
    state: State,
) -> Measured:
    """Return what constraints are at a state of the augmented problem. Collective."""
    grid, theta = functional.grid, state.solved_control.shared
    numbers = {id(term): np.zeros(term.multipliers.shape) for term in terms}
    total = 0.0
    if augmented.path:
        for _, y0, y1, s, u in functional.cost.visit(state):
            begin, end = (y0, y1) if layout is None else (layout.state(y0), layout.state(y1))
            for term in augmented.path:
                at = augmented.points(term.constraint, s, begin, end, u)
                rows = augmented.rows(s)
                values = _tried(term, *at, theta)
                numbers[id(term)][rows] = values
                total += float(np.reshape(s.dt, -1) @ term.value(values, rows))
    if functional.comm.rank == grid.last_rank:
        y, z = state.points[-1], None
        if layout is not None:
            y, z = layout.state(y), y[layout.count :]
        for term in augmented.end:
            at_end = functional.space.native(partial(_tried, term), (0,))
            numbers[id(term)][...] = at_end(y, theta)
        for term, part in augmented.parts(z):
            numbers[id(term)][...] = part
        total += sum(
            float(term.value(numbers[id(term)])) for term in terms if term not in augmented.path
        )
    for term in terms:
        if not isinstance(term.constraint, PathConstraint):
            numbers[id(term)] = np.asarray(reduce(functional.comm, numbers[id(term)]))
    found = tuple(numbers[id(term)] for term in terms)
    sizes = [size for term, c in zip(terms, found, strict=True) for size in _sizes(term, c)]
    largest = reduce(functional.comm, sizes, "max")
    return Measured(
        found,
        tuple(float(size) for size in largest[::2]),
        tuple(float(size) for size in largest[1::2]),
        float(reduce(functional.comm, total)[0]),
    )


def _tried(term: Term, *arguments: Any) -> Any:
    """Return the numbers of a constraint, NaN where it raises NumericalError."""
    try:
        return value_of(term.constraint, *arguments)
    except NumericalError:
        return np.nan


def _sizes(term: Term, c: np.ndarray) -> tuple[float, float]:
    """Return the violation of a constraint, and its distance, on this rank."""
    if term.constraint.equality:
        size = _largest(np.abs(c))
        return size, size
    slack = np.maximum(c, -term.multipliers / term.penalty)
    return _largest(c), _largest(np.abs(slack))


def _largest(numbers: np.ndarray) -> float:
    """Return the largest of some numbers and zero; infinity if one is NaN.

    MPI does not say what the largest of NaN and a number is.
    """
    return float(np.nan_to_num(numbers, nan=np.inf, posinf=np.inf).max(initial=0.0))
