"""Solves to a tolerance: how many there were, and a word when one does not meet it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pint.comm import SerialComm, alike, reduce
from pint.errors import ConvergenceError, ConvergenceWarning

Unconverged = Literal["warn", "error", "ignore"]

SLOW = 0.9
"""Where the residual shrinks by less in a cycle, more cycles are no way out."""


@dataclass(frozen=True)
class Missed:
    """A solve that has not met its tolerance: the last residual norm, and the largest allowed."""

    equation: str
    residual: float
    bound: float

    def __str__(self) -> str:
        return f"{self.equation}, residual norm {self.residual:.3g}, tolerance {self.bound:.3g}"


class Solves:
    """Counts the solves that were to meet a tolerance, and says so when one did not.

    Parameters
    ----------
    unconverged : 'warn', 'error' or 'ignore'
        Warn of the first solve that does not meet its tolerance, raise an error at each, or count
        alone.
    speaks : bool
        Whether this rank is the one that warns.
    comm : communicator
        The ranks whose solves are separate ones, and which must raise together.

    Attributes
    ----------
    asked : int
        Solves to a tolerance so far.
    converged : int
        Those that have met it.
    worst : Missed or None
        The solve that has ended farthest above its tolerance, relative to that.
    """

    def __init__(
        self, unconverged: Unconverged = "warn", speaks: bool = True, comm: Any = None
    ) -> None:
        self._action, self._speaks = unconverged, speaks
        self._comm = SerialComm() if comm is None else comm
        self.asked = self.converged = 0
        self.worst: Missed | None = None

    def note(self, equation: str, residuals: Sequence[float], bound: float) -> None:
        """Count a solve that was to end with a residual of at most `bound`. Collective.

        A residual that is NaN is counted, and not reported: the objective is then NaN, too, which
        is an error elsewhere, or the line search deals with it.

        Parameters
        ----------
        equation : str
            For the message.
        residuals : sequence of float
            Their norms, cycle by cycle.
        bound : float

        Raises
        ------
        ConvergenceError
            Identically on every rank, if the bound is not met and that is an error.
        """
        converged = residuals[-1] <= bound
        self.asked += 1
        self.converged += converged
        wrong = not converged and not math.isnan(residuals[-1])
        if wrong:
            missed, worst = Missed(equation, residuals[-1], bound), self.worst
            # Products, since a bound may be zero.
            if worst is None or missed.residual * worst.bound >= worst.residual * missed.bound:
                self.worst = missed
        if self._action == "error" and reduce(self._comm, wrong, "max")[0]:
            raise alike(ConvergenceError(_message(equation, residuals, bound)))
        if wrong and self._action == "warn":
            self.warn(_message(equation, residuals, bound))
            self._action = "ignore"  # one word is enough: the numbers stay in the counts

    def warn(self, text: str) -> None:
        """Warn from the first rank, unless warnings are to be ignored, or errors."""
        if self._action == "warn" and self._speaks:
            warnings.warn(text, ConvergenceWarning, _frames_of_pint())


def _message(equation: str, residuals: Sequence[float], bound: float) -> str:
    cycles, last = len(residuals), residuals[-1]
    factor = last / residuals[-2] if cycles > 1 and residuals[-2] > 0 else math.nan
    plural = "s" if cycles > 1 else ""
    text = (
        f"MGRIT for the {equation} did not converge: after {cycles} cycle{plural} the residual "
        f"norm is {last:.3g} and had to be at most {bound:.3g}"
    )
    if not math.isnan(factor):
        text += f"; the last cycle changed it by the factor {factor:.2g}"
    ways = [
        "more relaxation (FCF, FCFCF)",
        "fewer levels",
        "a smaller coarsening factor",
        "one level (sequential steps)",
    ]
    if not factor > SLOW:
        more = math.log(bound / last) / math.log(factor) if 0 < bound < last and factor > 0 else 0
        number = f", some {math.ceil(cycles + more)}" if more else ""
        ways = [f"more cycles (`Accuracy(cycles=...)`{number})", *ways]
    elif last < 1e-6 * max(residuals):
        ways = ["a larger tolerance, if rounding keeps the residual from falling", *ways]
    return (
        f"{text}. Numbers computed from it may be far from right: use {', '.join(ways[:-1])} or "
        f"{ways[-1]}; `pint.diagnose(functional, control)` measures which of them helps."
    )


def _frames_of_pint() -> int:
    """Return the level of the caller's line outside this package, for `warnings.warn`."""
    package, frame, level = str(Path(__file__).parents[1]), sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
