"""The user's stepper and adjoint on the levels of a grid, looked up once."""

from __future__ import annotations

from collections.abc import Sequence

from pint.equations.calls.watch import ByLevel, watched
from pint.errors import overrides, shown
from pint.grid import TimeGrid
from pint.interface import Adjoint, Problem, TimeStepper
from pint.states import LevelTransfer, StateSpace, Transfer


class Levels:
    """The stepper and the adjoint of each level, and their methods as loops call them.

    Coarsened and looked up once, since loops make millions of calls.

    Parameters
    ----------
    problem : Problem
    grid : TimeGrid

    Attributes
    ----------
    batched : bool
        Whether a call makes many steps.
    steppers, adjoints : list
        By level.
    spaces : list of StateSpace
        Of the states, by level.
    transfers : list of (LevelTransfer or None)
        By level: between its states and those of the next finer level; None where they are the
        same.
    step, vjp : list
        By level; their first calls are watched.
    own_step : list
        By level: `Adjoint.step` where a class defines it, else None.
    advances, advances_back : list of bool
        By level: whether the stepper and the adjoint make runs of steps.
    watches : list of Watch
        Those of the first calls.

    Raises
    ------
    ValueError
        If steps are batched and the space of the states does not allow for it, or the states of a
        coarse level do not fit those of the finer one.
    """

    def __init__(self, problem: Problem, grid: TimeGrid) -> None:
        space = problem.space
        self.batched = problem.stepper.batched
        if self.batched and not space.batches:
            raise ValueError(
                f"`{type(problem.stepper).__name__}.batched` must be False for states of a "
                f"{type(space).__name__}, which lends one state at a time."
            )
        coarse = range(1, grid.levels)
        self.steppers = [problem.stepper, *(problem.stepper.coarsen(level) for level in coarse)]
        self.adjoints = [problem.adjoint, *(problem.adjoint.coarsen(level) for level in coarse)]
        self.spaces, self.transfers = spaces_of(self.steppers, space)
        steppers = zip(self.spaces, self.steppers, strict=True)
        adjoints = list(zip(self.spaces, self.adjoints, strict=True))
        self.step = ByLevel(space.native(stepper.step, (1,)) for space, stepper in steppers)
        self.vjp = ByLevel(space.native(adjoint.vjp, (1, 4)) for space, adjoint in adjoints)
        # `Adjoint.step` itself calls `vjp`: only a method of the user's can be cheaper.
        self.own_step = ByLevel(
            space.native(adjoint.step, (1, 4)) if overrides(adjoint, Adjoint, "step") else None
            for space, adjoint in adjoints
        )
        self.watches = [
            watched(methods, level, owners[level], name)
            for methods, owners, name in (
                (self.step, self.steppers, "step"),
                (self.vjp, self.adjoints, "vjp"),
                (self.own_step, self.adjoints, "step"),
            )
            for level in range(grid.levels)
            if methods[level] is not None
        ]
        self.advances = [overrides(one, TimeStepper, "advance") for one in self.steppers]
        self.advances_back = [overrides(one, Adjoint, "advance") for one in self.adjoints]


def spaces_of(
    steppers: Sequence[TimeStepper], space: StateSpace
) -> tuple[list[StateSpace], list[LevelTransfer | None]]:
    """Return the space of the states of each level, and what lies between it and the finer one.

    `steppers` are those of all levels, `space` that of the first. Collective in space.

    Raises
    ------
    TypeError
        If `TimeStepper.transfer` returns anything else than a Transfer or None.
    ValueError
        If a transfer does not fit the spaces, or is missing.
    """
    finest, spaces = steppers[0], [space]
    transfers: list[LevelTransfer | None] = [None]
    for level, stepper in enumerate(steppers[1:], 1):
        name = f"`{type(finest).__name__}.transfer({level})`"
        found = finest.transfer(level)
        if found is None:
            _require_same_states(stepper, spaces[-1], name)
            spaces.append(spaces[-1])
            transfers.append(None)
            continue
        if not isinstance(found, Transfer):
            raise TypeError(f"{name} must be a pint.Transfer or None, got {shown(found)}.")
        if stepper.batched != finest.batched:
            raise ValueError(
                f"`{type(stepper).__name__}.batched` must be {finest.batched}, as that of the "
                "stepper of level 0."
            )
        spaces.append(stepper.space)
        transfers.append(found.between(spaces[-2], spaces[-1], stepper.batched, name))
    return spaces, transfers


def _require_same_states(stepper: TimeStepper, space: StateSpace, name: str) -> None:
    """Raise ValueError if a coarse stepper has other states, without a transfer to them."""
    # A stepper of coarse levels alone may do without an initial state, and so without a space.
    known = getattr(stepper, "initial_state", None) is not None
    if not known and type(stepper).space is TimeStepper.space:
        return
    if stepper.space.shape != space.shape:
        raise ValueError(
            f"{name} is None, but the stepper of that level, `{type(stepper).__name__}`, has "
            f"states of shape {stepper.space.shape}, the one before of shape {space.shape}: "
            "return a pint.Transfer between them."
        )
