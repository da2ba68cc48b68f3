"""The arguments for the tests of methods: of a few steps of each level."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pint.comm import agreeing
from pint.controls import Control, ControlSpace, SharedControl, TimeControl
from pint.equations import State
from pint.equations.calls.levels import spaces_of
from pint.errors import check_kind, integer
from pint.grid import Steps
from pint.interface import Problem
from pint.states import StateSpace

T = TypeVar("T")

Arguments = Mapping[str, Any]
"""Arguments and results by name; ``u`` and ``theta`` are mappings by field."""


def random_direction(control: Control, seed: int) -> Control:
    """Return a normal direction, each field scaled to its values in `control`. Collective.

    The same on any number of ranks. A field that is zero gets deviation 1.
    """
    random = np.random.default_rng(seed)
    values = {
        name: random.standard_normal(full.shape) * scale(full)
        for name, full in control.gather().items()
    }
    return control.space.control(**values)


def scale(values: Any) -> float:
    """Return the root of the mean square, 1 for zero."""
    return float(np.sqrt(np.mean(np.abs(np.asarray(values)) ** 2))) or 1.0


def _random_like(random: np.random.Generator, values: Any) -> Any:
    """Return normal numbers of the scale of `values`."""
    return scale(values) * random.standard_normal(np.shape(values))


@dataclass(frozen=True)
class Sample:
    """One call's arguments, and a direction for each of them."""

    at: Arguments
    along: Arguments


Place = tuple[str, str | None]


def places(problem: Problem, *states: str) -> list[Place]:
    """Return the named states, then every time-dependent field, then every shared one."""
    kinds = {"u": TimeControl, "theta": SharedControl}
    fields = [
        (key, name)
        for key, kind in kinds.items()
        for name, field in problem.controls.items()
        if isinstance(field, kind)
    ]
    return [*((state, None) for state in states), *fields]


def label(place: Place) -> str:
    """Return the name of a place in a report."""
    return place[0] if place[1] is None else f"{place[0]}[{place[1]!r}]"


def pick(arguments: Arguments, place: Place) -> Any:
    """Return the value at a place, None if it is missing."""
    value = arguments.get(place[0])
    return value if place[1] is None or value is None else value.get(place[1])


def replaced(arguments: Arguments, place: Place, value: Any) -> Arguments:
    """Return the arguments with another value at one place."""
    key, name = place
    return {**arguments, key: value if name is None else {**arguments[key], name: value}}


