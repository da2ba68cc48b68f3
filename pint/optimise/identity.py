"""What tells the problem of a saved run from another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.comm import fingerprint, fingerprints
from pint.controls import ControlSpace
from pint.optimise.resumable import Resumable
from pint.optimise.whole_arrays import whole_shape
from pint.reduced_functional import ReducedFunctional

HOW = ("batched", "in_place", "leaves_out", "uses_guess", "kept_shape")
"""Attributes of users' objects that say how something is computed, and not what."""


def signature(run: Resumable) -> dict[str, np.ndarray]:
    """Return what a checkpoint has in common with every run that can resume it. Collective."""
    functional = run.functional
    grid, space = functional.grid, functional.controls
    bounds = [np.zeros(0)]
    for control_field in space.fields.values():
        own = np.concatenate([control_field.lower.ravel(), control_field.upper.ravel()])
        bounds += control_field.comm.allgather(own)
    return {
        # First, because the shapes of other entries depend on it.
        "space_ranks": np.array(functional.space.comm.size),
        "times": grid.t,
        "coarsening": np.array(grid.coarsening, dtype=int),
        "fields": np.array([_description(space, name) for name in space.fields], dtype=str),
        "bounds": np.concatenate(bounds),
        "state_shape": np.array(whole_shape(functional)),
        **run.solver(),
    }


def content_of(functional: ReducedFunctional) -> dict[str, int]:
    """Return a number for the content of each part of the problem, by its name. Collective.

    It does not depend on the number of ranks in time. Items of lists count together: the parts
    of ``stepper.layers[3]`` belong to ``stepper.layers``.
    """
    problem, own = functional.problem, {}
    named = {name: getattr(problem, name) for name in ("stepper", "adjoint", "objective")}
    named |= {f"regularisers[{number}]": term for number, term in enumerate(problem.regularisers)}
    if problem.examples is not None:
        named["examples"] = problem.examples
    for name, part in named.items():
        own[name] = fingerprint(type(part))
        own.update(_grouped(fingerprints(part, name), name))
    for name, control_field in problem.controls.items():
        if control_field.matrix is not None:
            own[f"controls[{name!r}].metric"] = fingerprint(control_field.matrix)
    own = {name: number for name, number in own.items() if name.rpartition(".")[2] not in HOW}
    # Ranks in space hold parts of the same arrays.
    ranks = functional.space.comm.allgather(own)
    return (
        own
        if len(ranks) == 1
        else {
            name: fingerprint([rank.get(name) for rank in ranks]) for rank in ranks for name in rank
        }
    )


def _grouped(numbers: Mapping[str, int], name: str) -> dict[str, int]:
    groups: dict[str, list[tuple[str, int]]] = {}
    for part, number in numbers.items():
        group = name + part[len(name) :].partition("[")[0]
        groups.setdefault(group, []).append((part[len(group) :], number))
    return {
        group: members[0][1] if len(members) == 1 else fingerprint(members)
        for group, members in groups.items()
    }


def difference(name: str, found: Any, expected: np.ndarray) -> str | None:
    """Return what an entry of another `signature` says, None if it is the expected one."""
    if isinstance(found, np.ndarray) and np.array_equal(found, expected):
        return None
    return (
        f"belongs to another problem or another solver: its `{name}` is {_short(found)}, here it "
        f"is {_short(expected)}" + (" (use the same method again)" if name == "solves" else "")
    )


def content_difference(found: Mapping[str, int], expected: Mapping[str, int]) -> str | None:
    """Return what parts of the problem differ, None if none does."""
    # The adjoint often has what the stepper has: a change is named once.
    changes = {
        (found.get(name), expected.get(name)): name for name in reversed({**expected, **found})
    }
    names = [name for (before, now), name in reversed(changes.items()) if before != now]
    if not names:
        return None
    shown = ", ".join(f"`{name}`" for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"belongs to another problem: {shown} {'differs' if len(names) == 1 else 'differ'} from "
        "what it was saved with (what may change between runs is named in the object's "
        "`may_differ`)"
    )


def _description(space: ControlSpace, name: str) -> str:
    text = f"{name}{list(space.block_shape(name))}"
    if name not in space.time_fields:
        return f"{text} shared"
    field = space.time_fields[name]
    return f"{text} {field.metric} {field.interpolate} every {field.every}"


def _short(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return str(value)
    return np.array2string(value, threshold=6, edgeitems=2)
