"""Equally spaced times that are computed when they are read, and never stored."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np


class UniformTimes(np.lib.mixins.NDArrayOperatorsMixin):
    """The times ``numpy.linspace(0, final_time, steps + 1)``, to the last bit, as an array to read.

    It is used like an array of shape (steps + 1,): indices, slices, arithmetic, numpy's functions
    and an array's methods give what they give for the array. An index costs O(1), k indices or a
    slice of k times O(k) in time and memory; everything else makes the whole array first.

    Parameters
    ----------
    final_time : float
        > 0.
    steps : int
        Number of steps, >= 1.

    Raises
    ------
    ValueError
        If the times do not increase, because `final_time` is too small for so many steps.

    Attributes
    ----------
    step : float
        ``final_time / steps``; times differ by it up to rounding.

    Examples
    --------
    >>> times = UniformTimes(2.0, 4)
    >>> float(times[-1]), times[1:3], len(times)
    (2.0, array([0.5, 1. ]), 5)
    """

    ndim = 1
    dtype = np.dtype(float)

    def __init__(self, final_time: float, steps: int) -> None:
        self.final_time, self.steps = float(final_time), int(steps)
        self.step = self.final_time / self.steps
        if not 0 <= (self.steps - 1) * self.step < self.final_time or self.step == 0:
            raise ValueError(f"{steps} steps cannot be told apart in {final_time}.")

    @property
    def size(self) -> int:
        """Number of times."""
        return self.steps + 1

    @property
    def shape(self) -> tuple[int]:
        """``(size,)``."""
        return (self.size,)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            points = range(*key.indices(self.size))
            times = np.arange(points.start, points.stop, points.step) * self.step
            if self.steps in points:
                times[points.index(self.steps)] = self.final_time
            return times
        if isinstance(key, np.ndarray) and key.dtype.kind in "iu" and key.size:
            if key.min() < -self.size or key.max() >= self.size:
                raise IndexError(f"an index is out of bounds for {self.size} times.")
            return self._at(np.where(key < 0, key + self.size, key) if key.min() < 0 else key)
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            number = operator.index(key)
            if not -self.size <= number < self.size:
                raise IndexError(f"index {number} is out of bounds for {self.size} times.")
            number %= self.size
            return np.float64(self.final_time if number == self.steps else number * self.step)
        return np.asarray(self)[key]

    def _at(self, points: np.ndarray) -> np.ndarray:
        times: np.ndarray = points * self.step
        times[points == self.steps] = self.final_time  # as numpy.linspace does
        return times

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("equally spaced times are not stored: they cannot be had uncopied.")
        times = self._at(np.arange(self.size))
        return times if dtype is None else times.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(x) if isinstance(x, UniformTimes) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        # An array's methods; not its protocols, which would hand out memory that is freed.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        return f"UniformTimes({self.final_time!r}, {self.steps!r})"
