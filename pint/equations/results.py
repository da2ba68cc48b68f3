"""What users' methods return: checked, and added to the derivatives where it belongs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.comm import alike, sums_and_means
from pint.controls import Control, Lifted
from pint.errors import shown
from pint.interface import Fields

Views = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Views of a derivative by field name: the rows of some steps, and the shared fields."""

KINDS = ("time-dependent", "shared")


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
    """Return a user's result if it has the shape of `expected` and is real, or raise an error."""
    if getattr(result, "shape", ()) != expected.shape:
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return an array of shape {expected.shape}, "
            f"got {getattr(result, 'shape', type(result).__name__)}."
        )
    if type(result) is not np.ndarray and np.ma.is_masked(result):
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return real numbers, got an array that masks "
            "some of them."
        )
    # Arrays of other libraries have types of their own, and refuse what does not fit.
    if getattr(getattr(result, "dtype", None), "kind", "f") not in "fiu":
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return real numbers, got {result.dtype}."
        )
    return result


def checked_slope(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Do as `checked`, but let the number 0.0 pass."""
    if isinstance(result, (int, float)) and result == 0.0:
        return 0.0
    return checked(result, expected, owner, method)


def checked_number(result: Any, owner: object, method: str) -> float:
    """Return a user's cost as a float, or raise an error."""
    if type(result) is float:
        return result
    shape = getattr(result, "shape", ())
    if tuple(shape) != ():
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return one number, got an array of shape "
            f"{tuple(shape)}."
        )
    kind = getattr(getattr(result, "dtype", None), "kind", "f")
    try:
        if kind not in "fiu" or isinstance(result, (str, bytes, bool)):
            raise TypeError
        return float(result)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return a real number, got {shown(result)}."
        ) from None


def checked_control(result: Any, owner: object, method: str) -> Control:
    """Return a user's derivative if it is a control of real numbers, or raise TypeError."""
    if not isinstance(result, Control) or result.vector.dtype.kind != "f":
        got = f"one of {result.vector.dtype}" if isinstance(result, Control) else shown(result)
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return a pint.Control of real numbers, "
            f"got {got}."
        )
    return result


def require_same_shared(part: Control, owner: object, comm: Any) -> None:
    """Raise ValueError if ranks have other derivatives with respect to shared fields. Collective.

    The fields would then differ from rank to rank after the next update.
    """
    shared = [part[name].ravel() for name in part.space.shared_fields]
    if shared and not sums_and_means(comm, [], np.concatenate(shared))[2]:
        raise alike(
            ValueError(
                f"`{type(owner).__name__}.derivative` must have the same shared fields on all "
                "ranks: sum over the ranks what is a sum over steps."
            )
        )


def unpacked(result: Any, count: int, owner: object, method: str) -> Any:
    """Return the parts of a user's result, or raise TypeError unless there are `count`."""
    if not isinstance(result, (tuple, list)) or len(result) != count:
        got = f"{len(result)} of them" if isinstance(result, (tuple, list)) else shown(result)
        raise TypeError(
            f"`{type(owner).__name__}.{method}` must return {count} results, got {got}."
        )
    return result


def add(into: Views, du: Fields, dtheta: Fields, owner: object, scale: float = 1.0) -> None:
    """Add a user's derivatives, times `scale`, to views of a control, in place."""
    if du:
        add_fields(into[0], du, KINDS[0], owner, scale)
    if dtheta:
        add_fields(into[1], dtheta, KINDS[1], owner, scale)


def require_mapping(values: Any, kind: str, owner: object) -> None:
    """Raise TypeError unless a user's derivatives are by name."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"`{type(owner).__name__}` must return the derivatives by {kind} field as a mapping, "
            f"got {shown(values)}."
        )


def add_fields(
    views: Mapping[str, Any], values: Fields, kind: str, owner: object, scale: float = 1.0
) -> None:
    """Add derivatives, times `scale`, to views by field name, in place; check names and shapes."""
    if type(values) is not dict:
        require_mapping(values, kind, owner)
    for name, value in values.items():
        if name not in views:
            raise ValueError(
                f"`{type(owner).__name__}` returned a derivative for `{name}`, which is no {kind} "
                f"field; these are {list(views)}."
            )
        place = views[name]
        plain = type(value) is np.ndarray and value.dtype is place.dtype
        if not plain or value.shape != place.shape:
            checked(value, place, owner, f"derivative[{name!r}]")
        place += value if scale == 1.0 else scale * value


def spoil(views: Views | None) -> None:
    """Fill views of a derivative with NaN, in place."""
    for places in views or ():
        for place in places.values():
            place[...] = math.nan


def at_rows(control: Control | Lifted, rows: Any) -> Views:
    """Return the views of a control at the steps of some rows, and of its shared fields."""
    # With an ellipsis a block that is one number is a view, too.
    places = rows if rows is ... else (rows, ...)
    return {name: values[places] for name, values in control.time.items()}, control.shared
