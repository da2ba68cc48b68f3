"""What a library of automatic differentiation does for steps and costs, for batches of arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pint.states import ArraySpace, StateSpace

Function = Callable[..., Any]


class Framework(ABC):
    """A library. Functions take and return its arrays; methods take and return those of states.

    States are arrays of numpy, unless `space` returns another one than `ArraySpace`.

    Attributes
    ----------
    name : str
    """

    name: str

    def space(self, like: np.ndarray) -> StateSpace:
        """Return the space of states like an array: arrays, unless the framework keeps its own."""
        return ArraySpace(np.shape(like), like.dtype)

    def given(self, values: np.ndarray) -> Any:
        """Return a field of a control as methods are given it."""
        return values

    def for_costs(self, y: Any) -> Any:
        """Return the type of numbers that costs of states are computed in."""
        return y.dtype

    def zeros_like(self, values: Any) -> Any:
        """Return zeros, an array like the states that methods are given."""
        return np.zeros(values.shape)

    @abstractmethod
    def over_batches(self, function: Function, axes: Sequence[int | None]) -> Function:
        """Return a function of one example as a function of batches.

        `axes` has an entry for each argument: 0 for a leading axis of the examples, None for an
        argument that all of them share.
        """

    @abstractmethod
    def value(self, function: Function, arguments: Sequence[Any], dtype: Any) -> Any:
        """Return the function of arguments that are arrays or mappings of arrays."""

    @abstractmethod
    def vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: Any,
        dtype: Any,
    ) -> list[Any]:
        """Return the derivatives of ``<weight, function>`` to the arguments at some places."""

    @abstractmethod
    def jvp(
        self, function: Function, arguments: Sequence[Any], directions: Sequence[Any], dtype: Any
    ) -> np.ndarray:
        """Return the derivative of the function along directions, one for each argument."""

    @abstractmethod
    def second_vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: np.ndarray,
        directions: Sequence[Any],
        dtype: Any,
    ) -> list[Any]:
        """Return the derivative of `vjp` along directions, one for each of the places."""

    @abstractmethod
    def jacobian(self, function: Function, place: int, axes: Sequence[int | None]) -> Function:
        """Return the derivative of a function of one example to an argument, for batches."""

    @abstractmethod
    def hessian(self, function: Function, axes: Sequence[int | None]) -> Function:
        """Return second derivatives of a number to the numbers of all but the first argument.

        The function is that of one example; the result is one for batches, of shape (B, k, k).
        """


def checked(result: Any, shape: tuple[int, ...], what: str) -> Any:
    """Return a result of the right shape, or raise ValueError."""
    if result.shape != shape:
        raise ValueError(f"`{what}` must return an array of shape {shape}, got {result.shape}.")
    return result
