"""The order of convergence, measured by step doubling: no exact solution is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pint.errors import VerificationError, check_kind, integer, number, real_array, shown
from pint.grid import TimeGrid
from pint.interface import TimeStepper


@dataclass(frozen=True)
class OrderReport:
    """The outcome of `convergence_order`.

    Attributes
    ----------
    dts : tuple of float
        Step sizes, descending by a constant factor.
    differences : tuple of float
        Norms of the differences of the results of successive step sizes.
    order : float
        Slope of log difference over log step size; infinite if the results do not differ.
    """

    dts: tuple[float, ...]
    differences: tuple[float, ...]
    order: float

    @property
    def orders(self) -> tuple[float, ...]:
        """The slope between each difference and the next."""
        ratio = self.dts[0] / self.dts[1]
        return tuple(
            math.log(a / b, ratio) if a > 0 and b > 0 else math.nan
            for a, b in pairwise(self.differences)
        )

    def __str__(self) -> str:
        lines = [f"convergence_order: {self.order:.3f}"]
        lines += [
            f"  dt {dt:.3e}  |result(dt) - result of the next| {difference:.3e}"
            for dt, difference in zip(self.dts, self.differences, strict=False)
        ]
        return "\n".join(lines)

    def require(self, expected: float, within: float = 0.1) -> None:
        """Raise VerificationError with the report's text unless the order is as expected."""
        if not abs(self.order - expected) <= within:
            raise VerificationError(f"{self}\n  FAILED: expected {expected} within {within}")


def convergence_order(solve: Callable[[float], Any], dts: Sequence[float]) -> OrderReport:
    """Measure the order of a method by comparing the results of successive step sizes.

    If ``result(dt) = exact + C dt^p + ...``, the differences between the results of step sizes
    in a constant ratio are proportional to ``dt^p`` as well.

    Parameters
    ----------
    solve : callable
        Takes a step size, returns a number or an array, of one shape for all step sizes.
    dts : sequence of float
        At least three, descending in a constant ratio, small enough for the leading term and
        large enough for errors above rounding.

    Raises
    ------
    ValueError
        If `dts` are too few or not in a constant ratio, or the shapes of the results differ.

    Examples
    --------
    >>> from pint.verify import convergence_order
    >>> def euler(dt):
    ...     return (1 - dt) ** round(1 / dt)
    >>> round(convergence_order(euler, [1 / 64, 1 / 128, 1 / 256, 1 / 512]).order, 1)
    1.0
    """
    if not callable(solve):
        raise TypeError(
            "`convergence_order(solve=...)` must be a function of the step size, "
            f"got {shown(solve)}."
        )
    steps = real_array("convergence_order(dts=...)", _listed(dts)).ravel().tolist()
    if not all(dt > 0 for dt in steps):
        raise ValueError(f"`convergence_order(dts=...)` must be positive, got {steps}.")
    ratios = [a / b for a, b in pairwise(steps)]
    if len(steps) < 3 or not all(
        r > 1 and math.isclose(r, ratios[0], rel_tol=1e-6) for r in ratios
    ):
        raise ValueError(
            "`convergence_order(dts=...)` must be at least three step sizes that descend in a "
            f"constant ratio, got {steps}."
        )
    results = [np.array(solve(dt), dtype=float) for dt in steps]
    if len({result.shape for result in results}) > 1:
        raise ValueError(
            "`convergence_order(solve=...)` must return one shape for all step sizes, "
            f"got {[result.shape for result in results]}."
        )
    differences = [float(np.linalg.norm(np.ravel(a - b))) for a, b in pairwise(results)]
    if not all(difference > 0 for difference in differences):
        order = math.nan if any(map(math.isnan, differences)) else math.inf
    else:
        order = float(np.polyfit(np.log(steps[:-1]), np.log(differences), 1)[0])
    return OrderReport(tuple(steps), tuple(differences), order)


def _listed(values: Any) -> list[Any]:
    """Return what an iterable holds; a single value alone, which is checked later."""
    return list(values) if isinstance(values, Iterable) else [values]


def _mapping(name: str, given: Any) -> Mapping[str, Any]:
    """Return a user's fields, none for None, or raise TypeError."""
    given = {} if given is None else given
    check_kind("stepper_order", name, given, Mapping, "a mapping of fields")
    fields: Mapping[str, Any] = given
    return fields


def stepper_order(
    stepper: TimeStepper,
    final_time: float = 1.0,
    *,
    u: Mapping[str, Any] | None = None,
    theta: Mapping[str, Any] | None = None,
    steps: Sequence[int] = (32, 64, 128, 256),
) -> OrderReport:
    """Measure the order of a stepper by its states at `final_time`. Not collective.

    Parameters
    ----------
    stepper : TimeStepper
        With numpy states.
    final_time : float
    u : mapping of str to array_like, optional
        One block of each time-dependent field, the same for all steps: a control that changes
        from step to step would not converge.
    theta : mapping of str to array_like, optional
        The shared fields.
    steps : sequence of int
        Numbers of equal steps, ascending in a constant ratio.

    Raises
    ------
    ValueError
        If `steps` are too few or not in a constant ratio.
    """
    check_kind("stepper_order", "stepper", stepper, TimeStepper, "a TimeStepper")
    final_time = number("stepper_order", "final_time", final_time, positive=True)
    numbers = [integer("stepper_order", "steps", count, 1) for count in _listed(steps)]
    if max(numbers, default=0) >= 2**31:
        raise ValueError("`stepper_order(steps=...)` must be below 2^31.")
    blocks, shared = (
        {
            field: real_array(f"stepper_order({name}=...)", value)
            for field, value in _mapping(name, given).items()
        }
        for name, given in (("u", u), ("theta", theta))
    )

    def final_state(dt: float) -> Any:
        grid = TimeGrid.uniform(final_time, round(final_time / dt))
        y = np.array(stepper.initial(shared), dtype=float)
        for n in range(grid.steps):
            if stepper.batched:
                s = grid.batch(0, range(n, n + 1), y.ndim)
                one = {name: value[None] for name, value in blocks.items()}
                y = stepper.step(s, y[None], one, shared)[0]
            else:
                y = stepper.step(grid.single(0, n), y, blocks, shared)
        return y

    return convergence_order(final_state, [final_time / count for count in numbers])
