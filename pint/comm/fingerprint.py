"""A short number for the content of options, arrays and users' objects, to compare them by."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, np.generic, np.dtype)
_CONTAINERS = (Mapping, list, tuple, Set, functools.partial)
_CONSTANTS = (bool, int, float, complex, str, tuple, np.ndarray, np.generic)
_ROW = 4096
"""Numbers of a large array that are added up together."""


def fingerprint(value: Any) -> int:
    """Return 52 bits that depend on the content of a value. Not collective.

    Equal content gives equal numbers, in every process; other content gives others, but for a
    chance of 1 in 10^15. They fit a float without rounding. See `fingerprints` for what counts as
    content.
    """
    return _number(_digest(value, set()))


def fingerprints(value: Any, name: str = "") -> dict[str, int]:
    """Return the fingerprints of the parts of a value, by their names. Not collective.

    Numbers, texts, paths and arrays have no parts. The parts of a mapping are its values, those
    of a sequence its items, of a dataclass its public fields, of any other object its class, its
    public attributes, and numbers, texts and arrays that its class has: names that begin with an
    underscore do not count, nor do names in the object's `may_differ`. Functions and classes
    count by their names, wherever they are defined, since a program becomes a module; a random
    generator by its state. A module or a foreign object without attributes counts by its class;
    all communicators are alike.

    Parameters
    ----------
    value : object
    name : str
        How to call the value; a part is called ``name.part``, or ``name[part]``.
    """
    return {part: _number(_digest(found, set())) for part, found in leaves(value, name)}


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little") >> 12


def leaves(
    value: Any, name: str = "", above: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each part of a value: see `fingerprints`. Not collective."""
    if id(value) in above:
        yield name, type(value)
        return
    parts = _parts(value)
    if not parts:
        yield name, value
        return
    if not isinstance(value, _CONTAINERS):
        yield name, type(value)
    for key, part in parts:
        label = f"{name}.{key}" if name and isinstance(key, str) else f"{name}[{key}]"
        yield from leaves(part, label if name else str(key), above | {id(value)})


def _digest(value: Any, above: set[int]) -> bytes:
    """Return the digest of a value within the values `above`, which may contain each other."""
    kind = type(value)
    text = kind.__qualname__
    state = hashlib.blake2b(digest_size=16)
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        state.update(f"integer {int(value)}".encode())
    elif isinstance(value, (float, np.floating)):
        state.update(f"real {float(value).hex()}".encode())
    elif isinstance(value, _PLAIN):
        state.update(f"{text} {value!r}".encode())
    elif isinstance(value, Enum):
        state.update(f"{text} {value.name}".encode())
    elif isinstance(value, np.ndarray):
        state.update(f"array {value.dtype.str} {value.shape}".encode())
        state.update(_content(value))
    elif _is_function(value):
        state.update(value.__qualname__.encode())
    elif _is_communicator(value):
        state.update(b"communicator")
    elif isinstance(value, np.random.Generator):
        state.update(_digest(value.bit_generator.state, above))
    else:
        state.update(text.encode())
        if id(value) not in above:
            for key, part in _parts(value) or ():
                state.update(f"|{key}|".encode())
                state.update(_digest(part, above | {id(value)}))
    return state.digest()


def _parts(value: Any) -> list[tuple[str | int, Any]] | None:
    """Return the parts of a value with their names, in an order that is the same everywhere."""
    if _is_function(value) or _is_communicator(value):
        return None
    if isinstance(value, (*_PLAIN, Enum, np.ndarray, np.random.Generator, type, types.ModuleType)):
        return None
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, Mapping):
        return sorted(((str(key), part) for key, part in value.items()), key=lambda item: item[0])
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, Set):
        return list(enumerate(sorted(value, key=repr)))
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
    else:
        slots = [getattr(parent, "__slots__", ()) for parent in type(value).__mro__]
        own = {name for some in slots for name in ([some] if isinstance(some, str) else some)}
        names = sorted({*own, *getattr(value, "__dict__", ()), *_constants(type(value))})
    hidden = ("may_differ", *getattr(value, "may_differ", ()))
    return [
        (name, getattr(value, name))
        for name in names
        if not name.startswith("_") and name not in hidden and hasattr(value, name)
    ]


def _constants(kind: type) -> tuple[str, ...]:
    """Return the names of the numbers, texts and arrays that a class has."""
    return tuple(
        {
            name
            for parent in kind.__mro__
            for name, value in vars(parent).items()
            if isinstance(value, _CONSTANTS) and not name.startswith("_")
        }
    )


def _is_function(value: Any) -> bool:
    """Whether a value is a class or a function, be it one that a compiler has wrapped."""
    # Compiled functions take on the names of those that they are made of, which no instance has.
    return isinstance(getattr(value, "__qualname__", None), str) and hasattr(value, "__module__")


def _is_communicator(value: Any) -> bool:
    """Whether a value is one; all are alike, for a run may continue on other ranks."""
    return hasattr(value, "Allreduce") and not isinstance(value, type)


def _content(array: np.ndarray) -> bytes:
    """Return what the numbers of an array have left in some of them, fewer if it is large."""
    if array.dtype.hasobject:
        return repr(array.tolist()).encode()
    whole = np.ascontiguousarray(array)
    if whole.nbytes <= 8 * _ROW:
        return whole.tobytes()
    # Sums of the bits by row and by column take a tenth of the time of a digest.
    raw = whole.reshape(-1).view(np.uint8)
    rest = raw.size % (8 * _ROW)
    table = raw[: raw.size - rest].view(np.uint64).reshape(-1, _ROW)
    sums = (table.sum(axis=0, dtype=np.uint64), table.sum(axis=1, dtype=np.uint64))
    return b"".join(part.tobytes() for part in (*sums, raw[raw.size - rest :]))
