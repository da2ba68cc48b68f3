"""Wall time by phase: what a rank spends on relaxation, on coarse levels, on waiting, ..."""

from __future__ import annotations

import time
from typing import Any, Literal, get_args

from pint.comm import Reductions, reduce

Phase = Literal["relaxation", "coarse", "communication", "gradient", "update"]

PHASES: tuple[Phase, ...] = get_args(Phase)
"""All phases.

- ``relaxation``: relaxation and residual on level 0, and sequential stepping there
- ``coarse``: everything on coarser levels, and the first guess
- ``communication``: waiting for messages and for sums over the ranks, within any phase
- ``gradient``: the linearised cost, and the derivative with respect to the control
- ``update``: new control: direction, line search, curvature pairs
"""


class Phases:
    """Clocks of one rank, of which at most one runs: a phase inside another stops the outer one.

    ``with phases("coarse"): ...`` adds to ``seconds["coarse"]`` what is not spent in phases
    entered inside. The sum over the phases is at most the wall time; the rest was spent in none.

    Attributes
    ----------
    seconds : dict
        Wall time in seconds for each of `PHASES`, up to the last change of phase.
    reducing : float
        The part of ``seconds["communication"]`` that was spent in sums over ranks.

    Examples
    --------
    >>> phases = Phases()
    >>> with phases("relaxation"):
    ...     with phases("communication"):
    ...         pass
    >>> list(phases.seconds)
    ['relaxation', 'coarse', 'communication', 'gradient', 'update']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.reducing = 0.0
        self._open: list[str] = []
        self._since = 0.0
        self._outside = Reductions.clock
        self._reductions = _ReductionClock(self)
        # Made once, so that entering a phase creates no object.
        self._clocks = {phase: _Clock(self, phase) for phase in PHASES}

    def __call__(self, phase: Phase) -> _Clock:
        """Return the context of a phase, to be used in a with statement. Not collective.

        Raises
        ------
        ValueError
            If there is no such phase.
        """
        try:
            return self._clocks[phase]
        except KeyError:
            raise ValueError(f"`phase` is one of {', '.join(PHASES)}, got {phase!r}.") from None

    @property
    def parts(self) -> dict[str, float]:
        """Wall time in seconds in all phases: ``compute``, ``wait`` for messages, ``reduce``."""
        communication = self.seconds["communication"]
        return {
            "compute": sum(self.seconds.values()) - communication,
            "wait": communication - self.reducing,
            "reduce": self.reducing,
        }

    def report(self, comm: Any) -> str:
        """Return a table of the `parts` of each rank, in seconds. Collective on `comm`."""
        rows = comm.allgather(self.parts)
        lines = ["rank" + "".join(f"{name:>10}" for name in rows[0])]
        for rank, parts in enumerate(rows):
            lines.append(f"{rank:4}" + "".join(f"{seconds:10.3f}" for seconds in parts.values()))
        return "\n".join(lines)

    def maxima(self, comm: Any) -> dict[str, float]:
        """Return for each phase the seconds of the rank that spent most. Collective on `comm`."""
        most = reduce(comm, [self.seconds[phase] for phase in PHASES], "max")
        return {phase: float(value) for phase, value in zip(PHASES, most, strict=True)}


class _Clock:
    """The context of one phase; it holds no state of an entry and so may be nested in itself."""

    __slots__ = ("_open", "_phase", "_phases", "_seconds")

    def __init__(self, phases: Phases, phase: str) -> None:
        self._phases, self._phase = phases, phase
        self._open, self._seconds = phases._open, phases.seconds

    def __enter__(self) -> None:
        now, phases = time.perf_counter(), self._phases
        if self._open:
            self._seconds[self._open[-1]] += now - phases._since
        else:
            phases._outside, Reductions.clock = Reductions.clock, phases._reductions
        self._open.append(self._phase)
        phases._since = now

    def __exit__(self, *error: object) -> None:
        now, phases = time.perf_counter(), self._phases
        self._seconds[self._open.pop()] += now - phases._since
        phases._since = now
        if not self._open:
            Reductions.clock = phases._outside


class _ReductionClock:
    """The context of a sum over ranks: `communication`, of which it is told apart."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases
        self._began = 0.0

    def __enter__(self) -> None:
        self._phases("communication").__enter__()
        self._began = self._phases._since

    def __exit__(self, *error: object) -> None:
        self._phases("communication").__exit__()
        self._phases.reducing += self._phases._since - self._began
