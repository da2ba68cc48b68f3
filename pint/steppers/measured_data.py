"""Costs that compare states with measured data, and sums of costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pint.errors import check_kind, integer, real_array
from pint.grid import Steps, TimeGrid
from pint.interface import Fields, Objective
from pint.steppers.runge_kutta import add_fields


class MeasuredData(Objective):
    r"""The weighted squares of the distances of states from data, for estimating parameters.

    .. math:: \tfrac12 \sum_{j} \sum_{i} \left(\frac{y_i(t_j) - v_{ji}}{σ_{ji}}\right)^2

    over the measured times and components. With independent normal errors of standard deviations
    σ this is the negative logarithm of the likelihood, and `pint.standard_errors` are those of
    the estimates.

    Parameters
    ----------
    grid : TimeGrid
        Of the problem; its points contain all measured times, to rounding. `TimeGrid` takes points
        at any distances.
    times : array_like of shape (M,)
    values : array_like of shape (M, k)
        NaN where nothing was measured.
    sigma : array_like, broadcast to the shape of `values`
        Standard deviations of the errors of measurement, positive.
    components : sequence of k int, optional
        Which numbers of the state, as a row, were measured; by default all.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, or a time is no point of the grid.
    """

    def __init__(
        self,
        grid: TimeGrid,
        times: Any,
        values: Any,
        sigma: Any = 1.0,
        components: Sequence[int] | None = None,
    ) -> None:
        check_kind("MeasuredData", "grid", grid, TimeGrid, "a `pint.TimeGrid`")
        at = np.atleast_1d(real_array("MeasuredData(times=...)", times))
        table = real_array("MeasuredData(values=...)", values)
        if np.isinf(table).any():
            raise ValueError("`MeasuredData(values=...)` has infinite values; gaps are NaN.")
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2 or at.ndim != 1 or len(table) != len(at):
            raise ValueError(
                "`MeasuredData(values=...)` must have a row for each of the "
                f"{len(at)} times, got the shape {np.shape(values)}."
            )
        width = real_array("MeasuredData(sigma=...)", sigma)
        try:
            width = np.broadcast_to(width, table.shape)
        except ValueError:
            raise ValueError(
                f"`MeasuredData(sigma=...)` has the shape {width.shape}, `values` {table.shape}."
            ) from None
        if not (width > 0).all():
            raise ValueError("`MeasuredData(sigma=...)` must be positive.")
        self.components = None
        if components is not None:
            self.components = np.array(
                [integer("MeasuredData", "components", one, 0) for one in components]
            )
            if len(self.components) != table.shape[1]:
                raise ValueError(
                    f"`MeasuredData(components=...)` must name {table.shape[1]} numbers of the "
                    f"state, one for each column of `values`, got {len(self.components)}."
                )
        points = _points(grid, at)
        given = np.isfinite(table)
        self.count = int(given.sum())
        if self.count == 0:
            raise ValueError("`MeasuredData(values=...)` has no finite number.")
        # Of several values at one point their weighted mean counts, and what it leaves.
        shape = (grid.steps + 1, table.shape[1])
        weights, sums = np.zeros(shape), np.zeros(shape)
        squares = np.where(given, width**-2.0, 0.0)
        known = np.where(given, table, 0.0)
        np.add.at(weights, points, squares)
        np.add.at(sums, points, squares * known)
        self.weights = weights
        self.values = sums / np.where(weights > 0, weights, 1.0)
        self.t = np.array(grid.t, dtype=float)
        self.rest = 0.5 * float((squares * (known - self.values[points]) ** 2).sum())

    def _distances(self, y: Any, points: np.ndarray, lead: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and weights at some points; states have `lead` axes before theirs."""
        flat = np.reshape(y, (*np.shape(y)[:lead], -1))
        if self.components is not None and self.components.max() >= flat.shape[-1]:
            raise ValueError(
                f"`MeasuredData(components=...)` names number {self.components.max()} of the "
                f"state, which has the numbers 0 to {flat.shape[-1] - 1}."
            )
        own = flat if self.components is None else flat[..., self.components]
        if own.shape[-1] != self.values.shape[1]:
            raise ValueError(
                f"`MeasuredData(values=...)` has {self.values.shape[1]} columns, the state "
                f"{own.shape[-1]} numbers: name them in `components`."
            )
        return own - self.values[points], self.weights[points]

    def _check_times(self, s: Steps) -> None:
        """Raise ValueError unless steps end where those of the grid do."""
        last, t = len(self.t) - 1, self.t
        ends = np.minimum(np.add(s.index, 1), last)
        apart = np.abs(np.reshape(s.t1, np.shape(s.index)) - t[ends])
        if np.max(s.index) >= last or not np.max(apart) <= 1e-9 * (t[-1] - t[0]):
            raise ValueError(
                "`MeasuredData(grid=...)` is another grid than that of the functional: make the "
                "data for that one."
            )

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        self._check_times(s)
        distance, weight = self._distances(y1, np.add(s.index, 1), np.ndim(s.index))
        total = 0.5 * (weight * distance * distance).sum(axis=-1)
        first = np.equal(s.index, 0)
        if first.any():
            distance, weight = self._distances(y0, np.multiply(s.index, 1), np.ndim(s.index))
            start = 0.5 * (weight * distance * distance).sum(axis=-1) + self.rest
            total = total + np.where(first, start, 0.0)
        return total

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        of0: Any = 0.0
        first = np.equal(s.index, 0)
        if first.any():
            of0 = self._slope(y0, np.multiply(s.index, 1), first)
        return of0, self._slope(y1, np.add(s.index, 1), np.ones_like(first)), {}, {}

    def _slope(self, y: Any, points: Any, counts: Any) -> np.ndarray:
        lead = np.ndim(points)
        distance, weight = self._distances(y, points, lead)
        product = np.asarray(counts)[..., None] * weight * distance
        if self.components is None:
            return product.reshape(np.shape(y))
        result = np.zeros((*np.shape(y)[:lead], int(np.prod(np.shape(y)[lead:], dtype=int))))
        np.add.at(result.T, self.components, product.T)  # a component may be measured twice
        return result.reshape(np.shape(y))


