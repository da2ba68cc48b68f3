"""Layers as time steps: modules with the weights of each layer, and their transposes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pint.autodiff.torch import as_numpy, as_tensor, returned
from pint.grid import Runs, Steps
from pint.interface import Adjoint, Fields, Objective, TimeStepper
from pint.states import StateSpace
from pint.torch.chains import Rows, Span
from pint.torch.parts import Data, Part

SMALL = 2**14
"""Bytes of a state below which many layers are computed together, by `torch.func.vmap`; the graphs
of layers that follow each other are kept for the adjoint."""


class Layers(TimeStepper):
    """``y + dt block(y; weights_n)``, or ``block(y; weights_n)`` with the form 'step'.

    Parameters
    ----------
    blocks : sequence of Part
        The modules of layers, in their order.
    counts : sequence of int
        How many layers each of them has.
    opening : Part
    data : Data
    dtype : dtype
        Of numpy for states that are arrays, of PyTorch for tensors.
    rate : bool
        Whether the block is the rate of change.
    together : bool
        Whether several layers can be one call, by `torch.func.vmap`.
    space : StateSpace
        Of the examples and their features.
    """

    batched = True
    host_times = True
    kept_shape = ()
    kept_type = object

    def __init__(
        self,
        blocks: Sequence[Part],
        counts: Sequence[int],
        opening: Part,
        data: Data,
        dtype: Any,
        rate: bool,
        together: bool,
        space: StateSpace,
    ) -> None:
        self.blocks, self.opening, self.data, self.rate = list(blocks), opening, data, rate
        self.begins, self.dtype = np.cumsum([0, *counts[:-1]]), dtype
        self._space = space
        # On a device a launch takes longer than the arithmetic of one layer.
        small = space.state_bytes <= SMALL or next(iter(blocks[0].weights.values())).is_cuda
        self.together = together and small

    @property
    def space(self) -> StateSpace:
        return self._space

    def rows(self, s: Steps | Runs, u: Fields, slopes: Fields | None = None) -> Rows:
        """Return the layers of some steps; derivatives are added to `slopes`, of their type."""
        index = np.reshape(s.index, -1)
        size = s.size
        sizes = np.reshape(s.t1 - s.t0, -1) if size is None else np.full(len(index), size)
        starts = np.searchsorted(index, self.begins).tolist()
        spans = []
        for part, start, stop in zip(self.blocks, starts, [*starts[1:], len(index)], strict=True):
            if start < stop:
                here = slice(start, stop)
                weights = part.tensors(u, self.dtype, here)
                own = None if slopes is None else part.tensors(slopes, self.dtype, here)
                spans.append(Span(part, start, stop, weights, own))
        return Rows(spans, index, sizes, self.data.sequence, self.rate, self.data.draw)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        out = _empty_like(y)
        self._forward(s, (len(y), 1, 1), y, u, out, None)
        return out

    def advance(
        self, s: Runs, start: Any, u: Fields, theta: Fields, out: Any, rhs: Any = None
    ) -> None:
        self._forward(s, (s.count, s.length, s.apart), start, u, out, rhs)

    def _forward(
        self, s: Steps | Runs, runs: tuple[int, int, int], start: Any, u: Fields, out: Any, rhs: Any
    ) -> None:
        """Write the states after the layers of some runs to `out`, in place."""
        layers, (count, length, apart) = self.rows(s, u), runs
        state, into, sources = (self._tensor(one) for one in (start, out, rhs))
        if self.together and count > 1:
            with torch.no_grad():
                for rows in _side_by_side(runs):
                    state = layers.together(rows, state)
                    state = state if sources is None else state + sources[_slice(rows)]
                    into[_slice(rows)] = state
            return
        for run in range(count):
            rows = range(run * apart, run * apart + length)
            layers.forward(rows, state[run], into, sources, s.kept, s.level == 0)

    def _tensor(self, array: Any) -> Any:
        return None if array is None else as_tensor(array, self.dtype)

    def initial(self, theta: Fields) -> Any:
        with torch.no_grad():
            weights = self.opening.tensors(theta, self.dtype)
            found = self.opening.drawn(weights, self.data.inputs, self.data.draw)
            return as_numpy(found) if self._space.on_host else found


class LayersAdjoint(Adjoint):
    """The transposes of `Layers`, by automatic differentiation."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        slopes = {name: _zeros(block, None) for name, block in u.items()}
        return self._step(s, y, u, lam, slopes), slopes, {}

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        return self._step(s, y, u, lam, None)

    def _step(self, s: Steps, y: Any, u: Fields, lam: Any, slopes: Fields | None) -> Any:
        out = _empty_like(y)
        self._backward(s, (len(y), 1, 1), y, u, lam, out, None, slopes)
        return out

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
        slopes = None if into is None else into[0]
        self._backward(s, (s.count, s.length, s.apart), y, u, start, out, rhs, slopes)

    def _backward(
        self,
        s: Steps | Runs,
        runs: tuple[int, int, int],
        y: Any,
        u: Fields,
        start: Any,
        out: Any,
        rhs: Any,
        slopes: Fields | None,
    ) -> None:
        """Write the adjoints before the layers of some runs, and add to slopes, in place."""
        layers, (count, length, apart) = self.layers, runs
        states, lam, into, sources = (layers._tensor(one) for one in (y, start, out, rhs))
        # Autograd adds to tensors of the type of the weights.
        sums = (
            None
            if slopes is None
            else {
                name: one if one.dtype == layers.dtype else _zeros(one, layers.dtype)
                for name, one in slopes.items()
            }
        )
        chains = layers.rows(s, u, sums)
        if layers.together and count > 1:
            for rows in reversed(_side_by_side(runs)):
                here = _slice(rows)
                lam = chains.together_back(rows, states[here], lam)
                lam = lam if sources is None else lam + sources[here]
                into[here] = lam
        else:
            for run in range(count):
                rows = range(run * apart, run * apart + length)
                chains.backward(rows, states, lam[run], into, sources, s.kept)
        for name, one in (sums or {}).items():
            if slopes is not None and one is not slopes[name]:
                slopes[name][...] += one

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        layers = self.layers
        opening, dtype = layers.opening, layers.dtype
        if not opening.weights:
            return {}
        weights = opening.tensors(theta, dtype)
        for one in weights.values():
            one.requires_grad_()
        with torch.enable_grad():
            result = opening.drawn(weights, layers.data.inputs, layers.data.draw)
        found = torch.autograd.grad(
            result, list(weights.values()), as_tensor(lam0, dtype), allow_unused=True
        )
        return opening.fields(dict(zip(weights, found, strict=True)), theta)


