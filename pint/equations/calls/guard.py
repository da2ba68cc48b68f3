"""What happens around a call of a user's method: a watch at first, and NaN where it fails."""

from __future__ import annotations

import logging
import math
from typing import Any

from pint.equations.calls.watch import watches
from pint.errors import NumericalError
from pint.interface import Problem
from pint.states import StateSpace

logger = logging.getLogger(__name__)

NOTHING = math.nan
"""What a method has returned that has raised NumericalError, told apart by identity."""


class Guard:
    """Calls methods by name, watches their first calls, and notes where one fails.

    Parameters
    ----------
    problem : Problem
    space : StateSpace
        Of its states.

    Attributes
    ----------
    failure : str
        The first NumericalError of a user's method on this rank since the last state solve began.
    """

    def __init__(self, problem: Problem, space: StateSpace) -> None:
        self.space, self.failure, self._watches = space, "", watches(problem)

    def unwatch(self) -> None:
        """Let the methods change their arguments, in place."""
        for watch in self._watches.values():
            watch.is_over = True
        self._watches.clear()

    def returned(self, owner: Any, name: str, states: tuple[int, ...], *arguments: Any) -> Any:
        """Return what a user's method returns, or `NOTHING` if it raises NumericalError."""
        watch = self._watches.get(name)
        before = watch.copies(arguments) if watch else []
        try:
            result = self.space.native(getattr(owner, name), states)(*arguments)
        except NumericalError as error:
            return self.failed(error, owner, name)
        if watch:
            watch.compare(arguments, before)
            if watch.is_over:
                del self._watches[name]
        return result

    def failed(self, error: NumericalError, owner: object, method: str) -> float:
        """Note that a user's method has failed, if it is the first; return its result, NaN."""
        if not self.failure:
            of, text = type(getattr(owner, "ode", owner)).__name__, " ".join(str(error).split())
            self.failure = f"`{of}.{method}` raised {type(error).__name__}: {text}"
            logger.info("%s; its result counts as NaN", self.failure)
        return NOTHING
