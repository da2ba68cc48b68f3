"""Steps and costs written in JAX; derivatives by automatic differentiation, code compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from pint.autodiff.framework import Framework, Function
from pint.autodiff.functions import (
    DifferentiatedAdjoint,
    DifferentiatedStepper,
    problem_of,
)
from pint.controls import ControlField, Regulariser
from pint.grid import Runs
from pint.interface import Fields, Problem

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError("`pint.autodiff.jax` needs JAX: pip install jax.") from error


class Jax(Framework):
    """JAX on the CPU, in float64 whatever its default is.

    Code is compiled for each shape of its arguments. Batches are filled up to the next power of
    two by their last example, so that few shapes occur.
    """

    name = "jax"

    def __init__(self) -> None:
        self._compiled: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    def over_batches(self, function: Function, axes: Sequence[int | None]) -> Function:
        return _Batches(jax.vmap(function, in_axes=tuple(axes)), axes)

    def value(self, function: Function, arguments: Sequence[Any], dtype: Any) -> np.ndarray:
        arguments, count = _filled(function, _cast(arguments, dtype))
        found = self._call(function, "value", lambda: _plain(function), arguments)
        return np.asarray(found)[:count] if count else np.asarray(found)

    def vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: np.ndarray,
        dtype: Any,
    ) -> list[Any]:
        weight = np.asarray(weight, dtype)
        arguments, count = _filled(function, _cast(arguments, dtype))
        if count:
            # What has been filled up counts for nothing.
            size = _length(arguments)
            weight = np.concatenate([weight, np.zeros((size - count, *weight.shape[1:]), dtype)])
        own = tuple(places)

        def products(weight: Any, *arguments: Any) -> Any:
            def of(*parts: Any) -> Any:
                whole = list(arguments)
                for place, part in zip(own, parts, strict=True):
                    whole[place] = part
                return _plain(function)(*whole)

            _, pull = jax.vjp(of, *(arguments[place] for place in own))
            return pull(weight)

        found = self._call(function, ("vjp", own), lambda: products, (weight, *arguments))
        axes = getattr(function, "axes", None)
        parts = []
        for place, part in zip(own, found, strict=True):
            cut = count if count and axes is not None and axes[place] == 0 else None
            parts.append(jax.tree.map(lambda one, cut=cut: np.asarray(one)[:cut], part))
        return parts

    def jvp(
        self, function: Function, arguments: Sequence[Any], directions: Sequence[Any], dtype: Any
    ) -> np.ndarray:
        def product(at: Any, along: Any) -> Any:
            return jax.jvp(_plain(function), at, along)[1]

        at, along = tuple(_cast(arguments, dtype)), tuple(_cast(directions, dtype))
        return np.asarray(self._call(function, "jvp", lambda: product, (at, along)))

    def second_vjp(
        self,
        function: Function,
        arguments: Sequence[Any],
        places: Sequence[int],
        weight: np.ndarray,
        directions: Sequence[Any],
        dtype: Any,
    ) -> list[Any]:
        own = tuple(places)

        def product(weight: Any, at: Any, along: Any) -> Any:
            def slopes(*parts: Any) -> Any:
                def of(*inner: Any) -> Any:
                    whole = list(at)
                    for place, part in zip(own, inner, strict=True):
                        whole[place] = part
                    return _plain(function)(*whole)

                _, pull = jax.vjp(of, *parts)
                return pull(weight)

            return jax.jvp(slopes, tuple(at[place] for place in own), along)[1]

        weight = np.asarray(weight, dtype)
        at, along = tuple(_cast(arguments, dtype)), tuple(_cast(directions, dtype))
        found = self._call(function, ("second_vjp", own), lambda: product, (weight, at, along))
        return [jax.tree.map(np.asarray, part) for part in found]

    def jacobian(self, function: Function, place: int, axes: Sequence[int | None]) -> Function:
        return self.over_batches(jax.jacrev(function, place), axes)

    def hessian(self, function: Function, axes: Sequence[int | None]) -> Function:
        from jax.flatten_util import ravel_pytree

        def whole(t: Any, *arguments: Any) -> Any:
            # In the order of the mappings; JAX sorts the names of dictionaries.
            parts = [list(a.values()) if isinstance(a, dict) else a for a in arguments]
            names = [list(a) if isinstance(a, dict) else None for a in arguments]
            point, back = ravel_pytree(parts)

            def of(numbers: Any) -> Any:
                values = [
                    part if keys is None else dict(zip(keys, part, strict=True))
                    for keys, part in zip(names, back(numbers), strict=True)
                ]
                return function(t, *values)

            return jax.hessian(of)(point)

        return self.over_batches(whole, axes)

    def scan(self, function: Function, key: Any, make: Callable[[], Any], arguments: Any) -> Any:
        """Return what a function of many steps returns, compiled."""
        return self._call(function, key, make, arguments)

    def _call(self, function: Function, key: Any, make: Callable[[], Any], arguments: Any) -> Any:
        of_function = self._compiled.setdefault(function, {})
        with jax.enable_x64(True):
            if key not in of_function:
                of_function[key] = jax.jit(make())
            return of_function[key](*arguments)


class _Batches:
    """A function of batches, and which of its arguments have examples."""

    def __init__(self, function: Function, axes: Sequence[int | None]) -> None:
        self.function, self.axes = function, tuple(axes)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class ScannedStepper(DifferentiatedStepper):
    """Steps that follow each other are one compiled loop."""

    framework: Jax

    def advance(
        self, s: Runs, start: Any, u: Fields, theta: Fields, out: Any, rhs: Any = None
    ) -> None:
        rows = _rows(s)
        if rows.size == 0:
            return
        step, dtype = _plain(self._batch), out.dtype
        shape = self._time_shape(start)

        def run(start: Any, times: Any, u: Any, rhs: Any, theta: Any) -> Any:
            def one(y: Any, at: Any) -> Any:
                (t0, t1), blocks, source = at
                new = step(t0.reshape(shape), t1.reshape(shape), y, blocks, theta)
                new = new if source is None else new + source
                return new, new

            return jax.lax.scan(one, start, (times, u, rhs))[1]

        found = self.framework.scan(
            self._batch,
            ("advance", rhs is None, s.count),
            lambda: run,
            _cast((start, _times(s, rows), _at(u, rows), _at(rhs, rows), dict(theta)), dtype),
        )
        if len(out) == 1 and rows.size > 1:
            out[...] = np.asarray(found[-1])
        else:
            out[rows] = np.asarray(found)

    def _time_shape(self, start: Any) -> tuple[int, ...]:
        return (-1, *(1,) * (np.ndim(start) - 1)) if self._batches else (-1,)


class ScannedAdjoint(DifferentiatedAdjoint):
    """The transposes of a `ScannedStepper`, also in one compiled loop."""

    stepper: ScannedStepper

    def advance(
        self,
        s: Runs,
        y: Any,
        u: Fields,
        theta: Fields,
        start: Any,
        out: Any,
        rhs: Any = None,
        into: tuple[Fields, Fields] | None = None,
    ) -> None:
        rows = _rows(s)
        if rows.size == 0:
            return
        stepper = self.stepper
        step, shape = _plain(stepper._batch), stepper._time_shape(start)

        def run(start: Any, times: Any, y: Any, u: Any, rhs: Any, theta: Any) -> Any:
            def one(carried: Any, at: Any) -> Any:
                lam, total = carried
                (t0, t1), state, blocks, source = at
                t0, t1 = t0.reshape(shape), t1.reshape(shape)
                _, pull = jax.vjp(lambda *a: step(t0, t1, *a), state, blocks, theta)
                dy, du, dtheta = pull(lam)
                dy = dy if source is None else dy + source
                return (dy, jax.tree.map(jnp.add, total, dtheta)), (dy, du)

            nothing = jax.tree.map(jnp.zeros_like, theta)
            places = (times, y, u, rhs)
            (_, total), found = jax.lax.scan(one, (start, nothing), places, reverse=True)
            return (*found, total)

        lam, du, dtheta = stepper.framework.scan(
            stepper._batch,
            ("transpose", rhs is None, s.count),
            lambda: run,
            _cast(
                (start, _times(s, rows), y[rows], _at(u, rows), _at(rhs, rows), dict(theta)),
                out.dtype,
            ),
        )
        if len(out) == 1 and rows.size > 1:
            out[...] = np.asarray(lam[0])
        else:
            out[rows] = np.asarray(lam)
        if into is not None:
            for name, place in into[0].items():
                place[rows] += np.asarray(du[name])
            for name, place in into[1].items():
                place += np.asarray(dtheta[name])


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
) -> Problem:
    """Return the problem of functions of JAX arrays; nothing is differentiated by hand.

    Arguments are those of `pint.autodiff.torch.problem`; functions must be such that `jax.jit`
    compiles them. With `step`, steps that follow each other are one compiled loop.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind; later, if a function returns another shape.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import pint
    >>> from pint.autodiff.jax import problem
    >>> made = problem(
    ...     rate=lambda t, y, u, theta: u["u"] - jnp.sin(y),
    ...     initial_state=[1.0],
    ...     controls={"u": pint.TimeControl(1)},
    ...     running_cost=lambda t, y, u, theta: (y**2 + u["u"] ** 2).sum(),
    ... )
    >>> functional = pint.ReducedFunctional(made, pint.TimeGrid.uniform(1.0, 8))
    >>> print(pint.minimize(functional, method=pint.GaussNewton()).status.name)
    CONVERGED
    """
    return problem_of(
        Jax(), rate, step, initial_state, controls, running_cost, terminal_cost, scheme,
        quadrature, regularisers, batches, ScannedStepper, ScannedAdjoint,
    )  # fmt: skip


def _plain(function: Any) -> Any:
    return function.function if isinstance(function, _Batches) else function


def _cast(arguments: Sequence[Any], dtype: Any) -> list[Any]:
    """Return arguments as arrays of one type."""
    return [
        jax.tree.map(lambda one: np.asarray(one, dtype), dict(a) if isinstance(a, Mapping) else a)
        for a in arguments
    ]


def _length(arguments: Sequence[Any]) -> int:
    return len(jax.tree.leaves(arguments[0])[0])


def _filled(function: Any, arguments: list[Any]) -> tuple[list[Any], int]:
    """Return arguments filled up to a power of two examples, and their count; 0 without."""
    if not isinstance(function, _Batches):
        return arguments, 0
    count = _length(arguments)
    size = 1 << max(count - 1, 0).bit_length()

    def fill(one: Any) -> Any:
        return one if size == count else np.concatenate([one, np.repeat(one[-1:], size - count, 0)])

    return [
        jax.tree.map(fill, argument) if axis == 0 else argument
        for argument, axis in zip(arguments, function.axes, strict=True)
    ], count


def _rows(s: Runs) -> np.ndarray:
    """Return the rows of all runs, shape (length, count)."""
    return np.arange(s.length)[:, None] + s.apart * np.arange(s.count)


def _times(s: Runs, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return s.t0.reshape(-1)[rows], s.t1.reshape(-1)[rows]


def _at(values: Any, rows: np.ndarray) -> Any:
    if values is None:
        return None
    if isinstance(values, Mapping):
        return {name: block[rows] for name, block in values.items()}
    return values[rows]