def _empty_like(y: Any) -> Any:
    return np.empty(y.shape, y.dtype) if isinstance(y, np.ndarray) else torch.empty_like(y)


def _zeros(like: Any, dtype: Any) -> Any:
    """Return zeros of a shape, of float64 arrays or the tensors' own type by default."""
    if isinstance(like, np.ndarray):
        return np.zeros(like.shape, dtype)
    return torch.zeros_like(like, dtype=dtype)


def _side_by_side(runs: tuple[int, int, int]) -> list[range]:
    """Return the rows of the first step of all runs, of the second, and so on."""
    count, length, apart = runs
    return [range(step, step + (count - 1) * apart + 1, apart) for step in range(length)]


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop, rows.step)


class Loss(Objective):
    """``loss(head(y_N), labels)`` of the selected examples.

    Parameters
    ----------
    head : Part
    loss : callable
        Of outputs and labels, tensors: a mean over the examples.
    data : Data
    dtype : dtype
    """

    def __init__(self, head: Part, loss: Any, data: Data, dtype: Any) -> None:
        self.head, self.loss, self.data, self.dtype = head, loss, data, dtype

    def _value(self, y: Any, weights: Mapping[str, Any]) -> Any:
        count = self.data.count
        outputs = self.head.drawn(weights, y[:count], self.data.draw)
        return self.loss(outputs, self.data.labels[:count])

    def terminal(self, y: Any, theta: Fields) -> float:
        with torch.no_grad():
            weights = self.head.tensors(theta, self.dtype)
            return float(self._value(as_tensor(y, self.dtype), weights))

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        weights, state = self.head.tensors(theta, self.dtype), as_tensor(y, self.dtype)
        inputs = [state, *weights.values()]
        for one in inputs:
            one.requires_grad_()
        with torch.enable_grad():
            value = self._value(state, weights)
        dy, *slopes = torch.autograd.grad(value, inputs, allow_unused=True)
        return returned(dy, y), self.head.fields(dict(zip(weights, slopes, strict=True)), theta)