def _points(grid: TimeGrid, times: np.ndarray) -> np.ndarray:
    """Return the numbers of the points of a grid at some times, or raise ValueError."""
    t = np.asarray(grid.t, dtype=float)
    after = np.clip(np.searchsorted(t, times), 1, len(t) - 1)
    near = np.where(times - t[after - 1] < t[after] - times, after - 1, after)
    off = np.abs(t[near] - times) > 1e-9 * (t[-1] - t[0])
    if off.any():
        raise ValueError(
            f"`MeasuredData(times=...)`: {times[off][0]:.6g} is no point of the grid; make one "
            "with `pint.TimeGrid(points)` that has all measured times."
        )
    return near


class SumOfCosts(Objective):
    """The sum of several costs, none of which has an outer function.

    Parameters
    ----------
    costs : sequence of Objective

    Raises
    ------
    TypeError, ValueError
        If there is none, one is no Objective, or defines `outer`.
    """

    def __init__(self, costs: Sequence[Objective]) -> None:
        self.costs = tuple(costs)
        if not self.costs:
            raise ValueError("`SumOfCosts(costs=...)` needs at least one.")
        for cost in self.costs:
            check_kind("SumOfCosts", "costs", cost, Objective, "a sequence of `pint.Objective`")
            if cost.has_outer:
                raise ValueError(
                    f"`SumOfCosts(costs=...)`: `{type(cost).__name__}` defines `outer`."
                )

    @property
    def has_step_cost(self) -> bool:
        return any(cost.has_step_cost for cost in self.costs)

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        return sum(cost.step_cost(s, y0, y1, u, theta) for cost in self._along)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        dy0: Any = 0.0
        dy1: Any = 0.0
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        for cost in self._along:
            of0, of1, of_u, of_theta = cost.step_cost_derivative(s, y0, y1, u, theta)
            dy0, dy1 = dy0 + of0, dy1 + of1
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return dy0, dy1, du, dtheta

    def terminal(self, y: Any, theta: Fields) -> float:
        return sum(cost.terminal(y, theta) for cost in self.costs)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        dy: Any = 0.0
        dtheta: dict[str, Any] = {}
        for cost in self.costs:
            of_y, of_theta = cost.terminal_derivative(y, theta)
            dy = dy + of_y
            add_fields(dtheta, of_theta)
        return dy, dtheta

    @property
    def _along(self) -> list[Objective]:
        return [cost for cost in self.costs if cost.has_step_cost]
