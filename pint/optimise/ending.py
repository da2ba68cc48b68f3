"""Why a run ends before it has converged: signals, the callback, limits of time and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pint.comm import reduce
from pint.errors import integer, number
from pint.optimise.method import Method
from pint.optimise.result import Result, Stage, Status
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True, kw_only=True)
class Limited(Method):
    """A method whose runs have limits.

    Parameters
    ----------
    time_limit : float
        Wall time after which a run ends, seconds, by the clock of the rank that reaches it first.
        It is looked at before every trial of a control, not within a solve; the result is then
        evaluated. A resumed run begins again at zero.
    evaluations : int, optional
        Largest number of objectives to evaluate, those of rejected trials included, those of the
        result and of solves that are repeated more accurately left out. A resumed run goes on
        counting.
    """

    time_limit: float = math.inf
    evaluations: int | None = None

    def check_limits(self) -> None:
        """Raise ValueError if a limit is out of range."""
        owner = type(self).__name__
        if self.time_limit != math.inf:
            limit = number(owner, "time_limit", self.time_limit)
            object.__setattr__(self, "time_limit", limit)
        if self.evaluations is not None:
            most = integer(owner, "evaluations", self.evaluations, 1)
            object.__setattr__(self, "evaluations", most)


class Ending:
    """Tells all ranks alike whether a run is to end. Its methods are collective.

    Parameters
    ----------
    functional : ReducedFunctional
    limits : Limited
    """

    def __init__(self, functional: ReducedFunctional, limits: Limited) -> None:
        self.functional, self.limits = functional, limits
        self._started = time.perf_counter()

    def after_row(
        self, evaluations: int, asked: bool, signalled: Callable[[], bool] = lambda: False
    ) -> Status | None:
        """Return why the run ends after a row of the history, if it does.

        `asked` and `signalled` say whether this rank's callback or a signal asks for it.
        """
        late = self._elapsed() > self.limits.time_limit
        wishes = reduce(self.functional.comm, [signalled(), asked, late], "max")
        interrupted, stopped, late = reduce(self.functional.space.comm, wishes, "max")
        if interrupted:
            return Status.INTERRUPTED
        if stopped:
            return Status.STOPPED
        return Status.TIME_LIMIT if late else self._counted(evaluations)

    def before_trial(self, evaluations: int) -> Status | None:
        """Return why no further control is to be tried after some evaluations, if so."""
        if self.limits.time_limit < math.inf:  # the only reason to communicate
            late = reduce(self.functional.comm, self._elapsed() > self.limits.time_limit, "max")
            if reduce(self.functional.space.comm, late, "max")[0]:
                return Status.TIME_LIMIT
        return self._counted(evaluations)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _counted(self, evaluations: int) -> Status | None:
        most = self.limits.evaluations
        return Status.EVALUATION_LIMIT if most is not None and evaluations >= most else None


def remaining(method: Method, done: Result | Stage) -> Method:
    """Return the method with what a run has left of its limits."""
    if not isinstance(method, Limited):
        return method
    evaluations = method.evaluations
    if evaluations is not None:
        spent = sum(1 + row.line_search_trials for row in done.history)
        evaluations = max(evaluations - spent, 1)  # the first control is evaluated in any case
    seconds = max(method.time_limit - done.seconds, 0.0)
    return replace(method, time_limit=seconds, evaluations=evaluations)
