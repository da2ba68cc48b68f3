"""Checks of options: each mistake ends in one line that names the option."""

from __future__ import annotations

import math
from numbers import Integral, Real
from types import FunctionType
from typing import Any


def integer(owner: str, name: str, value: Any, least: int) -> int:
    """Return an option as a Python integer; ValueError unless it is one of at least `least`."""
    # `True` is an integer in Python, but no number of cycles; integers of numpy are welcome.
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"`{owner}({name}=...)` must be an integer >= {least}, got {_shown(value)}."
        )
    return int(value)


def check_number(owner: str, name: str, value: Any, *, positive: bool = False) -> None:
    """Raise ValueError unless an option is a finite number, positive or not negative."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (positive and value == 0):
        kind = "positive and finite" if positive else "finite and >= 0"
        raise ValueError(f"`{owner}({name}=...)` must be {kind}, got {_shown(value)}.")


def check_kind(owner: str, name: str, value: Any, kind: type, example: str) -> None:
    """Raise TypeError, which shows an `example`, unless an option is of a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"`{owner}({name}=...)` must be {example}, got {_shown(value)}.")


def _shown(value: Any) -> str:
    """Return a wrong value in one short line."""
    if isinstance(value, (str, Real)):
        return repr(value)
    if isinstance(value, (type, FunctionType)):
        return f"`{value.__name__}` itself, which must be called"
    return type(value).__name__
