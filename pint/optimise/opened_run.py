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
from pint.optimise.identity import content_difference, difference, signature, whole_shape
from pint.optimise.lbfgs import MOST_PAIRS
from pint.optimise.rules import POSITIVE, check_generator, check_numbers, is_count, short
from pint.optimise.run import Run
from pint.optimise.saved_run import FORMAT, SavedRun, c_points
from pint.report.archives import Archive, Declared, open_archive
from pint.report.reading import LEAST_UNPACKED, LONGEST_JSON, parse_json

TEXTS = ("problem", "run", "digests")
MOST_ROWS, MOST_COLUMNS = 10**7, 1000


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
    fields : dict of str to tuple of int
        Shapes of the control's fields, all time steps and all ranks together.
    starts : dict of str to Declared
        Of what solves start from.
    most_pairs : int
        Of the inverse Hessian.
    random : Generator or None
    """

    signature: dict[str, np.ndarray]
    content: dict[str, int]
    numbers: dict[str, Any]
    fields: dict[str, tuple[int, ...]]
    starts: dict[str, Declared]
    most_pairs: int
    random: np.random.Generator | None

    @classmethod
    def of(cls, run: Run, content: dict[str, int], random: np.random.Generator | None) -> Expected:
        """Return what the file of `run` must be like. Collective."""
        functional = run.point.functional
        grid, space = functional.grid, functional.controls
        shape, hessian = whole_shape(functional), run.hessian
        memory = MOST_PAIRS if hessian.by_size else hessian.memory
        starts = {}
        for name, block in c_points(run).items():
            count = grid.steps // grid.coarsening[0]
            dtype = functional.space.as_array(block).dtype
            starts[name] = Declared(dtype, (count, *shape))
        return cls(
            signature=signature(run),
            content=content,
            numbers=run.state_dict(),
            fields={
                name: ((grid.steps,) if name in space.time_fields else ()) + space.block_shape(name)
                for name in space.fields
            },
            starts=starts,
            most_pairs=MOST_ROWS if memory is None else memory,
            random=random,
        )


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
        for name in (*expected.signature, *TEXTS, "history", "history_columns", "products")
        if name not in archive.declared
    ]
    if missing:
        raise ValueError(f"it has no entry `{missing[0]}`")
    for name, value in expected.signature.items():
        _raise_other(difference(name, _small(archive, name), value))
    texts = {name: _json(archive, name) for name in TEXTS}
    _raise_other(content_difference(_numbers("problem", texts["problem"]), expected.content))
    _check_declared(archive.declared, expected)
    arrays = {name: archive.read(name) for name in archive.declared}
    run = texts["run"]
    _check_names("run", run, ("numbers", "scaling", "random"))
    check_numbers(run["numbers"], expected.numbers)
    POSITIVE.check("scaling", run["scaling"])
    random = _random(run["random"], expected.random)
    _check_arrays(arrays, expected)
    history = rows_of(arrays["history_columns"].tolist(), arrays["history"])
    # Last, for it says less than the checks above.
    _check_digests(arrays, _numbers("digests", texts["digests"]))
    return SavedRun(
        arrays={name: arrays[name] for name in _names(arrays, expected)},
        history=history,
        numbers=run["numbers"],
        scaling=float(run["scaling"]),
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


def _check_declared(declared: Mapping[str, Declared], expected: Expected) -> None:
    """Raise ValueError unless the arrays have the names, types and shapes of those of a run."""
    _length("products", declared, 2, 3)
    pairs = declared["products"].shape[-1]
    if pairs > expected.most_pairs:
        raise ValueError(f"`products` must be of at most {expected.most_pairs} pairs, not {pairs}")
    rows = _length("history", declared, MOST_ROWS, 2)
    columns = _length("history_columns", declared, MOST_COLUMNS, kind="U")
    wanted = dict.fromkeys([*expected.signature, *TEXTS, "format", "history_columns"])
    real = np.dtype(float)
    shapes = {
        "products": (2, pairs, pairs),
        "history": (rows, columns),
        **{f"control.{name}": (1, *shape) for name, shape in expected.fields.items()},
    }
    for part in ("s", "y") if pairs else ():
        shapes |= {f"{part}.{name}": (pairs, *shape) for name, shape in expected.fields.items()}
    fixed = {name: Declared(real, shape) for name, shape in shapes.items()} | expected.starts
    for name in declared:
        if name not in fixed and name not in wanted and name != "trajectory":
            raise ValueError(f"it has an unknown entry `{name}`")
    for name, one in {**fixed, "trajectory": None}.items():
        found = declared.get(name)
        if found is None:
            raise ValueError(f"it has no entry `{name}`")
        allowed = [Declared(real, (length,)) for length in (0, 1)] if one is None else [one]
        if found not in allowed:
            raise ValueError(f"`{name}` must be {allowed[-1]}, not {found}")
    if rows < 1:
        raise ValueError("`history` has no row")


def _length(
    name: str, declared: Mapping[str, Declared], most: int, dimensions: int = 1, kind: str = "f"
) -> int:
    found = declared[name]
    if len(found.shape) != dimensions or found.dtype.kind != kind or found.shape[0] > most:
        raise ValueError(
            f"`{name}` must have {dimensions} dimension(s) and kind {kind}, not {found}"
        )
    return found.shape[0]


def _names(arrays: Mapping[str, np.ndarray], expected: Expected) -> list[str]:
    """Return the entries from which a run is restored."""
    parts = ("control.", "s.", "y.")
    rest = {"products", "trajectory", *expected.starts}
    return [name for name in arrays if name in rest or name.startswith(parts)]


def _check_digests(arrays: Mapping[str, np.ndarray], digests: Mapping[str, int]) -> None:
    for name, array in arrays.items():
        if name != "digests" and digests.get(name) != fingerprint(array):
            raise ValueError(f"`{name}` is not what was saved")


def _check_arrays(arrays: Mapping[str, np.ndarray], expected: Expected) -> None:
    for name in _names(arrays, expected):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"`{name}` contains NaN or infinity")
    least = arrays["products"][0].diagonal().min(initial=np.inf)
    if least <= 0:
        raise ValueError(f"`products` must have (s, y) > 0 of each pair, got {least:.10g}")


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
