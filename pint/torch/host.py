"""A problem of tensors as one of arrays of numpy, for what needs arrays: checks above all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from pint.errors import check_kind, overrides
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, Problem, TimeStepper
from pint.states import ArraySpace, StateSpace
from pint.states.torch import TorchSpace


def on_host(problem: Problem) -> Problem:
    """Return a problem of tensors with states that are arrays of numpy.

    Its methods call those of the problem, each with tensors on the device that are made of arrays
    for the call: for `pint.verify.check_problem`, `pint.GaussNewton` and other tools for arrays.

    Parameters
    ----------
    problem : Problem
        With the same `TorchSpace` on all levels.

    Raises
    ------
    TypeError
        If it is no problem, or its states are no tensors of float64 or float32.
    """
    check_kind("on_host", "problem", problem, Problem, "a pint.Problem")
    space = problem.space
    if not isinstance(space, TorchSpace):
        raise TypeError(
            f"`on_host(problem=...)` must have states in a TorchSpace, got a "
            f"{type(space).__name__}."
        )
    if space.number_type not in ("float64", "float32"):
        raise TypeError(
            f"`on_host(problem=...)` must have states of float64 or float32, got "
            f"{space.number_type}, whose rounding checks would find: make it with dtype='float64'."
        )
    return Problem(
        _named(_Stepper, problem.stepper, space),
        _named(_Adjoint, problem.adjoint, space),
        _named(_Objective, problem.objective, space),
        dict(problem.controls),
        problem.regularisers,
        problem.examples,
        problem.comm,
    )


def _named(kind: type, own: Any, space: TorchSpace) -> Any:
    """Return an object of a kind whose class has the name of the user's, for reports."""
    return type(type(own).__name__, (kind,), {})(own, space)


class _Stepper(TimeStepper):
    """A stepper of tensors as one of arrays, which keeps nothing."""

    def __init__(self, own: TimeStepper, space: TorchSpace) -> None:
        self.own, self.batched, self._tensors = own, own.batched, space
        self._space = ArraySpace(space.shape, space.number_type, space.weight)
        self._step = _through(space, own.step, own.host_times)
        self._initial = _through(space, own.initial)

    @property
    def space(self) -> StateSpace:
        return self._space

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        return self._step(s, y, u, theta)

    def initial(self, theta: Fields) -> Any:
        return self._initial(theta)

    def coarsen(self, level: int) -> TimeStepper:
        coarse = self.own.coarsen(level)
        return self if coarse is self.own else _named(_Stepper, coarse, self._tensors)


class _Adjoint(Adjoint):
    """The transposes of a `_Stepper`."""

    def __init__(self, own: Adjoint, space: TorchSpace) -> None:
        self.own, self._tensors = own, space
        host_times = getattr(getattr(own, "layers", None), "host_times", False)
        self._vjp = _through(space, own.vjp, host_times)
        self._initial_vjp = _through(space, own.initial_vjp)
        if overrides(own, Adjoint, "step"):
            self.step = _through(space, own.step, host_times)  # type: ignore[method-assign]

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        dy, du, dtheta = self._vjp(s, y, u, theta, lam)
        return dy, du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        found: Fields = self._initial_vjp(theta, lam0)
        return found

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.own.coarsen(level)
        return self if coarse is self.own else _named(_Adjoint, coarse, self._tensors)


class _Objective(Objective):
    """A cost of tensors as one of arrays; it has the methods that the cost has."""

    def __init__(self, own: Objective, space: TorchSpace) -> None:
        self.own = own
        for name in ("step_cost", "terminal", "outer"):
            for method in (name, f"{name}_derivative"):
                if overrides(own, Objective, method):
                    setattr(self, method, _through(space, getattr(own, method)))


def _through(
    space: TorchSpace, method: Callable[..., Any], host_times: bool = False
) -> Callable[..., Any]:
    """Return a method of tensors as a function of arrays."""
    native = space.native(method, ())

    def up(given: Any) -> Any:
        if isinstance(given, Steps):
            given = given._replace(kept=None, guess=None)
            if host_times or not isinstance(given.t0, np.ndarray):
                return given
            t0, t1, dt = (space.lift(times) for times in (given.t0, given.t1, given.dt))
            return Steps(given.index, t0, t1, given.level, size=dt)
        if isinstance(given, Mapping):
            return {name: up(one) for name, one in given.items()}
        return space.lift(given) if isinstance(given, (np.ndarray, np.generic)) else given

    def down(found: Any) -> Any:
        if isinstance(found, Mapping):
            return {name: down(one) for name, one in found.items()}
        if isinstance(found, tuple):
            return tuple(down(one) for one in found)
        return space.as_array(found) if isinstance(found, torch.Tensor) else found

    return lambda *arguments: down(native(*(up(one) for one in arguments)))
