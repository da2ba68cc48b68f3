"""Set-ups tried out: the cycles and steps that a gradient takes with each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.diagnosis.histories import Residuals
from pint.diagnosis.setup import Setup
from pint.equations import Cycles, March
from pint.mgrit import MGRIT, Accuracy
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class Trial:
    """A set-up, and the residuals of a state and an adjoint solve with it.

    Attributes
    ----------
    setup : Setup
    state, adjoint : Residuals
    steps : float or None
        Steps evaluated by all ranks on all levels until both meet the tolerance, extrapolated
        where the trial was ended before; None if a solve does not converge.
    ranks : int or None
        About the ranks from which on the two solves take less time than two sequential ones, by
        the steps that follow each other; None if there is no such number.
    transposes : int
        Transposes of each step that a state cycle takes for the linear correction, the adjoint
        once: the numbers of a state, or 0 without. They count as steps.
    """

    setup: Setup
    state: Residuals
    adjoint: Residuals
    steps: float | None
    ranks: int | None
    transposes: int = 0

    @property
    def cycles(self) -> int | None:
        """Cycles of the slower of the two solves."""
        both = (self.state.cycles, self.adjoint.cycles)
        return None if None in both else max(both)  # type: ignore[type-var]

    @property
    def pays(self) -> bool:
        """Whether both converge well before they are exact, in half the cycles for that."""
        return self.cycles is not None and 2 * self.cycles <= max(self.state.most, 2)


FAR = 1e4
"""A residual that has grown by so much will not fall in time."""


def tried(
    setup: Setup,
    functional: ReducedFunctional,
    control: Control,
    accuracy: Accuracy,
    cycles: int,
    limit: float,
) -> tuple[Trial, float]:
    """Return a trial, and the steps that it has taken. Collective.

    Parameters
    ----------
    setup : Setup
    functional : ReducedFunctional
        With this set-up.
    control : Control
    accuracy : Accuracy
        With a tolerance.
    cycles : int
        Most cycles of a solve.
    limit : float
        A solve ends once it is expected to take more steps.
    """
    state, adjoint = functional.state.new(), functional.adjoint.new()

    def solve_state(how: Any) -> Any:
        functional.state.solve(state, control, how)
        return state.convergence

    def solve_adjoint(how: Any) -> Any:
        functional.adjoint.solve(adjoint, state, how)
        return adjoint.convergence

    grid, many = functional.grid, 0
    if setup.correction is not None:
        many = int(np.prod(functional.space.shape, dtype=int))
    # Derivatives of all levels in each cycle; those of the adjoint are the same in all cycles.
    derivatives = many * sum(grid.steps // stride for stride in grid.strides)
    most = grid.steps // grid.coarsening[0]
    solvers = functional.state.solver, functional.adjoint.solver
    options = accuracy, cycles, most
    forward, steps, spent = _solved(solve_state, solvers[0], *options, limit, each=derivatives)
    total = spent
    backward = Residuals((), 0.0, most)
    if forward.cycles is not None and steps <= limit:
        if not forward.met:
            functional.state.solve(state, control, March())
            total += grid.steps
        once = many * grid.steps
        backward, more, spent = _solved(
            solve_adjoint, solvers[1], *options, limit - steps, once=once
        )
        steps, total = steps + more, total + spent
    whole = forward.cycles is not None and bool(backward.norms) and backward.cycles is not None
    ranks = _fewest(setup, grid.steps, forward, backward, many) if whole else None
    return Trial(setup, forward, backward, steps if whole else None, ranks, many), total


def _solved(
    solve: Callable[[Any], Any],
    solver: MGRIT,
    accuracy: Accuracy,
    cycles: int,
    most: int,
    limit: float,
    each: float = 0.0,
    once: float = 0.0,
) -> tuple[Residuals, float, float]:
    """Return the residuals of a solve, the steps to its tolerance, and those it has taken.

    `each` are to be added for each cycle, `once` for the solve.
    """
    one = Accuracy(1, accuracy.absolute, accuracy.relative)
    norms: list[float] = []
    before, counts = _count(solver), []
    for number in range(min(cycles, most + 10)):
        found = solve(Cycles(one, relaxed=number > 0, truncated=True))
        norms += found.residuals
        counts.append(_count(solver) - before + once + each * (number + 1))
        history = Residuals(tuple(norms), found.bound, most)
        if found.converged or not np.isfinite(norms[-1]):
            break
        if number > 1 and history.cycles is not None and _steps(history, counts) > limit:
            break
        # Where steps are nonlinear residuals may grow a bit before they fall.
        if (number > 4 and history.cycles is None) or norms[-1] > FAR * norms[0]:
            break
    return history, _steps(history, counts), float(counts[-1])


def _steps(history: Residuals, counts: list[float]) -> float:
    """Return the steps to the tolerance; each cycle beyond takes as many as the last one."""
    if history.met or history.cycles is None:
        return counts[-1]
    each = counts[-1] - counts[-2] if len(counts) > 1 else counts[-1]
    return counts[-1] + each * (history.cycles - len(history.norms))


def _count(solver: MGRIT) -> float:
    """Return the steps that all ranks have evaluated on all levels. Collective."""
    return float(reduce(solver.comm, sum(solver.steps_evaluated))[0])


def critical_steps(
    setup: Setup, steps: int, ranks: int, state: Residuals, adjoint: Residuals, transposes: int
) -> int:
    """Return the steps of both solves that follow each other on one of many ranks, about."""
    forward, backward = state.cycles or 0, adjoint.cycles or 0
    own = -(-steps // ranks)  # also of the F-relaxation after the last cycles
    cycles = (forward + backward) * setup.cycle_steps(steps, ranks)
    return cycles + 2 * own + transposes * own * (forward + 1)


def _fewest(
    setup: Setup, steps: int, state: Residuals, adjoint: Residuals, transposes: int
) -> int | None:
    ranks = 1
    while ranks <= 2 * max(state.most, 1):
        if critical_steps(setup, steps, ranks, state, adjoint, transposes) < 2 * steps:
            return ranks
        ranks *= 2
    return None


def candidates(
    own: Setup, steps: int, ranks: int, coarse: Sequence[str] = (), corrects: bool = False
) -> Iterator[Setup]:
    """Yield other set-ups to try: relaxation, `coarse` steps, other factors, fewer levels.

    With `corrects` also the full linear correction of coarse steps.
    """
    relaxations = ("F", "FCF", "FCFCF")
    found = {own}
    inner = max(own.levels - 1, 1)
    proposals = [replace(own, relaxation=(word,) * inner) for word in relaxations]
    if corrects:
        alone = replace(proposals[0], correction="full")
        proposals += [alone, *(replace(alone, coarse=name) for name in coarse)]
        proposals += [Setup((m,), ("F",), correction="full") for m in (8, 16, 32)]
    for name in coarse:
        proposals += [replace(one, coarse=name) for one in (own, *proposals[:2])]
        proposals += [Setup((8,), (word,), name) for word in relaxations[:2]]
    # Factors in the middle first: they set a low limit for all that follows.
    proposals += [Setup((m,), (word,)) for m in (8, 16, 4, 32, 2) for word in ("F", "FCF")]
    proposals += [Setup(factors, ("FCF", "FCF")) for factors in ((8, 4), (4, 4), (16, 4), (2, 2))]
    proposals += [
        Setup(own.coarsening[:count], (word,) * count)
        for count in range(1, own.levels - 1)
        for word in relaxations[:2]
    ]
    for setup in proposals:
        coarsest = steps // int(np.prod(setup.coarsening))
        if setup not in found and coarsest >= 2 and steps // setup.coarsening[0] >= ranks:
            found.add(setup)
            yield setup
