"""A free final time: a shared field that scales time, on a grid from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.controls import SharedControl
from pint.controls.fields import check_field_name
from pint.errors import check_kind
from pint.grid import Steps
from pint.interface import Fields, Problem
from pint.states.slopes import central_slope, complex_slope, is_analytic
from pint.steppers.changed import Change, Result, changed


class FinalTime(SharedControl):
    """The final time T as a shared control: one number, above a positive lower bound.

    The time grid then runs from 0 to 1, and T scales it: see `free_final_time`, and
    ``SympyODE(final_time=...)``.

    Parameters
    ----------
    lower : float
        Positive.
    upper : float, optional
    weight : float
        Factor of the inner product, see `SharedControl`.

    Raises
    ------
    ValueError
        If `lower` is not positive, or above `upper`.
    """

    def __init__(self, lower: float, upper: float | None = None, weight: float = 1.0) -> None:
        super().__init__(1, lower, upper, weight)
        if not (self.lower > 0).all():
            raise ValueError(f"`FinalTime(lower=...)` must be positive, got {lower}.")


def free_final_time(problem: Problem, final_time: FinalTime, name: str = "T") -> Problem:
    """Return a problem whose steps and costs have times ``T t``, T being a further shared field.

    Its grid runs from 0 to 1. Step costs are those of steps that are T times as long; regularisers
    and integral constraints by hand remain integrals over the time of the grid. The
    derivative with respect to T is that of the user's step along its times: by a complex step,
    exact to rounding, where the step accepts complex times; else by central differences, with
    relative errors of about 1e-9. Add T to the terminal cost with `pint.SumOfCosts`, or let
    `SympyODE` make the problem, whose derivatives are exact.

    Parameters
    ----------
    problem : Problem
        With states that are numpy arrays.
    final_time : FinalTime
    name : str
        Of the field.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or the problem has a field of that name.
    """
    check_kind("free_final_time", "problem", problem, Problem, "a `pint.Problem`")
    example = "a `pint.FinalTime(lower)`"
    check_kind("free_final_time", "final_time", final_time, FinalTime, example)
    check_field_name("free_final_time(name=...)", name)
    if name in problem.controls:
        raise ValueError(f"`free_final_time(name={name!r})`: the problem has a field of that name.")
    return changed(problem, _Duration(name), {**problem.controls, name: final_time})


class _Duration(Change):
    """Times that are T times as large, T being the shared field of a name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._analytic: dict[tuple[str, int], bool] = {}

    def arguments(self, s: Steps, u: Fields, theta: Fields) -> tuple[Steps, Fields, Fields]:
        return self._scaled(s, theta[self.name]), u, theta

    def derivatives(
        self,
        s: Steps,
        u: Fields,
        theta: Fields,
        du: Fields,
        dtheta: Fields,
        name: str,
        result: Result,
        weights: Any,
    ) -> tuple[Fields, Fields]:
        def function(at: Mapping[str, Any]) -> Any:
            return result(self._scaled(s, at[self.name]), u, theta)

        at = {self.name: np.asarray(theta[self.name], dtype=float)}
        arguments, kind, slope = (function, at, self.name), (name, s.level), None
        if kind not in self._analytic:
            self._analytic[kind] = is_analytic(*arguments)
        if self._analytic[kind]:
            slope = complex_slope(*arguments, np.ones(1))
        if slope is None:
            slope = central_slope(*arguments, np.ones(1))
        return du, {**dtheta, self.name: np.array([np.sum(weights * slope)])}

    def _scaled(self, s: Steps, final_time: Any) -> Steps:
        """Return steps whose times are T times as large."""
        factor, size = final_time[0], s.size
        if size is not None:
            size = size * factor
            # One size of a whole batch is a float; a complex one has those of the times.
            if np.ndim(size) == 0:
                size = None if np.iscomplexobj(size) else float(size)
        return s._replace(t0=factor * s.t0, t1=factor * s.t1, size=size)
