"""What a checkpoint has to know of a run, of whatever method: one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pint.optimise.result import Iterate
from pint.reduced_functional import ReducedFunctional
from pint.report.archives import Declared

MOST_ROWS = 10**7
"""Of arrays whose length changes from run to run."""


class Compared(NamedTuple):
    """A number of a saved run, and what it is for the problem that resumes it.

    Attributes
    ----------
    name : str
    before, now : float
    scale : float
        Rounding may change the number by a small part of it.
    """

    name: str
    before: float
    now: float
    scale: float


class Layout(ABC):
    """Which arrays a run has, for the rank that reads the file. Nothing here is collective."""

    @abstractmethod
    def wanted(self, declared: Mapping[str, Declared]) -> dict[str, tuple[Declared, ...]]:
        """Return by name what each array may be; each has to be there.

        `declared` tells the lengths that change from run to run. ValueError if one is too large,
        or missing.
        """

    @abstractmethod
    def check(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raise ValueError if a number of the arrays cannot be one of a run; all are finite."""


class Resumable(ABC):
    """A run between two updates, which can be saved and restored. Methods are collective.

    Attributes
    ----------
    history : list of Iterate
    """

    history: list[Iterate]

    @property
    @abstractmethod
    def functional(self) -> ReducedFunctional:
        """What is minimised."""

    @property
    @abstractmethod
    def is_finite(self) -> bool:
        """Whether the run can go on from here."""

    @abstractmethod
    def solver(self) -> dict[str, np.ndarray]:
        """Return `solves` and `hessian`: texts that tell its method from others."""

    @abstractmethod
    def numbers(self) -> dict[str, Any]:
        """Return what changes from update to update, apart from arrays and the history.

        The part `numbers` has the names that are in `rules.RULES`, others have their own.
        """

    @abstractmethod
    def layout(self) -> Layout:
        """Return which arrays the file of such a run has."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, those of all ranks together, by name."""

    @abstractmethod
    def restore(
        self, arrays: Mapping[str, np.ndarray], numbers: dict[str, Any], history: list[Iterate]
    ) -> None:
        """Become the saved run, in place.

        Raises
        ------
        ValueError
            On every rank, if the arrays do not fit each other.
        """

    @abstractmethod
    def compared(self, arrays: Mapping[str, np.ndarray]) -> list[Compared]:
        """Return numbers of the restored run that another problem would change."""


def largest(history: list[Iterate], name: str) -> float:
    """Return the largest size of a column of a history."""
    return max(abs(float(getattr(row, name))) for row in history)


def length_of(
    name: str,
    declared: Mapping[str, Declared],
    most: int,
    dimensions: int = 1,
    kind: str = "f",
) -> int:
    """Return the length that an array declares; ValueError if it is not what it must be."""
    if name not in declared:
        raise ValueError(f"it has no entry `{name}`")
    found = declared[name]
    if len(found.shape) != dimensions or found.dtype.kind != kind or found.shape[0] > most:
        raise ValueError(
            f"`{name}` must have {dimensions} dimension(s) and kind {kind}, not {found}"
        )
    return found.shape[0]
