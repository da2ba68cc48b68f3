"""What users' methods return: checked, and added to the derivatives where it belongs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pint.controls import Control
from pint.interface import Fields

Views = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Views of a derivative by field name: the rows of some steps, and the shared fields."""


def as_rows(rows: range) -> slice:
    """Return an ascending range as a slice."""
    return slice(rows.start, rows.stop, rows.step)


def shifted(rows: range, by: int) -> range:
    """Return the range of ``rows + by``."""
    return range(rows.start + by, rows.stop + by, rows.step)


def rows_after(rows: Any) -> Any:
    """Return the rows one after some rows, or one row."""
    return slice(rows.start + 1, rows.stop + 1, rows.step) if isinstance(rows, slice) else rows + 1


def checked(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Return a user's result if it has the shape of `expected`, or raise ValueError."""
    if getattr(result, "shape", ()) != expected.shape:
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return an array of shape {expected.shape}, "
            f"got {getattr(result, 'shape', type(result).__name__)}."
        )
    return result


def checked_slope(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Do as `checked`, but let the number 0.0 pass."""
    if isinstance(result, (int, float)) and result == 0.0:
        return 0.0
    return checked(result, expected, owner, method)


def add(into: Views, du: Fields, dtheta: Fields, owner: object, scale: float = 1.0) -> None:
    """Add a user's derivatives, times `scale`, to views of a control, in place."""
    if du:
        add_fields(into[0], du, "time-dependent", owner, scale)
    if dtheta:
        add_fields(into[1], dtheta, "shared", owner, scale)


def add_fields(
    views: Mapping[str, Any], values: Fields, kind: str, owner: object, scale: float = 1.0
) -> None:
    """Add derivatives, times `scale`, to views by field name, in place; check names and shapes."""
    for name, value in values.items():
        if name not in views:
            raise ValueError(
                f"`{type(owner).__name__}` returned a derivative for `{name}`, which is no {kind} "
                f"field; these are {list(views)}."
            )
        place = views[name]
        if getattr(value, "shape", None) != place.shape:
            checked(value, place, owner, f"derivative[{name!r}]")
        place += value if scale == 1.0 else scale * value


def spoil(views: Views | None) -> None:
    """Fill views of a derivative with NaN, in place."""
    for places in views or ():
        for place in places.values():
            place[...] = math.nan


def at_rows(control: Control, rows: Any) -> Views:
    """Return the views of a control at the steps of some rows, and of its shared fields."""
    return {name: values[rows] for name, values in control.time.items()}, control.shared
