"""What a check found: numbers, a text that names the place, and an exception on demand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from pint.errors import VerificationError


@dataclass(frozen=True)
class Check:
    """One claim about one method.

    Attributes
    ----------
    method : str
        Class and method, "PendulumAdjoint.vjp".
    level : int or None
        None for methods that do not belong to a level.
    field : str
        Argument or result: "y", "u['force']", "theta['mass']", ...
    claim : str
        What was checked.
    error, tolerance : float
        Dimensionless; the check passed if error <= tolerance. An error that is NaN is reported
        as infinity; NaN stands for a check that could not be run.
    by_differences : bool
        Whether a derivative was taken by differences, because the complex step did not work.
    entry : str
        Where the error is largest: "step 4, entry [1]".
    note : str
        What is wrong, as far as it is known, or why the check could not be run.
    """

    method: str
    level: int | None
    field: str
    claim: str
    error: float
    tolerance: float = 0.0
    by_differences: bool = False
    entry: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the claim holds."""
        return self.error <= self.tolerance

    @property
    def not_run(self) -> bool:
        """Whether an error elsewhere left nothing to check."""
        return math.isnan(self.error)

    @property
    def failed(self) -> bool:
        """Whether the claim was checked and does not hold."""
        return not self.passed and not self.not_run

    @property
    def place(self) -> str:
        """Method and level."""
        return self.method if self.level is None else f"{self.method}, level {self.level}"

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.place, self.field, self.entry) if part)
        if self.not_run:
            return f"{where}: {self.claim}: {self.note}"
        how = " (by differences)" if self.by_differences else ""
        note = f"; {self.note}" if self.note else ""
        return (
            f"{where}: {self.claim}: "
            f"error {self.error:.1e}, tolerance {self.tolerance:.0e}{how}{note}"
        )


@dataclass(frozen=True)
class Finding:
    """The outcome of a claim in one call: `error`, `entry` and `note` of a `Check`."""

    error: float = 0.0
    entry: str = ""
    note: str = ""


F = TypeVar("F", Finding, Check)


def worst(found: Iterable[F]) -> F:
    """Return the finding or check with the largest error; one that was not run counts least."""
    return max(found, key=lambda one: -1.0 if math.isnan(one.error) else one.error)


@dataclass(frozen=True)
class Report:
    """The outcome of `check_problem` or of one of its tests, the same on every rank.

    Attributes
    ----------
    test : str
    checks : tuple of Check
    """

    test: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.failed)

    @property
    def not_run(self) -> tuple[Check, ...]:
        """The checks that an error elsewhere made meaningless."""
        return tuple(check for check in self.checks if check.not_run)

    @property
    def passed(self) -> bool:
        """Whether all checks were run and passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        failed, left = len(self.failures), len(self.not_run)
        outcome = f"{failed} of {len(self.checks)} checks failed" if failed else "passed"
        outcome += f", {left} could not be run" if left else ""
        lines = [f"{self.test}: {outcome}"]
        lines += [f"  FAILED {check}" for check in self.failures]
        lines += self._not_run_lines()
        groups: dict[str, list[float]] = {}
        for check in self.checks:
            if check.passed:
                groups.setdefault(check.place, []).append(check.error)
        lines += [
            f"  passed {place}: {len(errors)} checks, largest error {max(errors):.1e}"
            for place, errors in groups.items()
        ]
        return "\n".join(lines)

    def _not_run_lines(self) -> list[str]:
        """Return a line for each reason."""
        reasons: dict[str, list[str]] = {}
        for check in self.not_run:
            reasons.setdefault(check.note, []).append(check.place)
        return [
            f"  {note} ({len(places)} checks): {'; '.join(dict.fromkeys(places))}"
            for note, places in reasons.items()
        ]

    def require(self) -> None:
        """Raise VerificationError with the report's text unless all checks passed."""
        if not self.passed:
            raise VerificationError(str(self))


@dataclass(frozen=True)
class TaylorReport:
    """The outcome of `taylor_test`, the same on every rank.

    Attributes
    ----------
    h, remainders : tuple of float
        ``|J(c + h v) - J(c) - h dJ(v)|`` for each h, descending.
    noise : float
        Remainders at or below it are rounding and say nothing.
    rates : tuple of float
        Observed orders between successive remainders, as far as these are above `noise`.
    objective, derivative : float
        J(c) and dJ(v).
    """

    h: tuple[float, ...]
    remainders: tuple[float, ...]
    noise: float
    rates: tuple[float, ...]
    objective: float
    derivative: float

    @property
    def rate(self) -> float:
        """Median of the rates of the four smallest h; infinite if all remainders are rounding."""
        return float(np.median(self.rates[-4:])) if self.rates else math.inf

    @property
    def passed(self) -> bool:
        """Whether the remainder is of second order (or higher, or nothing but rounding)."""
        return self.rate >= 1.9

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED: dJ is not the derivative of J"
        if not self.rates:
            verdict += ": J is linear along the direction, the remainders are rounding"
        lines = [
            f"taylor_test: {verdict}",
            f"  J = {self.objective:.15g}, dJ(v) = {self.derivative:.15g}, "
            f"rate {self.rate:.2f}, should be 2",
        ]
        lines += [
            f"  h {h:.1e}  |J(c + h v) - J(c) - h dJ(v)| {remainder:.3e}"
            for h, remainder in zip(self.h, self.remainders, strict=True)
        ]
        if not self.passed:
            lines.append("  `pint.verify.adjoint_dot_test` tells which method is wrong.")
        return "\n".join(lines)

    def require(self) -> None:
        """Raise VerificationError with the report's text unless the test passed."""
        if not self.passed:
            raise VerificationError(str(self))


def finite(error: float) -> float:
    """Return an error, infinity for NaN."""
    return error if math.isfinite(error) else math.inf


def agreed(checks: Iterable[Check], comm: Any) -> tuple[Check, ...]:
    """Return the checks with the worst outcome of all ranks. Collective."""
    return tuple(
        replace(
            worst(same),
            tolerance=max(check.tolerance for check in same),
            by_differences=any(check.by_differences for check in same),
        )
        for same in zip(*comm.allgather(list(checks)), strict=True)
    )
