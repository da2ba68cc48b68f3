"""Steps that are made one by one, and the rows of blocks that each of them gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from pint.equations.calls.guard import Guard
from pint.equations.calls.levels import Levels
from pint.equations.results import Views, add_fields, checked, spoil
from pint.errors import NumericalError
from pint.grid import Steps
from pint.interface import Fields
from pint.states import one_by_one


class Singles:
    """Makes steps, and transposed steps, one by one: each is complete when the next one begins.

    Parameters
    ----------
    levels : Levels
    guard : Guard
    """

    def __init__(self, levels: Levels, guard: Guard) -> None:
        self.levels, self.guard = levels, guard
        # Plain arrays of this type need no closer look.
        self._usual = getattr(levels.spaces[0].allocate(1), "dtype", None)

    def step(
        self,
        level: int,
        singles: Iterable[Steps],
        u: Fields,
        theta: Fields,
        states: Iterable[Any],
        out: Iterable[Any],
        sources: Iterable[Any],
    ) -> None:
        """Make steps one by one; each result is complete when the next step begins."""
        step, stepper = self.levels.step[level], self.levels.steppers[level]
        array, usual = np.ndarray, self._usual
        in_place, names = stepper.in_place, tuple(u)
        parts = zip(singles, blocks_of(u, self.levels.batched), states, out, sources, strict=False)
        for s, some, y, new, source in parts:
            blocks = dict(zip(names, some))  # noqa: B905  (strict costs a tenth of the loop's time)
            try:  # in the loop: all ranks in space make the same steps, whichever of them fails
                if in_place:
                    step(s, y, blocks, theta, out=new)
                else:
                    result = step(s, y, blocks, theta)
                    # Tested here, too: a call for each step would cost as much as the copy.
                    plain = type(result) is array and result.dtype is usual
                    if not plain or result.shape != new.shape:
                        checked(result, new, stepper, "step")
                    new[...] = result
            except NumericalError as error:
                new[...] = self.guard.failed(error, stepper, "step")
            if source is not None:
                new += source

    def transpose(
        self,
        level: int,
        singles: Iterable[Steps],
        u: Fields,
        theta: Fields,
        states: Iterable[Any],
        adjoints: Iterable[Any],
        out: Iterable[Any],
        sources: Iterable[Any],
        into: Views | None,
        backward: bool = False,
    ) -> None:
        """Make transposed steps one by one; each is complete when the next one begins."""
        levels = self.levels
        adjoint, vjp, own = levels.adjoints[level], levels.vjp[level], levels.own_step[level]
        array, usual = np.ndarray, self._usual
        in_place, names = adjoint.in_place, tuple(u)
        name = "step" if into is None and own is not None else "vjp"
        time_views, shared_views = ({}, {}) if into is None else into
        to_names = tuple(time_views)
        parts = zip(
            singles,
            blocks_of(u, self.levels.batched, backward),
            states,
            adjoints,
            out,
            sources,
            blocks_of(time_views, self.levels.batched, backward),
            strict=False,
        )
        for s, some, y, lam, new, source, places in parts:
            blocks = dict(zip(names, some))  # noqa: B905  (strict costs a tenth of the loop's time)
            try:
                if into is None and own is not None:
                    dy = (
                        own(s, y, blocks, theta, lam, out=new)
                        if in_place
                        else own(s, y, blocks, theta, lam)
                    )
                else:
                    dy, du, dtheta = (
                        vjp(s, y, blocks, theta, lam, out=new)
                        if in_place
                        else vjp(s, y, blocks, theta, lam)
                    )
                    if into is not None:
                        views = dict(zip(to_names, places))  # noqa: B905
                        add_fields(views, du, "time-dependent", adjoint)
                        if dtheta:
                            add_fields(shared_views, dtheta, "shared", adjoint)
                if not in_place:
                    plain = type(dy) is array and dy.dtype is usual
                    if not plain or dy.shape != new.shape:
                        checked(dy, new, adjoint, name)
                    new[...] = dy
            except NumericalError as error:
                new[...] = self.guard.failed(error, adjoint, name)
                spoil(into)
            if source is not None:
                new += source


def singly(kept: Any, backward: bool = False) -> Any:
    """Return what steps keep, one by one, as blocks of one row."""
    if kept is None or isinstance(kept, list):
        return kept[::-1] if backward and kept is not None else kept
    return one_by_one(kept, backward)


def blocks_of(fields: Mapping[str, Any], batched: bool, backward: bool = False) -> Iterable[Any]:
    """Return the tuples of the fields' blocks, one by one, as batches of one if `batched`."""
    if not fields:
        return repeat(())
    rows: list[Iterable[Any]]
    if batched:
        rows = [one_by_one(values, backward) for values in fields.values()]
    else:
        rows = [_views(values, backward) for values in fields.values()]
    return zip(*rows, strict=True)


def _views(values: Any, backward: bool) -> Iterable[Any]:
    """Return the rows of an array one by one, as views even where they are single numbers."""
    if not isinstance(values, np.ndarray):  # other arrays may know no negative strides
        rows = range(len(values))
        return (values[row, ...] for row in (reversed(rows) if backward else rows))
    values = values[::-1] if backward else values
    return values if values.ndim > 1 else (values[row, ...] for row in range(len(values)))


def moved(
    matrices: np.ndarray, states: Iterable[Any], sources: Iterable[Any]
) -> Iterator[np.ndarray]:
    """Yield for each step its matrix times the state where it begins, plus a source or None.

    Each state is read when its step is about to be made: it may be the result of the step before.
    """
    for matrix, state, source in zip(matrices, states, sources, strict=False):
        product: np.ndarray = (matrix @ state.reshape(-1)).reshape(state.shape)
        yield product if source is None else product + source
