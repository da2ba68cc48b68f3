"""What a check found: numbers, a text that names the place, and an exception on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.errors import VerificationError


@dataclass(frozen=True)
class Check:
    """One claim about one method.

    Attributes
    ----------
    method : str
        Class and method, "PendulumAdjoint.step".
    level : int or None
        None for methods that do not belong to a level.
    field : str
        Argument or result: "y", "u['force']", "theta['mass']", ...
    claim : str
        What was checked.
    error, tolerance : float
        Dimensionless; the check passed if error <= tolerance. NaN is reported as infinity.
    by_differences : bool
        Whether a derivative was taken by differences, because the complex step did not work.
    """

    method: str
    level: int | None
    field: str
    claim: str
    error: float
    tolerance: float = 0.0
    by_differences: bool = False

    @property
    def passed(self) -> bool:
        """Whether the claim holds."""
        return self.error <= self.tolerance

    @property
    def place(self) -> str:
        """Method and level."""
        return self.method if self.level is None else f"{self.method}, level {self.level}"

    def __str__(self) -> str:
        how = " (by differences)" if self.by_differences else ""
        return (
            f"{self.place}, {self.field}: {self.claim}: "
            f"error {self.error:.1e}, tolerance {self.tolerance:.0e}{how}"
        )


@dataclass(frozen=True)
class Report:
    """The outcome of `adjoint_dot_test` or `stepper_test`, the same on every rank.

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
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return not self.failures

    def __str__(self) -> str:
        failed = len(self.failures)
        outcome = f"{failed} of {len(self.checks)} checks failed" if failed else "passed"
        lines = [f"{self.test}: {outcome}"]
        lines += [f"  FAILED {check}" for check in self.failures]
        groups: dict[str, list[float]] = {}
        for check in self.checks:
            if check.passed:
                groups.setdefault(check.place, []).append(check.error)
        lines += [
            f"  passed {place}: {len(errors)} checks, largest error {max(errors):.1e}"
            for place, errors in groups.items()
        ]
        return "\n".join(lines)

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


def agreed(checks: Sequence[Check], comm: Any) -> tuple[Check, ...]:
    """Return the checks with the worst outcome of all ranks. Collective."""
    errors = reduce(comm, [check.error for check in checks], "max")
    tolerances = reduce(comm, [check.tolerance for check in checks], "max")
    differences = reduce(comm, [check.by_differences for check in checks], "max")
    return tuple(
        replace(check, error=float(e), tolerance=float(t), by_differences=bool(d))
        for check, e, t, d in zip(checks, errors, tolerances, differences, strict=True)
    )
