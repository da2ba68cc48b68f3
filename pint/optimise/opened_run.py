"""Reading a checkpoint: everything in the file is checked, and what it declares before it is read.

An error is a ValueError in one line that names the file and the entry. Nothing here is collective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pint.comm import fingerprint
from pint.optimise.history_table import rows_of
from pint.optimise.identity import content_difference, difference, signature
from pint.optimise.resumable import MOST_ROWS, Layout, Resumable, length_of
from pint.optimise.rules import check_generator, check_numbers, is_count, short
from pint.optimise.saved_run import FORMAT, SavedRun
from pint.report.archives import Archive, Declared, open_archive
from pint.report.reading import LEAST_UNPACKED, LONGEST_JSON, parse_json

TEXTS = ("problem", "run", "digests")
MOST_COLUMNS = 1000


class OtherRunError(ValueError):
    """The file is sound, and belongs to another problem or another solver."""


@dataclass(frozen=True)
class Expected:
    """What the file of a run must be like.

    Attributes
    ----------
    signature : dict of str to ndarray
    content : dict of str to int
        Of the problem: `identity.content_of`.
    numbers : dict
        Of a run like it.
    layout : Layout
    random : Generator or None
    """

    signature: dict[str, np.ndarray]
    content: dict[str, int]
    numbers: dict[str, Any]
    layout: Layout
    random: np.random.Generator | None

    @classmethod
    def of(
        cls, run: Resumable, content: dict[str, int], random: np.random.Generator | None
    ) -> Expected:
        """Return what the file of `run` must be like. Collective."""
        return cls(signature(run), content, run.numbers(), run.layout(), random)


def read(path: str | Path, expected: Expected) -> SavedRun:
    """Return the run that a file holds.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, or belongs to another run.
    """
    with open_archive(path) as archive:
        declared = archive.declared.get("format")
        if declared is None or declared.size > 400 or str(archive.read("format")) != FORMAT:
            raise ValueError(f"{path} is no checkpoint of this version of pint.")
        try:
            return _read(archive, expected)
        except OtherRunError as error:
            raise ValueError(f"{path} {error}.") from None
        except ValueError as error:
            if str(error).startswith(str(path)):
                raise
            raise ValueError(f"{path} is damaged: {error}.") from None


def _read(archive: Archive, expected: Expected) -> SavedRun:
    missing = [
        name
        for name in (*expected.signature, *TEXTS, "history", "history_columns")
        if name not in archive.declared
    ]
    if missing:
        raise ValueError(f"it has no entry `{missing[0]}`")
    for name, value in expected.signature.items():
        _raise_other(difference(name, _small(archive, name), value))
    texts = {name: _json(archive, name) for name in TEXTS}
    _raise_other(content_difference(_numbers("problem", texts["problem"]), expected.content))
    own = _check_declared(archive.declared, expected)
    arrays = {name: archive.read(name) for name in archive.declared}
    run = texts["run"]
    _check_names("run", run, (*expected.numbers, "random"))
    for name, like in expected.numbers.items():
        check_numbers(run[name], like, "" if name == "numbers" else name)
    random = _random(run["random"], expected.random)
    for name in own:
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"`{name}` contains NaN or infinity")
    expected.layout.check(arrays)
    history = rows_of(arrays["history_columns"].tolist(), arrays["history"])
    # Last, for it says less than the checks above.
    _check_digests(arrays, _numbers("digests", texts["digests"]))
    return SavedRun(
        arrays={name: arrays[name] for name in own},
        history=history,
        numbers=run,
        random=random,
    )


def _raise_other(reason: str | None) -> None:
    if reason is not None:
        raise OtherRunError(reason)


def _small(archive: Archive, name: str) -> Any:
    """Return an entry of the signature; what is declared of it, if it is large."""
    declared = archive.declared[name]
    return archive.read(name) if declared.size <= LEAST_UNPACKED else declared


def _json(archive: Archive, name: str) -> Any:
    declared = archive.declared[name]
    if declared.dtype.kind != "U" or declared.shape or declared.size > 4 * LONGEST_JSON:
        raise ValueError(f"`{name}` must be a text, not {declared}")
    try:
        return parse_json(str(archive.read(name)))
    except ValueError as error:
        raise ValueError(f"`{name}` is no JSON: {error}") from None


def _check_names(name: str, found: Any, names: tuple[str, ...]) -> None:
    """Raise ValueError unless `found` is a dictionary with these names."""
    if not isinstance(found, dict) or found.keys() != set(names):
        raise ValueError(f"`{name}` must have {', '.join(names)}, got {short(found)}")


def _numbers(name: str, found: Any) -> dict[str, int]:
    if not isinstance(found, dict) or not all(
        is_count(value, 0, 2**52) for value in found.values()
    ):
        raise ValueError(f"`{name}` must be integers by name, got {short(found)}")
    return found


def _check_declared(declared: Mapping[str, Declared], expected: Expected) -> list[str]:
    """Return the names of the run's own arrays.

    Raises
    ------
    ValueError
        Unless all arrays have the names, types and shapes of those of a run.
    """
    wanted = expected.layout.wanted(declared)
    rows = length_of("history", declared, MOST_ROWS, 2)
    columns = length_of("history_columns", declared, MOST_COLUMNS, kind="U")
    every = {**wanted, "history": (Declared(np.dtype(float), (rows, columns)),)}
    others = {*expected.signature, *TEXTS, "format", "history_columns"}
    for name in declared:
        if name not in every and name not in others:
            raise ValueError(f"it has an unknown entry `{name}`")
    for name, allowed in every.items():
        found = declared.get(name)
        if found is None:
            raise ValueError(f"it has no entry `{name}`")
        if found not in allowed:
            raise ValueError(f"`{name}` must be {allowed[-1]}, not {found}")
    if rows < 1:
        raise ValueError("`history` has no row")
    return list(wanted)


def _check_digests(arrays: Mapping[str, np.ndarray], digests: Mapping[str, int]) -> None:
    for name, array in arrays.items():
        if name != "digests" and digests.get(name) != fingerprint(array):
            raise ValueError(f"`{name}` is not what was saved")


def _random(found: Any, random: np.random.Generator | None) -> dict[str, Any] | None:
    if random is None:
        return None
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"`random` must be the state of a generator, got {short(found)}")
    kind, expected = (found or {}).get("bit_generator"), type(random.bit_generator).__name__
    if kind != expected:
        raise OtherRunError(
            f"was saved with `Checkpoint(random=...)` of the kind {_kind_shown(kind)}, "
            f"not {expected}"
        )
    check_generator(found, random)
    return found


def _kind_shown(kind: Any) -> str:
    """Return the name of a kind of generator as messages show it."""
    return kind[:40] if isinstance(kind, str) else short(kind)
