"""Steps, right-hand sides and costs whose derivatives a framework takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pint.autodiff.framework import Framework, Function, checked
from pint.controls import ControlField, Regulariser
from pint.errors import check_choice
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, Problem, Tangent, TimeStepper
from pint.states import StateSpace
from pint.steppers.ode import ODE
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import scheme as named_scheme


class Initial:
    """The initial state: an array, or a function of the shared fields."""

    def __init__(self, framework: Framework, given: Any) -> None:
        self.framework, self.function = framework, given if callable(given) else None
        if hasattr(given, "detach"):  # a tensor, which may lie on a device
            given = given.detach().cpu()
            given = given if given.dtype.itemsize == 4 else given.double()
        self.state = None if callable(given) else np.asarray(given)
        if self.state is not None and self.state.dtype != np.float32:
            self.state = self.state.astype(float)

    def value(self, theta: Fields) -> Any:
        if self.function is None:
            return self.state
        return self.framework.value(self.function, (theta,), float)

    def vjp(self, theta: Fields, lam0: Any) -> Fields:
        if self.function is None:
            return {}
        (found,) = self.framework.vjp(self.function, (theta,), (0,), lam0, float)
        return dict(found)


class DifferentiatedODE(ODE):
    """``y' = rate(t, y, u, theta)`` with all derivatives by a framework.

    Parameters
    ----------
    framework : Framework
    rate : callable
        Of one time, state, and blocks; or of batches of them, if `batches`.
    initial : Initial
    batches : bool
    """

    def __init__(
        self, framework: Framework, rate: Function, initial: Initial, batches: bool
    ) -> None:
        self.framework, self.rate, self._initial = framework, rate, initial
        self._axes = (0, 0, 0, None)
        self._batch = rate if batches else framework.over_batches(rate, self._axes)
        self._batches = batches
        if initial.state is not None:
            self.initial_state = initial.state

    @property
    def space(self) -> StateSpace:
        return self.framework.space(self.initial_state)

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        found = self.framework.value(self._batch, (t, y, u, theta), y.dtype)
        return checked(found, y.shape, "rate")

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        arguments = (t, y, u, theta)
        dy, du, dtheta = self.framework.vjp(self._batch, arguments, (1, 2, 3), lam, y.dtype)
        return dy, du, dtheta

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        if self._batches:
            return self._jacobian_by_rows(t, y, u, theta)
        return self.framework.value(self._jacobian, (t, y, u, theta), y.dtype)

    @cached_property
    def _jacobian(self) -> Function:
        return self.framework.jacobian(self.rate, 1, self._axes)

    def _jacobian_by_rows(self, t: Any, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        rows, weight = [], np.zeros_like(y)
        for i in range(y.shape[1]):
            weight[:, i] = 1.0
            rows.append(self.framework.vjp(self._batch, (t, y, u, theta), (1,), weight, y.dtype)[0])
            weight[:, i] = 0.0
        return np.stack(rows, axis=1)

    def initial(self, theta: Fields) -> Any:
        return self._initial.value(theta)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self._initial.vjp(theta, lam0)


class DifferentiatedStepper(TimeStepper):
    """``y_{n+1} = step(t0, t1, y, u, theta)``.

    Parameters
    ----------
    framework : Framework
    step : callable
        Of one step, or of a batch of them, if `batches`; times then have shape (B, 1, ..., 1).
    initial : Initial
    batches : bool
    """

    batched = True

    def __init__(
        self, framework: Framework, step: Function, initial: Initial, batches: bool, like: Any
    ) -> None:
        self.framework, self._initial = framework, initial
        self._batch = step if batches else framework.over_batches(step, (0, 0, 0, 0, None))
        self._batches, self._space = batches, framework.space(like)

    @property
    def space(self) -> StateSpace:
        return self._space

    def arguments(self, s: Steps, y: Any, u: Fields, theta: Fields) -> tuple[Any, ...]:
        """Return the arguments of the function for a batch."""
        times = (s.t0, s.t1)
        if not self._batches:
            times = (times[0].reshape(-1), times[1].reshape(-1))
        return (*times, y, u, theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        found = self.framework.value(self._batch, self.arguments(s, y, u, theta), y.dtype)
        return checked(found, y.shape, "step")

    def tangent(self) -> Tangent:
        return DifferentiatedTangent(self)

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        """Return the products of `Adjoint.vjp`."""
        arguments = self.arguments(s, y, u, theta)
        dy, du, dtheta = self.framework.vjp(self._batch, arguments, (2, 3, 4), lam, y.dtype)
        return dy, du, dtheta

    def initial(self, theta: Fields) -> Any:
        return self._initial.value(theta)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        """Return the products of `Adjoint.initial_vjp`."""
        return self._initial.vjp(theta, lam0)


class DifferentiatedTangent(Tangent):
    """The derivatives of a `DifferentiatedStepper` along directions, first and second ones."""

    def __init__(self, stepper: DifferentiatedStepper) -> None:
        self.stepper = stepper

    def jvp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, dy: Any, du: Fields, dtheta: Fields
    ) -> Any:
        arguments = self.stepper.arguments(s, y, u, theta)
        directions = (0.0 * arguments[0], 0.0 * arguments[1], dy, du, dtheta)
        return self.stepper.framework.jvp(self.stepper._batch, arguments, directions, y.dtype)

    def second_vjp(
        self,
        s: Steps,
        y: Any,
        u: Fields,
        theta: Fields,
        lam: Any,
        dy: Any,
        du: Fields,
        dtheta: Fields,
    ) -> tuple[Any, Fields, Fields]:
        arguments, along = self.stepper.arguments(s, y, u, theta), (dy, du, dtheta)
        of_y, of_u, of_theta = self.stepper.framework.second_vjp(
            self.stepper._batch, arguments, (2, 3, 4), lam, along, y.dtype
        )
        return of_y, of_u, of_theta


class DifferentiatedAdjoint(Adjoint):
    """The transposes of a `DifferentiatedStepper`."""

    def __init__(self, stepper: DifferentiatedStepper) -> None:
        self.stepper = stepper

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        return self.stepper.vjp(s, y, u, theta, lam)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.stepper.initial_vjp(theta, lam0)


class DifferentiatedCost(Lagrangian):
    """``running(t, y, u, theta)`` and ``terminal(y, theta)``, either of which may be missing."""

    def __init__(
        self,
        framework: Framework,
        running: Function | None,
        terminal: Function | None,
        batches: bool,
    ) -> None:
        self.framework, self._running, self._terminal = framework, running, terminal
        self._axes, self._batches = (0, 0, 0, None), batches
        self._batch = running
        if running is not None and not batches:
            self._batch = framework.over_batches(running, self._axes)

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        if self._batch is None:
            return self.framework.zeros_like(t)
        dtype = self.framework.for_costs(y)
        found = self.framework.value(self._batch, (t, y, u, theta), dtype)
        found = checked(found, (len(y),), "running_cost")
        return found.astype(float, copy=False) if isinstance(found, np.ndarray) else found

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        if self._batch is None:
            return self.framework.zeros_like(y), {}, {}
        dtype = self.framework.for_costs(y)
        dy, du, dtheta = self.framework.vjp(self._batch, (t, y, u, theta), (1, 2, 3), weight, dtype)
        return dy, du, dtheta

    @property
    def has_hessian(self) -> bool:
        return not self._batches

    def hessian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        numbers = y[0].size + sum(v[0].size for v in u.values())
        numbers += sum(v.size for v in theta.values())
        if self._running is None:
            return np.zeros((len(y), numbers, numbers))
        return self.framework.value(self._hessian, (t, y, u, theta), y.dtype)

    @cached_property
    def _hessian(self) -> Function:
        assert self._running is not None
        return self.framework.hessian(self._running, self._axes)

    def terminal_hessian(self, y: Any, theta: Fields) -> np.ndarray:
        terminal = self._terminal
        if terminal is None:
            numbers = y.size + sum(v.size for v in theta.values())
            return np.zeros((numbers, numbers))
        arguments = (np.zeros(1), y[None], theta)
        return self.framework.value(self._terminal_hessian, arguments, y.dtype)[0]

    @cached_property
    def _terminal_hessian(self) -> Function:
        terminal = self._terminal
        assert terminal is not None
        return self.framework.hessian(lambda t, y, theta: terminal(y, theta), (0, 0, None))

    def terminal(self, y: Any, theta: Fields) -> float:
        if self._terminal is None:
            return 0.0
        found = self.framework.value(self._terminal, (y, theta), self.framework.for_costs(y))
        return float(checked(found, (), "terminal_cost"))

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        if self._terminal is None:
            return 0.0, {}
        dtype = self.framework.for_costs(y)
        dy, dtheta = self.framework.vjp(self._terminal, (y, theta), (0, 1), 1.0, dtype)
        return dy, dtheta


def problem_of(
    framework: Framework,
    rate: Function | None,
    step: Function | None,
    initial_state: Any,
    controls: Mapping[str, ControlField],
    running_cost: Function | None,
    terminal_cost: Function | None,
    scheme: str,
    quadrature: Any,
    regularisers: Sequence[Regulariser],
    batches: bool,
    stepper_of: type[DifferentiatedStepper],
    adjoint_of: type[DifferentiatedAdjoint],
) -> Problem:
    """Return the problem of a framework's functions: see its `problem`."""
    owner = f"pint.autodiff.{framework.name}.problem"
    for name, function in (
        ("rate", rate), ("step", step), ("running_cost", running_cost),
        ("terminal_cost", terminal_cost),
    ):  # fmt: skip
        if function is not None and not callable(function):
            raise TypeError(f"`{owner}({name}=...)` must be a function, got {function!r}.")
    if (rate is None) == (step is None):
        raise ValueError(f"`{owner}` needs `rate` or `step`, and not both.")
    if running_cost is None and terminal_cost is None:
        raise ValueError(f"`{owner}` needs `running_cost` or `terminal_cost`.")
    check_choice(owner, "quadrature", quadrature, ["left", "right", "midpoint", "trapezoid"])
    initial = Initial(framework, initial_state)
    cost: Objective = RunningCost(
        DifferentiatedCost(framework, running_cost, terminal_cost, batches), quadrature
    )
    stepper: TimeStepper
    adjoint: Adjoint
    shared = {
        n: framework.given(np.zeros(f.shape)) for n, f in controls.items() if f.kind == SHARED
    }
    if rate is not None:
        ode = DifferentiatedODE(framework, rate, initial, batches)
        if initial.state is None:
            # Its shape, not its values, at zero.
            ode.initial_state = np.zeros(initial.value(shared).shape)
        stepper, adjoint = named_scheme(ode, scheme)
    else:
        assert step is not None
        stepper = stepper_of(framework, step, initial, batches, initial.value(shared))
        adjoint = adjoint_of(stepper)
    return Problem(stepper, adjoint, cost, controls, regularisers)


SHARED = "SharedControl"
"""The kind of fields that the initial state may depend on."""
