"""Checks of options: each mistake ends in one line that names the option."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from types import FunctionType
from typing import Any


def check_names(owner: str, known: Sequence[str], given: Iterable[str]) -> None:
    """Raise TypeError if `owner` does not have one of the given options."""
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean `{close[0]}`? It has" if close else "it has"
            options = ", ".join(f"`{option}`" for option in known)
            raise TypeError(f"`{owner}` has no option `{name}`; {hint} {options}.")


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
