"""Exceptions for numerical failure, and checks of arguments.

Wrong arguments raise ValueError or TypeError: one line that names the argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

ComplexWarning: Any = getattr(np, "exceptions", np).ComplexWarning  # its place before numpy 1.25


class NumericalError(ArithmeticError):
    """A computation produced values that cannot be used; raised identically on every rank.

    A method of a problem may raise it on any rank: its result then counts as NaN.
    """


class NotFiniteError(NumericalError):
    """NaN or infinity where a finite number is needed; the message says where."""


class ConvergenceError(NumericalError):
    """MGRIT did not meet its tolerance, with ``ReducedFunctional(unconverged="error")``."""


class ConvergenceWarning(UserWarning):
    """MGRIT did not meet its tolerance: see ``ReducedFunctional(unconverged=...)``."""


class VerificationError(NumericalError):
    """A check of `pint.verify` failed; the message names the method, the level and the field."""


class CheckpointError(OSError, ValueError):
    """A run cannot begin with its checkpoint.

    It is raised identically on every rank, and the file stays as it is.
    """


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
            f"`{owner}({name}=...)` must be an integer >= {least}, got {shown(value)}."
        )
    return int(value)


def number(owner: str, name: str, value: Any, *, positive: bool = False) -> float:
    """Return an option as a float; ValueError unless it is finite, positive or not negative."""
    real = float(value) if is_number(value) else math.nan
    if not real >= 0 or (positive and real == 0):
        kind = "positive and finite" if positive else "finite and >= 0"
        raise ValueError(f"`{owner}({name}=...)` must be {kind}, got {shown(value)}.")
    return real


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number, and neither a truth value nor an array."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def lengths(what: str, shape: Any, least: int) -> tuple[int, ...]:
    """Return a shape, given as an integer or some, as a tuple; ValueError names `what`."""
    found = (shape,) if isinstance(shape, Integral) or not isinstance(shape, Iterable) else shape
    found = tuple(found)
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in found)
    if isinstance(shape, str) or not whole or any(not least <= n < 2**48 for n in found):
        short = whole and not isinstance(shape, str) and max(found) < 2**48
        got = found if short else shown(shape)
        raise ValueError(f"`{what}` must be integers, lengths >= {least}, got {got}.")
    return tuple(int(n) for n in found)


def real_array(what: str, value: Any) -> np.ndarray:
    """Return a copy of real numbers as an array of float64.

    Raises
    ------
    TypeError
        If they are complex, truth values, texts, dates or other objects, or some are masked; it
        names `what`.
    """
    if np.ma.is_masked(value):
        raise TypeError(f"`{what}` must hold real numbers, got an array that masks some of them.")
    try:
        array = np.array(value)
        if array.dtype == object and all(map(is_number, array.flat)):
            array = array.astype(float)
    except (ValueError, TypeError, RuntimeError):  # ragged lists, objects that are no arrays
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        got = shown(value) if array.dtype == object else f"an array of {array.dtype}"
        raise TypeError(f"`{what}` must hold real numbers, got {got}.")
    return array.astype(float, copy=False)


def check_kind(owner: str, name: str, value: Any, kind: type, example: str) -> None:
    """Raise TypeError, which shows an `example`, unless an option is of a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"`{owner}({name}=...)` must be {example}, got {shown(value)}.")


def check_choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ValueError unless an option is one of some strings."""
    if not (isinstance(value, str) and value in choices):
        listed = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
        raise ValueError(f"`{owner}({name}=...)` is {listed}, got {shown(value)}.")


def shown(value: Any) -> str:
    """Return a wrong value in one short line."""
    if isinstance(value, (str, Real)):
        try:
            text = repr(value)
        except ValueError:  # Python does not print integers of more than 4,300 digits
            text = "an integer of thousands of digits"
        return text if len(text) <= 60 else f"{text[:50]}..."
    if isinstance(value, (type, FunctionType)):
        return f"`{value.__name__}` itself, which must be called"
    return type(value).__name__


def overrides(part: object, base: type, name: str) -> bool:
    """Return whether an object has a method of its own in place of that of its interface."""
    method = getattr(part, name)  # of the class, or of the object alone
    return getattr(method, "__func__", method) is not getattr(base, name)


def check_methods(
    part: object, base: type, pairs: Mapping[str, str], needed: Sequence[str]
) -> None:
    """Raise TypeError unless optional methods are defined in pairs, and one of those needed is.

    Parameters
    ----------
    part : object
        Of a subclass of `base`, whose own methods mean that there is nothing.
    pairs : mapping of str to str
        A method and its derivative, of which nobody may define one alone.
    needed : sequence of str
        Methods of which at least one must be defined; none if there are none.
    """
    kind, hooks = type(part).__name__, [*pairs, *pairs.values()]
    own = [name for name in dir(part) if not name.startswith("_") and not hasattr(base, name)]
    left_out = [name for name in hooks if not overrides(part, base, name)]

    def hint(names: Sequence[str], cutoff: float) -> str:
        close = [(name, get_close_matches(name, own, 1, cutoff)) for name in names]
        found = [f" Did you mean `{name}` by `{got[0]}`?" for name, got in close if got]
        return found[0] if found else ""

    for method, derivative in pairs.items():
        if (method in left_out) != (derivative in left_out):
            there, missing = (derivative, method) if method in left_out else (method, derivative)
            raise TypeError(
                f"`{kind}` defines `{there}` but not `{missing}`: define both."
                + hint([missing], 0.6)
            )
    if needed and all(name in left_out for name in needed):
        either = " nor ".join(f"`{name}`" for name in needed)
        raise TypeError(f"`{kind}` defines neither {either}: it would be zero." + hint(needed, 0.6))
    misspelt = [name for name in left_out if get_close_matches(name, own, 1, 0.88)]
    if misspelt:
        raise TypeError(f"`{kind}` does not define `{misspelt[0]}`." + hint(misspelt, 0.88))


class Uncopied:
    """Base of objects that neither `copy` nor `pickle` may take apart: both raise TypeError."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled, because its parts share "
            "memory; make another from the same arguments, and save controls by `Control.save`."
        )
