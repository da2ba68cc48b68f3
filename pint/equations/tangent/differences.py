"""The derivatives of steps along directions where a problem has no tangent of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from pint.comm import reduce
from pint.equations.calls import Calls
from pint.interface import Fields
from pint.states import ArraySpace, Block
from pint.states.slopes import imaginary

MOST_NUMBERS = 16
"""Of a state whose steps are transposed twice: that takes so many transposes of each."""

STEP = 1e-30
"""Along the imaginary axis."""

Arguments = tuple[Any, Fields, Fields]
"""A block of states, the blocks of u, and theta; or a direction of them."""


class Numerical:
    """The steps of one level differentiated along directions.

    In the first of these ways that is possible: by a complex step of 1e-30, exact to rounding, for
    states that are numpy arrays on one rank where the step accepts complex numbers; for states of
    up to `MOST_NUMBERS` numbers by transposing `Adjoint.vjp`, exact, too, but with differences for
    theta; by central differences, with errors of about 1e-9. The first call finds out which.

    Parameters
    ----------
    calls : Calls
    level : int
    """

    def __init__(self, calls: Calls, level: int) -> None:
        self.calls, self.level = calls, level
        self.stepper, self.space = calls.steppers[level], calls.spaces[level]
        self._on_arrays = isinstance(self.space, ArraySpace) and self.space.comm.size == 1
        self._few = self._on_arrays and np.prod(self.space.shape, dtype=int) <= MOST_NUMBERS
        self._is_analytic: bool | None = None if self._on_arrays else False

    @property
    def precision(self) -> float:
        """The relative error to expect of derivatives, of differences while nothing is known."""
        exact = self._is_analytic or self._few
        return 0.0 if exact else 10 * float(self.space.precision ** (2 / 3))

    def jvp(self, starts: range, at: Arguments, along: Arguments, out: Block) -> None:
        """Write the derivatives of independent steps to `out`, in place: `TangentCalls.jvp`."""
        if self._is_analytic is None:
            self._is_analytic = self._agrees(starts, at, along)
        if self._is_analytic:
            slope = self._complex(starts, at, along)
            if slope is not None:
                out[...] = slope
                return
        if not self._few:
            self._central(starts, at, along, out)
            return
        self._transposed(starts, at, along, out)
        if any(np.any(values) for values in along[2].values()):
            still = (0.0 * along[0], {name: 0.0 * values for name, values in along[1].items()})
            of_theta = self.space.allocate(len(out))
            self._central(starts, at, (*still, along[2]), of_theta)
            out += of_theta

    def initial_jvp(self, theta: Fields, dtheta: Fields, like: Any) -> Any:
        """Return the derivative of the initial state, of the shape of `like`."""
        if not any(np.any(values) for values in dtheta.values()):
            return 0.0 * like
        slope, stepper = None, self.stepper
        ahead, behind, distance = self._moved((like, {}, theta), (0.0 * like, {}, dtheta))
        central: Any = (
            1.0 * self.calls.initial(ahead[2], like) - self.calls.initial(behind[2], like)
        ) / (2 * distance)
        if self._on_arrays:
            moved = _complex_fields(theta, dtheta)
            slope = imaginary(lambda: stepper.initial(moved), STEP)
        exact = slope is not None and _close(slope, central, like)
        return slope if exact else central

    def _agrees(self, starts: range, at: Arguments, along: Arguments) -> bool:
        """Whether the complex step along random directions gives what differences give."""
        random = np.random.default_rng(0)

        def like(values: Any) -> Any:
            return random.standard_normal(np.shape(values))

        way = (like(at[0]), *({n: like(v) for n, v in part.items()} for part in at[1:]))
        slope = self._complex(starts, at, way)
        if slope is None:
            return False
        central, result = self.space.allocate(len(at[0])), self.space.allocate(len(at[0]))
        self._central(starts, at, way, central)
        self._step(starts, at, result)
        return _close(slope, central, result)

    def _complex(self, starts: range, at: Arguments, along: Arguments) -> np.ndarray | None:
        """Return the derivatives by a complex step, None if the step refuses it."""
        grid, step = self.calls.grid, self.stepper.step
        y, u = at[0] + STEP * 1j * along[0], _complex_fields(at[1], along[1])
        theta = _complex_fields(at[2], along[2])

        def call() -> Any:
            if self.calls.batched:
                s = grid.batch(self.level, starts, len(self.space.shape))
                return step(s, y, u, theta)
            blocks = ({n: values[row, ...] for n, values in u.items()} for row in range(len(y)))
            singles = zip(starts, y, blocks, strict=True)
            return np.array(
                [step(grid.single(self.level, n), state, own, theta) for n, state, own in singles]
            )

        slope = imaginary(call, STEP)
        return None if slope is None or np.shape(slope) != y.shape else slope

    def _transposed(self, starts: range, at: Arguments, along: Arguments, out: Block) -> None:
        """Write the derivatives along dy and du by transposing `vjp`: one number after another."""
        count = len(at[0])
        lam, row = self.space.allocate(count), self.space.allocate(count)
        unit, flat = lam.reshape(count, -1), out.reshape(count, -1)
        for i in range(unit.shape[1]):
            unit[:, i] = 1.0
            into = (
                {name: np.zeros(np.shape(values)) for name, values in at[1].items()},
                {name: np.zeros(np.shape(values)) for name, values in at[2].items()},
            )
            self.calls.vjp(self.level, starts, at[1], at[2], at[0], lam, row, into=into)
            pairs = [(row, along[0]), *((into[0][name], v) for name, v in along[1].items())]
            flat[:, i] = sum(_products(slope, way, count) for slope, way in pairs)
            unit[:, i] = 0.0

    def _central(self, starts: range, at: Arguments, along: Arguments, out: Block) -> None:
        """Write the derivatives by central differences."""
        ahead, behind, distance = self._moved(at, along)
        if not distance:
            out[...] = 0.0
            return
        other = self.space.allocate(len(out))
        self._step(starts, ahead, out)
        self._step(starts, behind, other)
        out -= other
        out *= 1.0 / (2 * distance)

    def _step(self, starts: range, at: Arguments, out: Block) -> None:
        self.calls.step(self.level, starts, at[1], at[2], at[0], out)

    def _moved(self, at: Arguments, along: Arguments) -> tuple[Arguments, Arguments, float]:
        """Return arguments ahead and behind, and how far they are moved; 0 along zero."""
        distance = difference_distance(self.space, at, along)
        ahead, behind = (
            (
                at[0] + way * along[0],
                *(
                    {name: values + way * slopes[name] for name, values in part.items()}
                    for part, slopes in zip(at[1:], along[1:], strict=True)
                ),
            )
            for way in (distance, -distance)
        )
        return ahead, behind, distance


def difference_distance(space: Any, at: Arguments, along: Arguments, comm: Any = None) -> float:
    """Return how far to move arguments for central differences; 0 along zero. Collective in space.

    With `comm`, the ranks in time, it is alike on these, too.
    """
    sums = []
    for block, *fields in (at, along):
        others = [np.asarray(v) for part in fields for v in part.values()]
        numbers = len(block) * int(np.prod(space.shape, dtype=int))
        sums += [
            space.pair(block, block) + sum(float(np.vdot(v, v)) for v in others),
            numbers + sum(v.size for v in others),
        ]
    totals = reduce(space.comm, sums)
    if comm is not None:
        totals = reduce(comm, totals)
    size, direction = (totals[0] / totals[1]) ** 0.5, (totals[2] / totals[3]) ** 0.5
    if not direction:
        return 0.0
    # The third root of rounding, where the errors of rounding and of the differences meet
    distance = space.precision ** (1 / 3) * max(1.0, size) / direction
    return float(distance) if np.isfinite(distance) else 1.0  # of numbers that are not finite


def _complex_fields(values: Fields, slopes: Fields) -> dict[str, np.ndarray]:
    return {name: value + STEP * 1j * slopes[name] for name, value in values.items()}


def _products(slopes: Any, directions: Any, count: int) -> Any:
    """Return the products of the rows of two arrays, shape (count,)."""
    return (slopes.reshape(count, -1) * directions.reshape(count, -1)).sum(axis=1)


def _close(exact: Any, differences: Any, result: Any) -> bool:
    """Return whether two derivatives of one result agree."""
    size = np.linalg.norm(np.ravel(exact)) + np.linalg.norm(np.ravel(differences))
    rounding = 1e-9 * np.linalg.norm(np.ravel(result))
    difference = np.linalg.norm(np.ravel(exact) - np.ravel(differences))
    return bool(difference <= 1e-7 * size + rounding)
