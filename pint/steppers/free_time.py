"""A free final time: a shared field that scales time, on a grid from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pint.controls import SharedControl
from pint.controls.fields import check_field_name
from pint.errors import check_kind
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, Problem, TimeStepper
from pint.states import StateSpace, Transfer
from pint.states.slopes import central_slope, complex_slope, is_analytic


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
    stepper = _Stepper(problem.stepper, name)
    return replace(
        problem,
        stepper=stepper,
        adjoint=_Adjoint(problem.adjoint, stepper),
        objective=_Objective(problem.objective, name),
        controls={**problem.controls, name: final_time},
    )


def _scaled(s: Steps, final_time: Any) -> Steps:
    """Return steps whose times are T times as large."""
    factor, size = final_time[0], s.size
    if size is not None:
        size = size * factor
        # One size of a whole batch is a float; a complex one has those of the times.
        if np.ndim(size) == 0:
            size = None if np.iscomplexobj(size) else float(size)
    return s._replace(t0=factor * s.t0, t1=factor * s.t1, size=size)


class _Slope:
    """The derivative of a function of T."""

    def __init__(self) -> None:
        self._is_analytic: bool | None = None

    def __call__(self, function: Any, final_time: Any) -> Any:
        at: Mapping[Any, Any] = {"T": np.asarray(final_time, dtype=float)}
        call = lambda values: function(values["T"])  # noqa: E731
        if self._is_analytic is None:
            self._is_analytic = is_analytic(call, at, "T")
        slope = complex_slope(call, at, "T", np.ones(1)) if self._is_analytic else None
        return central_slope(call, at, "T", np.ones(1)) if slope is None else slope


class _Stepper(TimeStepper):
    def __init__(self, stepper: TimeStepper, name: str) -> None:
        self.stepper, self.name = stepper, name
        self.batched, self.in_place = stepper.batched, stepper.in_place
        self.uses_guess, self.kept_shape = stepper.uses_guess, stepper.kept_shape
        self.kept_type = stepper.kept_type

    @property
    def space(self) -> StateSpace:
        return self.stepper.space

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, **out: Any) -> Any:
        return self.stepper.step(_scaled(s, theta[self.name]), y, u, theta, **out)

    def initial(self, theta: Fields) -> Any:
        return self.stepper.initial(theta)

    def coarsen(self, level: int) -> TimeStepper:
        coarse = self.stepper.coarsen(level)
        return self if coarse is self.stepper else _Stepper(coarse, self.name)

    def transfer(self, level: int) -> Transfer | None:
        return self.stepper.transfer(level)


class _Adjoint(Adjoint):
    def __init__(self, adjoint: Adjoint, stepper: _Stepper) -> None:
        self.adjoint, self.stepper = adjoint, stepper
        self._slope = _Slope()

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        name, step = self.stepper.name, self.stepper.stepper.step
        dy, du, dtheta = self.adjoint.vjp(_scaled(s, theta[name]), y, u, theta, lam)
        bare = s._replace(kept=None)
        slope = self._slope(lambda T: step(_scaled(bare, T), y, u, theta), theta[name])
        return dy, du, {**dtheta, name: np.array([np.sum(lam * slope)])}

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.adjoint.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarsen(level)
        assert isinstance(coarse, _Stepper)
        return _Adjoint(self.adjoint.coarsen(level), coarse)


class _Objective(Objective):
    def __init__(self, objective: Objective, name: str) -> None:
        self.objective, self.name = objective, name
        self._slope = _Slope()

    @property
    def has_outer(self) -> bool:
        return self.objective.has_outer

    @property
    def has_step_cost(self) -> bool:
        return self.objective.has_step_cost

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        return self.objective.step_cost(_scaled(s, theta[self.name]), y0, y1, u, theta)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        final_time, cost = theta[self.name], self.objective.step_cost
        dy0, dy1, du, dtheta = self.objective.step_cost_derivative(
            _scaled(s, final_time), y0, y1, u, theta
        )
        slope = self._slope(lambda T: cost(_scaled(s, T), y0, y1, u, theta), final_time)
        return dy0, dy1, du, {**dtheta, self.name: np.array([np.sum(slope)])}

    def terminal(self, y: Any, theta: Fields) -> float:
        return self.objective.terminal(y, theta)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return self.objective.terminal_derivative(y, theta)

    def outer(self, value: float) -> float:
        return self.objective.outer(value)

    def outer_derivative(self, value: float) -> float:
        return self.objective.outer_derivative(value)
