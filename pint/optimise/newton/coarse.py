"""The begin of a run on a coarser time grid: a first step, and pairs for the preconditioner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from pint.comm import reduce
from pint.controls import Control, Regulariser, Smoothness, Tikhonov
from pint.controls.prolongation import carried
from pint.errors import NotFiniteError
from pint.grid import TimeGrid
from pint.optimise.point import Point
from pint.reduced_functional import ReducedFunctional

COARSEST = 16
"""Steps of a coarser time grid, at least."""

Pairs = list[tuple[Control, Control]]
Minimise = Callable[[ReducedFunctional, Control], tuple[Control, Pairs, dict[str, float]]]
"""Minimises on a coarser grid: returns the control, pairs and sweeps."""


class Linear(Regulariser):
    """``(s, u)`` in the metric for a fixed s, on coarser grids, too."""

    def __init__(self, slope: Control) -> None:
        self._slope = slope

    def value(self, control: Control) -> float:
        return control.space.pair(self.derivative(control), control)

    def derivative(self, control: Control) -> Control:
        space, slope = control.space, self._slope
        if space.grid.steps != slope.space.grid.steps:
            slope = carried(slope, space)
        return space.dual(Control(space, slope.vector))


@dataclass(frozen=True, eq=False)
class CoarseStep:
    """What a coarser time grid proposes.

    Attributes
    ----------
    step : Control
    pairs : list of (Control, Control)
        Directions and their products with the Hessian there, carried to the fine grid.
    sweeps : dict of str to float
        In sweeps over the fine grid.
    """

    step: Control
    pairs: Pairs
    sweeps: dict[str, float]


def coarse_grid(functional: ReducedFunctional, factor: int) -> TimeGrid | None:
    """Return every `factor`-th point of a grid, if the problem can be put there."""
    grid, fields = functional.grid, functional.controls.time_fields.values()
    if factor < 2 or grid.steps % factor or grid.steps // factor < COARSEST:
        return None
    if functional.problem.examples is not None or any(field.every > 1 for field in fields):
        return None
    if any(field.steps_bounded is not None for field in fields):
        return None
    # Terms that a user has written may be those of the grid alone.
    known = (Tikhonov, Smoothness, Linear)
    if not all(type(term) in known for term in functional.problem.regularisers):
        return None
    steps, factors = grid.steps // factor, grid.coarsening[1:]
    if not factors or prod(factors) > steps:
        return TimeGrid(np.array(grid.t[::factor]), 2, 1, grid.comm)
    return TimeGrid(np.array(grid.t[::factor]), factors, len(factors) + 1, grid.comm)


def coarse_step(
    functional: ReducedFunctional, point: Point, factor: int, minimise: Minimise
) -> CoarseStep | None:
    """Return the step to the optimum of the coarser problem; None where there is none. Collective.

    That problem has a linear term, so that its gradient at the control of `point` is the fine one:
    no step leads away from an optimum [1]_.

    References
    ----------
    .. [1] Nash, Optim. Methods Softw. 14 (2000), 99, doi:10.1080/10556780008805795.
    """
    grid = coarse_grid(functional, factor)
    if grid is None:
        return None
    rough, fine = functional.on(grid, unconverged="ignore"), functional.controls
    start = rough.controls.project(carried(point.control, rough.controls))
    if not _fits(rough, start):
        return None
    try:
        slope = carried(point.gradient, rough.controls) - rough.gradient(start)
        terms = (*functional.problem.regularisers, Linear(slope))
        shifted = rough.of(replace(functional.problem, regularisers=terms))
        control, pairs, sweeps = minimise(shifted, start)
    except NotFiniteError:  # alike on all ranks
        return None
    sweeps = {name: (count + (name != "tangent")) / factor for name, count in sweeps.items()}
    fine_pairs = [(carried(s, fine), carried(y, fine)) for s, y in pairs]
    return CoarseStep(carried(control - start, fine), fine_pairs, sweeps)


def _fits(rough: ReducedFunctional, control: Control) -> bool:
    """Whether the first step of each rank and its cost can be evaluated on a grid. Collective.

    Measured data, for example, belong to the points of one grid.
    """
    calls, grid, fits = rough.calls, rough.grid, True
    rows = range(min(1, grid.local_steps))
    try:
        with np.errstate(all="ignore"):
            for here, _, s, u in calls.visit(rows, control, 1):
                y, after = calls.space.allocate(1), calls.space.allocate(1)
                blocks = {name: values[:1] for name, values in control.time.items()}
                starts = range(grid.first, grid.first + 1)
                calls.step(0, starts, blocks, control.shared, y, after)
                if calls.problem.objective.has_step_cost:
                    states = (y, after) if isinstance(here, slice) else (y[0], after[0])
                    calls.objective.step_cost(s, *states, u, control.shared)
    except (ValueError, IndexError, TypeError):
        fits = False
    return bool(reduce(rough.space.comm, reduce(grid.comm, fits, "min"), "min")[0])


def complement(functional: ReducedFunctional, factor: int) -> Control:
    """Return a normal direction, alike on any number of ranks, that the coarser grid misses.

    Collective.
    """
    random, space, values = np.random.default_rng(0), functional.controls, {}
    for name in space.fields:
        steps = (functional.grid.steps,) if name in space.time_fields else ()
        values[name] = random.standard_normal((*steps, *space.block_shape(name)))
    direction = space.control(**values)
    grid = coarse_grid(functional, factor)
    if grid is None:
        return direction
    rough = functional.problem.control_space(grid)
    missed = direction - carried(carried(direction, rough), space)
    return missed if space.norm(missed) > 0 else direction
