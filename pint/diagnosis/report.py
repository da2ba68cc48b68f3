"""What a diagnosis found: numbers, the slow part, trials, and what to change."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from pint.diagnosis.factors import Factor
from pint.diagnosis.histories import Residuals
from pint.diagnosis.setup import Setup
from pint.diagnosis.slow import SlowPart
from pint.diagnosis.trials import Trial


@dataclass(frozen=True)
class Recommendation:
    """What to use.

    Attributes
    ----------
    setup : Setup
        One level where no set-up that was tried converges fast enough to be faster than
        sequential steps on any number of ranks.
    changes : bool
        Whether it differs from the set-up in use.
    gain : float or None
        Steps to the tolerance with the set-up in use, over those with this one; None if the
        former does not converge.
    ranks : int or None
        As `Trial.ranks`; 1 for one level.
    instead : Setup or None
        With one level: the best set-up for methods of a few cycles, which solve to no tolerance.
    advice : tuple of str
        Other remedies for the cause, which were not tried.
    """

    setup: Setup
    changes: bool
    gain: float | None
    ranks: int | None
    instead: Setup | None = None
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [str(self.setup) if self.changes else f"keep {self.setup}"]
        if self.changes and self.gain is not None:
            parts.append(f"{self.gain:.2g} times fewer steps to the tolerance")
        elif self.changes:
            parts.append("the set-up in use does not converge")
        if self.setup.levels > 1:
            parts.append(f"faster than sequential steps from about {self.ranks} ranks on")
        else:
            parts.append("cycles to this tolerance take longer on any number of ranks")
        text = "; ".join(parts)
        if self.instead is not None:
            text += f". With a few cycles for each update (one-shot): {self.instead}"
        return ". ".join((text, *self.advice)) + "."


@dataclass(frozen=True)
class Diagnosis:
    """How state and adjoint equation converge, what is slow, and what to change.

    ``str()`` is the report; `pint.diagnosis.picture` draws it.

    Attributes
    ----------
    setup : Setup
        The one in use.
    steps : int
        N.
    tolerance : float
        Relative residual norm that counts as converged.
    factors : tuple of Factor
        By level, relaxation and equation.
    state, adjoint : Residuals
        The residuals to expect of a solve with the set-up in use, from its first guess.
    slow : SlowPart
    trials : tuple of Trial
        That with the set-up in use first. What it measured is to be compared with what `state`
        and `adjoint` predict.
    recommendation : Recommendation
    cost : float
        Steps evaluated for the diagnosis, on all ranks and levels, over those of a sequential
        state solve.
    left_out : int
        Set-ups that the budget left untried.
    """

    setup: Setup
    steps: int
    tolerance: float
    factors: tuple[Factor, ...]
    state: Residuals
    adjoint: Residuals
    slow: SlowPart
    trials: tuple[Trial, ...]
    recommendation: Recommendation
    cost: float
    left_out: int = 0

    def trial(self, setup: Setup) -> Trial | None:
        """Return the trial of a set-up, None if it was not tried."""
        return next((trial for trial in self.trials if trial.setup == setup), None)

    def __str__(self) -> str:
        own, notes = self.trials[0], []
        if self.trial(self.recommendation.setup) is not None:
            notes.append("* recommended")
        if self.left_out:
            notes.append(f"{self.left_out} more set-ups left out")
        rest = f" ({', '.join(notes)})" if notes else ""
        return "\n".join(
            [
                f"Diagnosis of {self.setup}, N = {self.steps}, relative tolerance "
                f"{self.tolerance:.2g}",
                "",
                "Two-level factors (theory: by the eigenvalues of the step; bound: for any error)",
                *_factor_table(self.factors),
                "",
                *_cycle_lines("state", self.state, own.state),
                *_cycle_lines("adjoint", self.adjoint, own.adjoint),
                "",
                *_paragraph(f"Slow part: {self.slow}"),
                "",
                *_paragraph(f"Recommendation: {self.recommendation}"),
                "",
                f"Tried, to the tolerance in state and adjoint{rest}",
                *_trial_table(self.trials, self.steps, self.recommendation.setup),
                f"This diagnosis took the steps of {self.cost:.0f} sequential solves.",
            ]
        )


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 80, subsequent_indent="  ", break_on_hyphens=False)


def _factor_table(factors: tuple[Factor, ...]) -> list[str]:
    lines = ["  level   m  relaxation   state  adjoint  theory   bound"]
    rows: dict[tuple[int, int, str], dict[str, Factor]] = {}
    for one in factors:
        rows.setdefault((one.level, one.coarsening, one.relaxation), {})[one.equation] = one
    for (level, m, relaxation), pair in rows.items():
        state, adjoint = pair["state"], pair["adjoint"]
        theory = "-" if state.theory is None else f"{state.theory:.3g}"
        bound = "-" if state.bound is None else f"{state.bound:.3g}"
        lines.append(
            f"  {level}-{level + 1} {m:6d}  {relaxation:10s} {state.value:7.3g} "
            f"{adjoint.value:8.3g} {theory:>7s} {bound:>7s}"
        )
    return lines


def _cycle_lines(name: str, predicted: Residuals, measured: Residuals) -> list[str]:
    def shown(residuals: Residuals) -> str:
        if not residuals.norms:
            return "not solved"
        many = "no convergence" if residuals.cycles is None else f"{residuals.cycles} cycles"
        return f"{many} (mean factor {residuals.factor:.3g})"

    cycles = f"predicted {shown(predicted)}, tried {shown(measured)}"
    return _paragraph(f"Cycles of the {name} equation: {cycles}")


def _trial_table(trials: tuple[Trial, ...], steps: int, best: Setup) -> list[str]:
    width = max(len("set-up"), *(len(str(trial.setup)) for trial in trials)) + 2
    lines = [f"    {'set-up':{width}s}state  adjoint   steps/N  ranks"]
    for trial in trials:
        mark = "*" if trial.setup == best else " "
        state, adjoint = (_count(one) for one in (trial.state, trial.adjoint))
        cost = "-" if trial.steps is None else f"{trial.steps / steps:.1f}"
        ranks = "-" if trial.ranks is None else f">= {trial.ranks}"
        lines.append(
            f"  {mark} {trial.setup!s:{width}s}{state:>5s} {adjoint:>8s} {cost:>9s} {ranks:>6s}"
        )
    return lines


def _count(residuals: Residuals) -> str:
    if not residuals.norms or residuals.cycles is None:
        return "-"
    return f"{residuals.cycles}" if residuals.met else f"~{residuals.cycles}"
