"""Controls and rows of states as arrays of all ranks, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pint.comm import gather_rows
from pint.controls import Control, ControlSpace
from pint.reduced_functional import ReducedFunctional


def gathered(name: str, controls: Sequence[Control]) -> dict[str, np.ndarray]:
    """Return the blocks of all steps of some controls, by field. Collective."""
    blocks: dict[str, list[np.ndarray]] = {}
    for control in controls:
        for field, values in control.gather().items():
            blocks.setdefault(field, []).append(values)
    return {f"{name}.{field}": np.array(values) for field, values in blocks.items()}


def scattered(
    space: ControlSpace, name: str, arrays: Mapping[str, np.ndarray], count: int
) -> list[Control]:
    """Return the controls that `gathered` made arrays of."""
    return [
        space.scatter({field: arrays[f"{name}.{field}"][number] for field in space.fields})
        for number in range(count)
    ]


def field_shapes(functional: ReducedFunctional) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a control's fields, all time steps and all ranks together."""
    steps, space = functional.grid.steps, functional.controls
    return {
        name: ((steps,) if name in space.time_fields else ()) + space.block_shape(name)
        for name in space.fields
    }


def whole_rows(functional: ReducedFunctional, block: Any) -> np.ndarray:
    """Return the rows of all ranks, ascending in time. Collective."""
    space = functional.space
    own = space.as_array(block)
    if space.comm.size > 1:
        own = gather_rows(space.comm, own, 1 + space.axis)
    return gather_rows(functional.comm, own)


def own_rows(functional: ReducedFunctional, rows: np.ndarray, count: int) -> np.ndarray:
    """Return this rank's `count` rows of what `whole_rows` returned. Collective."""
    space, counts = functional.space, functional.comm.allgather(count)
    before = sum(counts[: functional.comm.rank])
    own = rows[before : before + count]
    if space.comm.size > 1:
        lengths = space.comm.allgather(space.shape[space.axis])
        start = sum(lengths[: space.comm.rank])
        part = slice(start, start + lengths[space.comm.rank])
        own = own[(slice(None),) * (1 + space.axis) + (part,)]
    return own


def whole_shape(functional: ReducedFunctional) -> tuple[int, ...]:
    """Return the shape of a state, all ranks in space together. Collective."""
    space = functional.space
    if space.comm.size == 1:
        return tuple(space.shape)
    shape = list(space.shape)
    shape[space.axis] = sum(space.comm.allgather(shape[space.axis]))
    return tuple(shape)
