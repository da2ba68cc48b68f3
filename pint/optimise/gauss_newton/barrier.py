"""The logarithmic barrier of the bounds: distances to them, and their multipliers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pint.controls import ControlSpace

PUSH = 1e-2
"""Of the width between two bounds: the first control keeps at least this distance."""

_SIGMA = 1e10
"""Largest factor between a multiplier and that of the barrier."""


@dataclass(frozen=True, eq=False)
class Side:
    """Distances to the lower or the upper bounds, and multipliers; where there is one.

    Attributes
    ----------
    sign : int
        1 for lower, -1 for upper bounds.
    bound : ndarray
        A vector of the space, infinite where there is no bound.
    distance : ndarray
        Positive; kept apart, since the difference of two large numbers would lose it.
    multiplier : ndarray
        Positive, zero where there is no bound; a density with respect to the metric.
    """

    sign: int
    bound: np.ndarray
    distance: np.ndarray
    multiplier: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """Where there is a bound."""
        return np.isfinite(self.bound)


def inside(space: ControlSpace, vector: np.ndarray) -> np.ndarray:
    """Return the vector moved to the interior of the bounds."""
    lower, upper = space.lower, space.upper
    with np.errstate(invalid="ignore", over="ignore"):
        width = np.where(np.isfinite(lower) & np.isfinite(upper), upper - lower, np.inf)
        size = np.maximum(np.where(np.isfinite(lower), np.abs(lower), 0.0), np.abs(vector))
        size = np.maximum(size, np.where(np.isfinite(upper), np.abs(upper), 0.0))
        push = PUSH * np.where(np.isfinite(width), width, np.where(size > 0, size, 1.0))
        return np.clip(vector, lower + push, upper - push)


def sides(space: ControlSpace, vector: np.ndarray, mu: float) -> tuple[Side, Side]:
    """Return both sides of a vector in the interior, with the multipliers of the barrier."""
    result = []
    for sign, bound in ((1, space.lower), (-1, space.upper)):
        distance = np.where(np.isfinite(bound), sign * (vector - bound), np.inf)
        result.append(Side(sign, bound, distance, mu / distance))
    return result[0], result[1]


def slope(both: tuple[Side, Side], mu: float) -> np.ndarray:
    """Return the derivative of the barrier, a density."""
    lower, upper = both
    return mu / upper.distance - mu / lower.distance


def diagonal(both: tuple[Side, Side]) -> np.ndarray:
    """Return the primal-dual Hessian of the barrier, a density."""
    return both[0].multiplier / both[0].distance + both[1].multiplier / both[1].distance


def logarithms(both: tuple[Side, Side]) -> np.ndarray:
    """Return the sums of the logarithms of the distances; minus infinity outside of the bounds."""
    total = np.zeros(len(both[0].distance))
    for side in both:
        here = side.present
        with np.errstate(invalid="ignore", divide="ignore"):
            total[here] += np.log(side.distance[here])
    return total


def changes(both: tuple[Side, Side], step: np.ndarray, mu: float) -> list[np.ndarray]:
    """Return the steps of the multipliers that belong to a step of the vector."""
    return [
        (mu - side.multiplier * side.sign * step) / side.distance - side.multiplier for side in both
    ]


def longest(values: list[np.ndarray], steps: list[np.ndarray], tau: float) -> float:
    """Return this rank's largest step, up to 1, that keeps a fraction ``1 - tau`` of all values."""
    result = 1.0
    for value, step in zip(values, steps, strict=True):
        falls = step < 0
        if falls.any():
            result = min(result, float(np.min(-tau * value[falls] / step[falls])))
    return result


def moved(both: tuple[Side, Side], step: np.ndarray, length: float) -> tuple[Side, Side]:
    """Return the sides after a step of the vector; their multipliers stay."""
    lower, upper = both
    return (
        replace(lower, distance=lower.distance + length * step),
        replace(upper, distance=upper.distance - length * step),
    )


def with_multipliers(
    new: tuple[Side, Side],
    old: tuple[Side, Side],
    steps: list[np.ndarray],
    length: float,
    mu: float,
) -> tuple[Side, Side]:
    """Return new sides with the old multipliers after a step, near enough to the barrier's."""
    result = []
    for side, before, step in zip(new, old, steps, strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            central = mu / side.distance
            value = np.clip(before.multiplier + length * step, central / _SIGMA, central * _SIGMA)
        result.append(replace(side, multiplier=np.where(side.present, value, 0.0)))
    return result[0], result[1]


def vector_at(both: tuple[Side, Side], vector: np.ndarray) -> np.ndarray:
    """Return the vector, by the distance to a bound where that is more precise."""
    lower, upper = both
    nearer = lower.distance <= upper.distance
    with np.errstate(invalid="ignore"):
        by_lower, by_upper = lower.bound + lower.distance, upper.bound - upper.distance
    result = np.where(nearer & lower.present, by_lower, vector)
    return np.where(~nearer & upper.present, by_upper, result)
