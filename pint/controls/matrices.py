"""The metric of a control space: its diagonal, and products and Riesz maps of its matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pint.comm import broadcast
from pint.controls.control import Control
from pint.controls.fields import ControlField, SharedControl, TimeControl
from pint.states.metric import Metric

if TYPE_CHECKING:
    from pint.controls.space import ControlSpace


def diagonal(space: ControlSpace) -> np.ndarray:
    """Return the diagonal of the metric, shape (size,). Not collective."""
    vector = np.ones(space.size)
    for name, field in space.fields.items():
        where, shape = space.places[name]
        vector[where].reshape(shape)[...] = field.block_weights
        if isinstance(field, TimeControl) and field.metric == "time":
            dt = space.grid.dt.reshape((-1,) + (1,) * len(field.shape))
            vector[where].reshape(shape)[...] *= dt
    return vector


def not_diagonal(fields: Mapping[str, ControlField]) -> dict[str, Metric]:
    """Return the matrices of the fields whose metric has one that is not diagonal."""
    return {
        name: field.matrix
        for name, field in fields.items()
        if field.matrix is not None and not field.matrix.is_diagonal
    }


def multiply(space: ControlSpace, vector: np.ndarray) -> None:
    """Put matrices in the place of their diagonals, in products with these, in place.

    Collective where one of them is a PETSc matrix.
    """
    product = Control(space, vector)
    for name, matrix in space.matrices.items():
        _replace(product, name, 1 / matrix.diagonal, matrix.apply)


def solve(space: ControlSpace, vector: np.ndarray) -> None:
    """Put inverse matrices in the place of those of their diagonals, in place. Collective."""
    solution = Control(space, vector)
    for name, matrix in space.matrices.items():
        _replace(solution, name, matrix.diagonal, matrix.solve)
        _make_alike(space, solution[name], space.fields[name])


def _replace(
    control: Control, name: str, factor: np.ndarray, action: Callable[[np.ndarray], Any]
) -> None:
    """Replace the blocks of a field by ``action(factor * block)``, in place."""
    blocks = control[name]
    count = len(blocks) if name in control.space.time_fields else 1
    blocks[...] = action(blocks.reshape(count, len(factor)) * factor).reshape(blocks.shape)


def _make_alike(space: ControlSpace, values: np.ndarray, field: ControlField) -> None:
    """Give all ranks that hold the same numbers those of one of them, in place. Collective.

    The factors of a matrix are not solved with to the last bit alike on every rank.
    """
    if isinstance(field, SharedControl):
        values[...] = broadcast(space.comm, values)
    if not field.distributed:
        values[...] = broadcast(space.space_comm, values)
