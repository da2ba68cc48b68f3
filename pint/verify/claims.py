"""What is claimed about the methods that a user writes, and how results are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.verify.arguments import Place, Sample, entry
from pint.verify.reports import Finding, finite

UNCHANGED = "argument is left as it is"
SHAPE = "has the right shape"
FINITE = "is finite"
REPEATED = "is the same when called again, whatever was called before"
BATCH = "a batch is the same as a loop"
KNOWN = "has only names of fields"
RUNS = "returns without an error"
READ_ONLY = "accepts read-only arguments"
ALL_FINITE = "all states are finite"

Outcomes = dict[tuple[str, str], Finding]
"""Findings by field and claim."""


def finding_of(outcome: Outcomes, field: str, claim: str, method: object) -> Finding:
    """Return the finding about a claim; not run if the method could not be called."""
    called = outcome["call", RUNS]
    if claim != RUNS and math.isnan(called.error):
        return called
    if claim != RUNS and called.error:
        return Finding(math.nan, note=f"not run, because {method} raises an error")
    return outcome.get((field, claim), Finding())


def known_fields(result: dict[str, Any], results: list[Place], found: Outcomes) -> dict[str, Any]:
    """Return a result without names that are no field; these count as errors."""
    known = {}
    for key, value in result.items():
        if isinstance(value, Mapping):
            wrong = [name for name in value if (key, name) not in results]
            note = f"no field is called {', '.join(map(repr, wrong))}" if wrong else ""
            found[key, KNOWN] = Finding(float(len(wrong)), note=note)
            value = {name: value[name] for name in value if name not in wrong}
        known[key] = value
    return known


def difference(a: Any, b: Any, sample: Sample, rows: bool) -> Finding:
    """Return the largest difference, 0 if bitwise equal, infinity if shapes differ."""
    if a is None or np.shape(a) != np.shape(b):
        return Finding(math.inf, note=f"has shape {np.shape(a)} instead of {np.shape(b)}")
    a, b = np.asarray(a), np.asarray(b)
    if np.array_equal(a, b, equal_nan=True):
        return Finding()
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    index = np.unravel_index(int(np.argmax(np.where(np.isnan(apart), np.inf, apart))), a.shape)
    note = f"is {a[index]:.6g} instead of {b[index]:.6g}"
    return Finding(finite(float(apart[index])), entry(sample, index, rows), note)  # type: ignore[arg-type]
