"""The calls of a user's constraints: results of other shapes or kinds are errors that name them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pint.equations.results import KINDS, checked, checked_slope, require_mapping, unpacked
from pint.interface import Fields
from pint.steppers.constraints import TerminalConstraint


def value_of(constraint: Any, *arguments: Any) -> np.ndarray:
    """Return the numbers of a constraint, shape (k,), or (B, k) along the path.

    Arguments are those of its `value`.
    """
    at_end = isinstance(constraint, TerminalConstraint)
    lead = () if at_end else (len(arguments[0]),)
    expected = np.empty((*lead, constraint.count))
    return np.asarray(checked(constraint.value(*arguments), expected, constraint, "value"))


def vjp_of(constraint: Any, *arguments: Any) -> tuple[Any, ...]:
    """Return what a constraint's `vjp` returns; the derivative to states may be 0.0."""
    if isinstance(constraint, TerminalConstraint):
        y, *kinds = arguments[:2]
    else:
        _, y, *kinds = arguments[:4]
    of_y, *parts = unpacked(constraint.vjp(*arguments), 1 + len(kinds), constraint, "vjp")
    if hasattr(y, "shape"):  # states of PETSc have none
        of_y = checked_slope(of_y, y, constraint, "vjp")
    for found, known, kind in zip(parts, kinds, KINDS[-len(kinds) :], strict=True):
        _check_fields(constraint, found, known, kind)
    return (of_y, *parts)


def _check_fields(constraint: Any, found: Any, known: Fields, kind: str) -> None:
    """Raise an error unless derivatives are those of known fields."""
    require_mapping(found, kind, constraint)
    for name, block in found.items():
        if name not in known:
            raise ValueError(
                f"`{type(constraint).__name__}.vjp` returned a derivative for `{name}`, which is "
                f"no {kind} field; these are {list(known)}."
            )
        checked(block, known[name], constraint, "vjp")
