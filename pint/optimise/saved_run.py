"""The content of a checkpoint: a run as arrays of all ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.comm import fingerprint
from pint.optimise.history_table import HistoryTable
from pint.optimise.identity import signature
from pint.optimise.result import Iterate
from pint.optimise.resumable import Resumable

FORMAT = "pint checkpoint 4"


@dataclass(frozen=True)
class SavedRun:
    """What a file says of a run, on every rank.

    Attributes
    ----------
    arrays : dict of str to ndarray
        What `Resumable.arrays` returned.
    history : list of Iterate
    numbers : dict
        What `Resumable.numbers` returned.
    random : dict or None
        The state of the caller's random generator.
    """

    arrays: dict[str, np.ndarray]
    history: list[Iterate]
    numbers: dict[str, Any]
    random: dict[str, Any] | None


def arrays_of(
    run: Resumable,
    content: Mapping[str, int],
    table: HistoryTable,
    random: Mapping[str, Any] | None,
) -> dict[str, np.ndarray]:
    """Return all that is saved of a run; complete on the first rank. Collective.

    Parameters
    ----------
    run : Resumable
    content : mapping of str to int
        Of the problem, as the run found it: `identity.content_of`.
    table : HistoryTable
        Receives the rows of the history that it has not yet.
    random : mapping or None
        The state of the caller's random generator.
    """
    table.extend(run.history)
    return {
        "format": np.array(FORMAT),
        **signature(run),
        "problem": _text(content),
        # As text, numbers are restored to the last bit, and nothing has to be unpickled.
        "run": _text({**run.numbers(), "random": random}),
        "history": table.values,
        "history_columns": np.array(table.names),
        **run.arrays(),
    }


def sealed(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arrays with another one, which has the fingerprint of each. Not collective."""
    digests = {name: fingerprint(np.asarray(array)) for name, array in arrays.items()}
    return {**arrays, "digests": _text(digests)}


def _text(values: Any) -> np.ndarray:
    """Return JSON; the states of some random generators contain arrays."""
    return np.array(json.dumps(values, default=lambda value: value.tolist()))
