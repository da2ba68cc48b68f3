"""Layers one after the other as one graph, as PyTorch does it, or many side by side by `vmap`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch

from pint.torch.parts import Part, own_random_numbers, seed


@dataclass(frozen=True)
class Span:
    """The layers of one module, rows `start` to `stop`.

    `weights` have a row for each layer, and so have `slopes`, to which derivatives are added; they
    are None where nobody wants any.
    """

    part: Part
    start: int
    stop: int
    weights: Mapping[str, Any]
    slopes: Mapping[str, Any] | None

    def cut(self, rows: range) -> tuple[slice, Span] | None:
        """Return where this span's layers are among some rows, and the span of these alone."""
        begin, end = (
            min(max(-((rows.start - edge) // rows.step), 0), len(rows))
            for edge in (self.start, self.stop)
        )
        if begin == end:
            return None
        own = slice(rows[begin] - self.start, rows[end - 1] - self.start + 1, rows.step)
        slopes = self.slopes and {name: one[own] for name, one in self.slopes.items()}
        weights = {name: one[own] for name, one in self.weights.items()}
        return slice(begin, end), Span(self.part, rows[begin], rows[end - 1] + 1, weights, slopes)


@dataclass(frozen=True, eq=False)
class Graph:
    """A layer that can be differentiated: state, weights in the module's order, and result.

    The state of the next layer of a chain is the result of this one, the same tensor.
    """

    state: Any
    weights: Sequence[Any]
    result: Any


class Rows:
    """The layers of some steps, one for each row.

    Parameters
    ----------
    spans : sequence of Span
        Of all rows, ascending.
    index : ndarray
        The number of each layer.
    sizes : ndarray
        Step sizes.
    sequence : Tensor or None
        What each layer is given besides, the layers first.
    rate : bool
        Whether a module is the rate of change.
    draw : int
        Of the random numbers.
    """

    def __init__(
        self,
        spans: Sequence[Span],
        index: np.ndarray,
        sizes: np.ndarray,
        sequence: Any,
        rate: bool,
        draw: int,
    ) -> None:
        self.spans, self.sequence, self.rate, self.draw = spans, sequence, rate, draw
        self.index, self.sizes = index.tolist(), sizes.tolist()
        self.parts = [span.part for span in spans for _ in range(span.start, span.stop)]

    @cached_property
    def weights(self) -> list[Sequence[Any]]:
        """The tensors of each layer's weights."""
        return [own for span in self.spans for own in _each(span.weights)]

    @cached_property
    def slopes(self) -> list[Sequence[Any]]:
        """Where each layer's derivatives are added; empty where nobody wants any."""
        nothing: list[Sequence[Any]] = [()]
        return [
            own
            for span in self.spans
            for own in _each(span.slopes or {}) or nothing * (span.stop - span.start)
        ]

    # One after the other

    def forward(
        self, rows: range, state: Any, out: Any, sources: Any, kept: Any, wanted: bool
    ) -> None:
        """Write the states after a run of layers to `out`, in place; of one row, the last one.

        Parameters
        ----------
        rows : range
        state : Tensor
            Before the first layer.
        out : Tensor
        sources : Tensor or None
            Added to each result.
        kept : array of objects or None
            For the graph of each layer.
        wanted : bool
            Whether graphs reach the weights.
        """
        whole = len(out) >= rows.stop
        places = out.unbind(0) if whole else ()
        state = state.detach()
        if kept is not None:
            state.requires_grad_()
        with self._borrowed(kept is not None):
            for row in rows:
                new = self._next(row, state, wanted and kept is not None)
                if sources is not None:
                    new = new + sources[row]
                if kept is not None:
                    kept[row] = Graph(state, self.weights[row], new)
                if whole:
                    places[row].copy_(new.detach())
                state = new
        if not whole:
            out[0].copy_(state.detach())

    def backward(
        self, rows: range, states: Any, lam: Any, out: Any, sources: Any, kept: Any
    ) -> None:
        """Write the adjoints before a run of layers to `out`, in place, the last layer first.

        Parameters
        ----------
        rows, out, sources, kept
            As in `forward`.
        states : Tensor
            Before each layer.
        lam : Tensor
            The adjoint after the last layer.
        """
        whole, stop = len(out) >= rows.stop, rows.stop
        places = out.unbind(0)
        while stop > rows.start:
            graphs = self._chain(range(rows.start, stop), states, kept)
            begin = stop - len(graphs)
            found = self._products(graphs, begin, lam, sources, whole, kept is not None)
            for row, one in zip(range(begin, stop), found, strict=False):
                if sources is not None and row == begin:
                    one = one + sources[row]
                if whole:
                    places[row].copy_(one)
                if row == begin:
                    lam = one
            stop = begin
        if not whole:
            places[0].copy_(lam)

    def _chain(self, rows: range, states: Any, kept: Any) -> Sequence[Graph]:
        """Return the graphs of the last rows that are one chain."""
        last = first = rows[-1]
        if kept is None or kept[last] is None:
            with self._borrowed(True):
                state, wanted = (
                    states[last].detach().requires_grad_(),
                    bool(self.slopes[last]),
                )
                return [Graph(state, self.weights[last], self._next(last, state, wanted))]
        # The graph of a layer before may be that of another run, or missing.
        while first > rows.start and getattr(kept[first - 1], "result", 0) is kept[first].state:
            first -= 1
        return list(kept[first : last + 1])

    def _products(
        self, graphs: Sequence[Graph], first: int, lam: Any, sources: Any, whole: bool, again: bool
    ) -> Sequence[Any]:
        """Return the adjoints before the layers of a chain, or before the first one alone.

        Derivatives are added to the slopes. The graphs are lost unless they are needed `again`.
        """
        states = [graph.state for graph in graphs]
        ends = [(graphs[-1].result, lam)]
        if sources is not None:
            ends += zip(states[1:], sources[first + 1 : first + len(graphs)], strict=True)
        ends = [(end, along) for end, along in ends if end.requires_grad]
        wanted = states if whole else states[:1]
        # A state that was an input once keeps what later passes send through it.
        for one in states:
            if one.retains_grad:
                one.grad = None
        slopes = self.slopes[first : first + len(graphs)]
        for graph, places in zip(graphs, slopes, strict=True):
            for weight, slope in zip(graph.weights, places, strict=False):
                weight.grad = slope  # in the memory of the derivative, to which autograd adds
        # Where all that the graph reaches is wanted, PyTorch need not look for a way to each input.
        inputs = None
        if all(slopes) and states[0].is_leaf:
            for one in wanted[1:]:
                one.retain_grad()
        else:
            weights = (
                graph.weights for graph, places in zip(graphs, slopes, strict=True) if places
            )
            inputs = [*wanted, *chain.from_iterable(weights)]
        if ends:
            torch.autograd.backward(*zip(*ends, strict=True), retain_graph=again, inputs=inputs)
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in wanted]
        for one in wanted:
            one.grad = None
        return found

    def _next(self, row: int, y: Any, wanted: bool) -> Any:
        """Return the state after a layer; the module keeps the layer's weights."""
        part, weights = self.parts[row], self.weights[row]
        for one in weights if wanted else ():
            one.requires_grad_()
        part.hold(weights)
        if part.is_random:
            seed(self.draw, self.index[row])
        if self.sequence is None:
            change = part.called(y)
        else:
            change = part.called(y, self.sequence[self.index[row]])
        return torch.add(y, change, alpha=self.sizes[row]) if self.rate else change

    @contextmanager
    def _borrowed(self, differentiable: bool) -> Iterator[None]:
        """Give modules their own weights again at the end, and the user's random numbers."""
        is_random = any(span.part.is_random for span in self.spans)
        with torch.set_grad_enabled(differentiable), own_random_numbers(is_random):
            try:
                yield
            finally:
                for span in self.spans:
                    span.part.release()

    # Side by side

    def together(self, rows: range, states: Any) -> Any:
        """Return the states after independent layers, in one call for each module."""
        found = [self._mapped(span, rows[here], states[here]) for here, span in self._cut(rows)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def together_back(self, rows: range, states: Any, lam: Any) -> Any:
        """Return the adjoints before independent layers; derivatives are added to the slopes."""
        found = []
        for here, span in self._cut(rows):
            state, slopes = states[here].detach().requires_grad_(), span.slopes or {}
            inputs = [state, *(span.weights[name].requires_grad_() for name in slopes)]
            with torch.enable_grad():
                result = self._mapped(span, rows[here], state)
            dy, *parts = torch.autograd.grad(result, inputs, lam[here], allow_unused=True)
            for slope, part in zip(slopes.values(), parts, strict=True):
                if part is not None:
                    slope.add_(part)
            found.append(torch.zeros_like(state) if dy is None else dy)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _cut(self, rows: range) -> Iterator[tuple[slice, Span]]:
        for span in self.spans:
            found = span.cut(rows)
            if found is not None:
                yield found

    def _mapped(self, span: Span, rows: range, states: Any) -> Any:
        sizes = torch.tensor(
            [self.sizes[row] for row in rows], dtype=states.dtype, device=states.device
        )
        given = None
        if self.sequence is not None:
            given = self.sequence[[self.index[row] for row in rows]]

        def layer(size: Any, y: Any, weights: Mapping[str, Any], given: Any) -> Any:
            change = span.part(weights, *((y,) if given is None else (y, given)))
            return y + size * change if self.rate else change

        axes = (0, 0, 0, None if given is None else 0)
        return torch.func.vmap(layer, in_dims=axes)(sizes, states, dict(span.weights), given)


def _each(stacked: Mapping[str, Any]) -> list[Sequence[Any]]:
    """Return the tensors of each row."""
    return list(zip(*(one.unbind(0) for one in stacked.values()), strict=True))