def mapped(arguments: Arguments, function: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the arguments with a function applied to every array."""
    return {
        key: mapped(value, function)
        if isinstance(value, Mapping)
        else (value if isinstance(value, Steps) else function(value))
        for key, value in arguments.items()
    }


def _samples(
    problem: Problem, levels: Levels, state: State, control: Control, seed: int
) -> list[list[Sample]]:
    """Return, for each level, arguments of its first, middle and last step. Collective.

    A rank has the samples of its own steps: one sample with a batch of them, or one for each. The
    random numbers belong to the step, whichever rank owns it.
    """
    grid = control.space.grid
    # Reversed, every coarse step of a rank begins at a point of that rank.
    restricted = control.space.restrict(control, reverse=True)
    theta_along = random_direction(control, seed).shared
    samples: list[list[Sample]] = []
    for layout, blocks in zip(grid.layouts(reverse=True), restricted, strict=True):
        chosen = sorted({0, layout.steps // 2, layout.steps - 1})
        singles = []
        for k in (k for k in chosen if layout.first <= k < layout.last):
            start = grid.steps - (k + 1) * layout.stride
            row = start - grid.first
            random = np.random.default_rng([seed, layout.level, start])
            here = levels.restricted(state.points[row : row + 1], layout.level)[0]
            at = {"y": here, "y0": here}
            if layout.level == 0:
                at["y1"] = state.points[row + 1]
            at["u"] = {name: values[layout.last - 1 - k] for name, values in blocks.items()}
            at = mapped(at, np.copy)
            along = mapped(at, partial(_random_like, random))
            at["lam"], along["lam"] = (random.standard_normal(at["y"].shape) for _ in range(2))
            at["weight"] = np.array(random.standard_normal())
            at["s"] = grid.single(layout.level, start)
            at["t"] = np.array(at["s"].t0)
            singles.append(Sample(at, along))
        if problem.stepper.batched and singles:
            if len(singles) == 1:  # a batch of one would not show that steps are mixed up
                singles.append(moved(singles[0], 0.1))
            singles = [_stack(singles, len(levels.spaces[layout.level].shape))]
        shared = {name: values.copy() for name, values in control.shared.items()}
        samples.append(
            [
                Sample({**one.at, "theta": shared}, {**one.along, "theta": theta_along})
                for one in singles
            ]
        )
    return samples


def _stack(singles: list[Sample], dimensions: int) -> Sample:
    """Return one sample with a batch of steps."""

    def stacked(parts: list[Arguments]) -> dict[str, Any]:
        return {
            key: stacked([part[key] for part in parts])
            if isinstance(value, Mapping)
            else np.stack([part[key] for part in parts])
            for key, value in parts[0].items()
            if not isinstance(value, Steps)
        }

    steps = [one.at["s"] for one in singles]
    shape = (len(steps),) + (1,) * dimensions
    s = Steps(
        np.array([step.index for step in steps]),
        np.array([step.t0 for step in steps]).reshape(shape),
        np.array([step.t1 for step in steps]).reshape(shape),
        steps[0].level,
        size=steps[0].size,
    )
    return Sample(
        {**stacked([one.at for one in singles]), "s": s}, stacked([one.along for one in singles])
    )


def batches_of_one(sample: Sample) -> list[Sample]:
    """Return each step of a batch as a batch of one."""

    def row(arguments: Arguments, i: int) -> dict[str, Any]:
        whole = {key: value for key, value in arguments.items() if key not in ("theta", "s")}
        return {**mapped(whole, lambda value: value[i : i + 1]), "theta": arguments["theta"]}

    def steps(s: Steps, i: int) -> Steps:
        return Steps(s.index[i : i + 1], s.t0[i : i + 1], s.t1[i : i + 1], s.level, size=s.size)

    return [
        Sample({**row(sample.at, i), "s": steps(sample.at["s"], i)}, row(sample.along, i))
        for i in range(len(sample.at["s"].index))
    ]


def moved(sample: Sample, distance: float) -> Sample:
    """Return the sample with all arguments moved along their directions."""

    def moved(at: Arguments, along: Arguments) -> dict[str, Any]:
        return {
            key: moved(value, along[key])
            if isinstance(value, Mapping)
            else (value + distance * along[key] if key in along else value)
            for key, value in at.items()
        }

    return Sample(moved(sample.at, sample.along), sample.along)


def entry(sample: Sample, index: Sequence[int], rows: bool) -> str:
    """Return the name of an entry of an argument or result: "step 4, entry [1]".

    With `rows` the first number of the index counts the steps of a batch.
    """
    names, rest = [], [int(i) for i in index]
    s = sample.at.get("s")
    if s is not None and np.ndim(s.index) == 0:
        names.append(f"step {int(s.index)}")
    elif s is not None and rows and rest:
        names.append(f"step {int(s.index[rest.pop(0)])}")
    if rest:
        names.append(f"entry {rest}")
    return ", ".join(names)


def attempt(function: Callable[[], T]) -> tuple[T | None, str]:
    """Call a function of the user: return its result and "", or None and what it raised.

    Not collective: an error on one rank is an error of that rank alone.
    """
    try:
        return function(), ""
    except Exception as error:  # the report shows whatever a user's method raises
        frames = traceback.extract_tb(error.__traceback__)
        at = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        return None, f"{type(error).__name__}: {error}{at}"


def attempt_collectively(comm: Any, function: Callable[[], T]) -> tuple[T | None, str]:
    """Call a collective function; see `attempt`. On several ranks errors end the run instead."""
    return attempt(function) if comm.size == 1 else (function(), "")


def end_sample(state: State, control: Control, seed: int, total: float) -> Sample:
    """Return the arguments of the methods at the ends of time; y is the rank's last state."""
    y, theta = state.points[-1].copy(), mapped(control.shared, np.copy)
    random = np.random.default_rng([seed, control.space.grid.steps])
    lam, v = random.standard_normal(y.shape), random.standard_normal(y.shape)
    along = {"y": scale(y) * v, "theta": random_direction(control, seed).shared}
    return Sample(
        {"y": y, "theta": theta, "lam": lam, "sum": total}, {**along, "sum": total or 1.0}
    )


def by_level(part: Any, levels: int) -> list[Any]:
    """Return a stepper or adjoint for each level; level 0 is `part` itself."""
    return [part, *(part.coarsen(level) for level in range(1, levels))]


class Levels:
    """The steppers, adjoints and spaces of a problem, by level. Collective in space."""

    def __init__(self, problem: Problem, count: int) -> None:
        self.steppers = by_level(problem.stepper, count)
        self.adjoints = by_level(problem.adjoint, count)
        self.spaces, self.transfers = spaces_of(self.steppers, problem.space)

    def restricted(self, states: Any, level: int) -> Any:
        """Return a block of states of level 0 as coarse steps are linearised at them."""
        for transfer in self.transfers[1 : level + 1]:
            if transfer is not None:
                fine, states = states, transfer.coarse.allocate(len(states))
                transfer.restrict(fine, states)
        return states


def samples_by_level(
    problem: Problem, state: State, control: Control, seed: int
) -> Iterator[tuple[int, StateSpace, tuple[Any, Any], list[Sample]]]:
    """Yield each level, its space, its stepper and adjoint, and samples of its arguments."""
    levels = Levels(problem, control.space.grid.levels)
    parts = zip(levels.steppers, levels.adjoints, strict=True)
    samples = _samples(problem, levels, state, control, seed)
    yield from zip(range(len(samples)), levels.spaces, parts, samples, strict=True)


def require_testable(problem: Problem, space: ControlSpace, test: str) -> None:
    """Raise an error unless states are numpy arrays or PETSc vectors, whole on each rank."""
    if problem.space.comm.size > 1 or space.space_comm.size > 1:
        raise ValueError(
            f"`{test}(problem=...)` must have whole states on each rank: make it with a space "
            "communicator of one rank."
        )
    block = problem.space.allocate(1)
    if not isinstance(block, np.ndarray):
        raise TypeError(
            f"`{test}(problem=...)` must have states that are numpy arrays or PETSc vectors; "
            f"`{type(problem.space).__name__}` stores {type(block).__name__}. `taylor_test` "
            "works with any states; `pint.torch.on_host` makes arrays of tensors."
        )


def require_alike(problem: Any, control: Any, test: str, seed: Any) -> None:
    """Raise an error unless the arguments of a test are right, and alike on all ranks.

    Collective.
    """
    if not isinstance(control, Control):
        raise TypeError(
            f"`{test}(control=...)` must be a pint.Control, got {type(control).__name__}; make "
            "one with `problem.control_space(grid).control(...)`."
        )
    space = control.space
    with agreeing(space.comm, test, space.space_comm) as ranks:
        check_kind(test, "problem", problem, Problem, "a pint.Problem")
        ranks.same = {"seed": integer(test, "seed", seed, 0)}
        space.require_agreement(ranks, control, "control")
