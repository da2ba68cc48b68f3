"""Steps and costs written in PyTorch; all derivatives by automatic differentiation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pint.autodiff.framework import Framework, Function
from pint.autodiff.functions import (
    DifferentiatedAdjoint,
    DifferentiatedStepper,
    problem_of,
)
from pint.controls import ControlField, Regulariser
from pint.errors import check_choice
from pint.interface import Problem
from pint.states import StateSpace
from pint.steppers.schemes import EXPLICIT

try:
    import torch
except ImportError as error:
    raise ImportError("`pint.autodiff.torch` needs PyTorch: pip install torch.") from error

from pint.states.torch import TorchSpace


class Torch(Framework):
    """PyTorch; on the CPU arrays of numpy are shared with tensors, not copied.

    Parameters
    ----------
    own : TorchSpace, optional
        States are tensors on its device, and of its type, whatever their shape; by default they
        are arrays of numpy.
    """

    name = "torch"

    def __init__(self, own: TorchSpace | None = None) -> None:
        self.own = own

    def space(self, like: Any) -> StateSpace:
        own = self.own
        if own is None:
            return super().space(like)
        return TorchSpace(like.shape, own.torch_device, own.torch_dtype, 1.0, own.sums_dtype)

    def given(self, values: np.ndarray) -> Any:
        return values if self.own is None else self.own.lift(values)

    def for_costs(self, y: Any) -> Any:
        # Numbers of half the width are too few digits for an objective.
        half = self.own is not None and self.own.torch_dtype.itemsize < 4
        return self.own.sums_dtype if self.own is not None and half else y.dtype

    def zeros_like(self, values: Any) -> Any:
        return super().zeros_like(values) if self.own is None else torch.zeros_like(values)

    def _returned(self, tensor: Any) -> Any:
        """Return a tensor as methods return it."""
        return as_numpy(tensor) if self.own is None else tensor.detach()

    def over_batches(self, function: Function, axes: Sequence[int | None]) -> Function:
        return torch.func.vmap(function, in_dims=tuple(axes))

    def value(self, function: Function, arguments: Sequence[Any], dtype: Any) -> Any:
        with torch.no_grad():
            found = _called(function, [tensors_of(one, dtype) for one in arguments])
            return self._returned(found)

    def vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: Any,
        dtype: Any,
    ) -> list[Any]:
        tensors = [tensors_of(one, dtype) for one in arguments]
        wanted = [tensors[place] for place in places]
        flat = [one for part in wanted for one in _leaves(part)]
        for one in flat:
            one.requires_grad_()
        with torch.enable_grad():
            result = _called(function, tensors)
        if not result.requires_grad:
            found: Any = [None] * len(flat)
        else:
            cotangent = as_tensor(weight, dtype).to(result.device).expand(result.shape)
            found = torch.autograd.grad(result, flat, cotangent, allow_unused=True)
        filled = [
            self.zeros_like(one) if slope is None else self._returned(slope)
            for one, slope in zip(flat, found, strict=True)
        ]
        parts, rest = [], iter(filled)
        for part in wanted:
            parts.append(
                {name: next(rest) for name in part} if isinstance(part, dict) else next(rest)
            )
        return parts

    def jvp(
        self, function: Function, arguments: Sequence[Any], directions: Sequence[Any], dtype: Any
    ) -> Any:
        at = tuple(tensors_of(one, dtype) for one in arguments)
        along = tuple(tensors_of(one, dtype) for one in directions)
        _, slope = torch.func.jvp(function, at, along)
        return self._returned(slope)

    def second_vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: Any,
        directions: Sequence[Any],
        dtype: Any,
    ) -> list[Any]:
        at = [tensors_of(one, dtype) for one in arguments]
        along = tuple(tensors_of(one, dtype) for one in directions)
        cotangent = as_tensor(weight, dtype)

        def slopes(*parts: Any) -> Any:
            def of(*inner: Any) -> Any:
                whole = list(at)
                for place, part in zip(places, inner, strict=True):
                    whole[place] = part
                return function(*whole)

            _, pull = torch.func.vjp(of, *parts)
            return pull(cotangent)

        _, found = torch.func.jvp(slopes, tuple(at[place] for place in places), along)
        return [
            {name: self._returned(one) for name, one in part.items()}
            if isinstance(part, dict)
            else self._returned(part)
            for part in found
        ]

    def jacobian(self, function: Function, place: int, axes: Sequence[int | None]) -> Function:
        return torch.func.vmap(torch.func.jacrev(function, place), in_dims=tuple(axes))

    def hessian(self, function: Function, axes: Sequence[int | None]) -> Function:
        def whole(t: Any, *arguments: Any) -> Any:
            leaves = [one for part in arguments for one in _leaves(part)]
            point = torch.cat([one.reshape(-1) for one in leaves])

            def of(numbers: Any) -> Any:
                pieces = iter(torch.split(numbers, [one.numel() for one in leaves]))
                parts = [
                    {name: next(pieces).reshape(one.shape) for name, one in part.items()}
                    if isinstance(part, dict)
                    else next(pieces).reshape(part.shape)
                    for part in arguments
                ]
                return function(t, *parts)

            return torch.func.hessian(of)(point)

        return torch.func.vmap(whole, in_dims=tuple(axes))


def problem(
    *,
    rate: Function | None = None,
    step: Function | None = None,
    initial_state: Any,
    controls: Mapping[str, ControlField],
    running_cost: Function | None = None,
    terminal_cost: Function | None = None,
    scheme: str = "rk4",
    quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
    regularisers: Sequence[Regulariser] = (),
    batches: bool = False,
    device: Any = None,
    dtype: Any = None,
    accumulate: Any = "float64",
) -> Problem:
    r"""Return the problem of functions of tensors; nothing is differentiated by hand.

    Parameters
    ----------
    rate : callable
        ``rate(t, y, u, theta)``, the right-hand side of y' = rate, for a `scheme`; u and theta
        are dictionaries of the time-dependent and the shared fields.
    step : callable
        ``step(t0, t1, y, u, theta)``, the next state; instead of `rate`.
    initial_state : array_like, or callable
        y_0, or a function of theta that returns it. States are float32 if it is an array of
        float32, else float64; the functions' other arguments have the same type.
    controls : mapping of str to TimeControl or SharedControl
    running_cost : callable, optional
        ``running_cost(t, y, u, theta)``, a number; integrated by the `quadrature` of `RunningCost`.
    terminal_cost : callable, optional
        ``terminal_cost(y, theta)``, a number.
    scheme : str
        Of `pint.steppers.scheme`, for `rate`.
    regularisers : sequence of Regulariser
    batches : bool
        Whether `rate`, `step` and `running_cost` take batches: states of shape (B, \*shape),
        times of shape (B,), for `step` (B, 1, ..., 1). Otherwise they are functions of one
        state, which `torch.func.vmap` makes functions of batches.
    device, dtype, accumulate : optional
        Of `pint.TorchSpace`: with either of the first two, states are tensors there, and of this
        type, by default that of `initial_state`; costs of half-precision states are computed in
        the type `accumulate`. Without them states are arrays of numpy on the CPU, which costs no
        copies. For explicit schemes and steps alone.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind; later, if a function returns another shape or type,
        or changes its arguments.

    Examples
    --------
    >>> import pint, torch
    >>> from pint.autodiff.torch import problem
    >>> made = problem(
    ...     rate=lambda t, y, u, theta: u["u"] - torch.sin(y),
    ...     initial_state=[1.0],
    ...     controls={"u": pint.TimeControl(1)},
    ...     running_cost=lambda t, y, u, theta: (y**2 + u["u"] ** 2).sum(),
    ... )
    >>> functional = pint.ReducedFunctional(made, pint.TimeGrid.uniform(1.0, 8))
    >>> result = pint.minimize(functional, method=pint.GaussNewton())
    >>> print(result.status.name)
    CONVERGED
    """
    own = None
    if device is not None or dtype is not None:
        check_choice("pint.autodiff.torch.problem", "scheme", scheme, list(EXPLICIT))
        single = getattr(initial_state, "dtype", None) in (np.float32, torch.float32)
        dtype = dtype or ("float32" if single else "float64")
        own = TorchSpace(1, device or "cpu", dtype, 1.0, accumulate)
    return problem_of(
        Torch(own), rate, step, initial_state, controls, running_cost, terminal_cost, scheme,
        quadrature, regularisers, batches, DifferentiatedStepper, DifferentiatedAdjoint,
    )  # fmt: skip


def _called(function: Function, tensors: list[Any]) -> Any:
    """Return a function's result, checked; it must not change its arguments."""
    flat = [one for part in tensors for one in _leaves(part)]
    versions = [one._version for one in flat]
    dtype = flat[0].dtype
    result = function(*tensors)
    if any(one._version != before for one, before in zip(flat, versions, strict=True)):
        raise TypeError(f"`{_name(function)}` must not change its arguments in place.")
    if not isinstance(result, torch.Tensor):
        raise TypeError(f"`{_name(function)}` must return a tensor, got {type(result).__name__}.")
    if result.dtype != dtype:
        raise TypeError(
            f"`{_name(function)}` must return a tensor of {dtype}, as its arguments are, got "
            f"{result.dtype}: convert the constants and modules in it."
        )
    return result


