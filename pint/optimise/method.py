"""What every method of `pint.minimize` is: a value that knows its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from pint.controls import Control
from pint.equations import State
from pint.errors import check_names
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.result import Iterate, Result
from pint.reduced_functional import ReducedFunctional

Callback = Callable[[Iterate, Control, State], Any]
"""Receives each iterate, its control and its state; it cannot change them.

The run ends after the iterate, on all ranks, if the callback returns True or raises StopIteration
on one of them. All that it may return besides is ignored.
"""


class Method(ABC):
    """How `pint.minimize` searches for the optimum: a frozen dataclass of options.

    Attributes
    ----------
    takes_checkpoint : bool
        Whether a run can be saved and resumed.
    takes_any_grid : bool
        Whether the start may be a control on another time grid.
    """

    takes_checkpoint: ClassVar[bool] = False
    takes_any_grid: ClassVar[bool] = False

    def __new__(cls, *arguments: Any, **options: Any) -> Method:
        # The errors of the constructor that a dataclass gets do not say what options there are.
        check_names(cls.__name__, [field.name for field in fields(cls)], options)  # type: ignore[arg-type]
        return super().__new__(cls)

    @abstractmethod
    def check(self, problem: Problem, grid: TimeGrid) -> None:
        """Raise TypeError or ValueError unless the method suits the problem on `grid`."""

    @abstractmethod
    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        """Minimise from `start`, after `check`. Collective."""
