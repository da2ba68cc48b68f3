"""The dot tests of constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pint.controls import Control
from pint.equations import State
from pint.interface import Problem
from pint.states import StateSpace
from pint.steppers import Constraint, TerminalConstraint
from pint.verify.adjoint import transpose_checks
from pint.verify.arguments import Arguments, Sample, end_sample, samples_by_level
from pint.verify.methods import Method
from pint.verify.reports import Check


def constraint_checks(
    problem: Problem, constraints: Sequence[Constraint], state: State, control: Control, seed: int
) -> Iterator[Check]:
    """Yield a check of `vjp` with respect to each argument, for each constraint. Collective.

    At the rank's last state, or as one batch of the first, middle and last step.
    """
    along: list[Sample] = next(iter(samples_by_level(problem, state, control, seed)))[3]
    if not problem.stepper.batched:
        along = [Sample(_as_batch(one.at), _as_batch(one.along)) for one in along]
    for constraint in constraints:
        if isinstance(constraint, TerminalConstraint):
            arguments: tuple[str, ...] = ("y", "theta")
            space: StateSpace | None = problem.space
            samples = [end_sample(state, control, seed, 1.0)]
        else:
            arguments, space, samples = ("t", "y", "u", "theta"), None, along
        gives = tuple(name for name in arguments if name != "t")
        value = Method(constraint, "value", arguments, ("c",), "weight", space)
        vjp = Method(constraint, "vjp", (*arguments, "weight"), gives, space=space)
        weighted = [_weighted(one, constraint, seed) for one in samples]
        yield from transpose_checks(problem, [(value, [vjp])], weighted, None, 1, {})


def _as_batch(arguments: Arguments) -> dict[str, Any]:
    """Return the arguments of one step as those of a batch of one; theta stays."""
    return {
        key: {name: block[None] for name, block in value.items()}
        if isinstance(value, Mapping) and key != "theta"
        else (np.asarray(value)[None] if key in ("t", "y") else value)
        for key, value in arguments.items()
    }


def _weighted(sample: Sample, constraint: Constraint, seed: int) -> Sample:
    """Return the sample with random weights of a constraint's numbers."""
    lead = () if isinstance(constraint, TerminalConstraint) else (len(sample.at["t"]),)
    random = np.random.default_rng([seed, constraint.count])
    weight = random.standard_normal((*lead, constraint.count))
    return Sample({**sample.at, "weight": weight}, sample.along)