def _name(function: Function) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def tensors_of(value: Any, dtype: Any) -> Any:
    """Return an array, or a mapping of arrays, as tensors that share their memory."""
    if isinstance(value, Mapping):
        return {name: as_tensor(one, dtype) for name, one in value.items()}
    return as_tensor(value, dtype)


def as_tensor(array: Any, dtype: Any) -> Any:
    """Return an array as a tensor of a type of numpy, in the same memory where possible.

    Tensors stay where they are, and their own unless the type is one of PyTorch.
    """
    if isinstance(array, torch.Tensor):
        # Not `detach`: a graph that begins at a row of a block must not take writes to other rows
        # for changes of its own state.
        array = array.data
        return array.to(dtype) if isinstance(dtype, torch.dtype) else array
    if isinstance(dtype, torch.dtype):
        return torch.as_tensor(array, dtype=dtype)
    array = np.asarray(array, dtype=dtype)
    # Tensors know no read-only memory, and no negative strides.
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)


def _leaves(part: Any) -> list[Any]:
    return list(part.values()) if isinstance(part, dict) else [part]


def returned(tensor: Any, like: Any) -> Any:
    """Return a tensor as a method returns it: as an array if it was given arrays such as `like`."""
    return as_numpy(tensor) if isinstance(like, np.ndarray) else tensor.detach()


def as_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor as an array in the same memory."""
    return np.asarray(tensor.detach().numpy())
