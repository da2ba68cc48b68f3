"""Layers as time steps: a module with the weights of each layer, and its transposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pint.autodiff.torch import as_numpy, as_tensor
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, TimeStepper
from pint.states import ArraySpace, StateSpace

SMALL = 2**14
"""Bytes of a state below which layers are computed together, by `torch.func.vmap`; the graphs of
larger ones are kept for the adjoint."""


class Data:
    """The inputs and labels of the examples that are selected; those beyond `count` are filled.

    Attributes
    ----------
    inputs, labels : Tensor
    sequence : Tensor or None
        What each step is given besides, shape (layers, examples, ...).
    count : int
    """

    def __init__(self, inputs: Any, labels: Any, sequence: Any) -> None:
        self.inputs, self.labels, self.sequence = inputs, labels, sequence
        self.count = len(inputs)


class Part:
    """A module whose weights are fields of the control, by names that begin with its own.

    Parameters
    ----------
    name : str
        'block', 'opening' or 'head'.
    module : torch.nn.Module or None
        None stands for the identity.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.module = name, module
        self.weights: dict[str, Any] = {} if module is None else dict(module.named_parameters())
        self._places = {} if module is None else _places(module, self.weights)

    def field(self, weight: str) -> str:
        """Return the name of the field of a weight."""
        return f"{self.name}.{weight}"

    def tensors(self, fields: Fields, dtype: Any, lead: int = 0) -> dict[str, Any]:
        """Return the tensors of some fields by the names of the weights; `lead` axes come first."""
        found = {}
        for name, like in self.weights.items():
            one = as_tensor(fields[self.field(name)], dtype)
            found[name] = one.reshape(
                *one.shape[:lead], *like.shape
            )  # a field has an axis at least
        return found

    def weights_of(self, fields: Fields, layer: Any = ...) -> dict[str, Any]:
        """Return weights as a state_dict has them, of one layer or of a module at an end."""
        return {
            name: torch.tensor(fields[self.field(name)][layer], dtype=like.dtype).reshape(
                like.shape
            )
            for name, like in self.weights.items()
        }

    def fields(self, slopes: Mapping[str, Any], like: Fields) -> dict[str, Any]:
        """Return derivatives to weights by the names of their fields; None is zero."""
        found = {}
        for name, slope in slopes.items():
            shape = like[self.field(name)].shape
            array = np.zeros(shape) if slope is None else as_numpy(slope).reshape(shape)
            found[self.field(name)] = array
        return found

    def __call__(self, weights: Mapping[str, Any], *inputs: Any) -> Any:
        """Return what the module makes of inputs with other weights."""
        if self.module is None:
            return inputs[0]
        # As `torch.func.functional_call` does, without looking for the places in each call, which
        # would take as long as a small layer.
        places = self._places
        for name, one in weights.items():
            for parameters, key in places[name]:
                parameters[key] = one
        try:
            return self.module(*inputs)
        finally:
            for name, one in self.weights.items():
                for parameters, key in places[name]:
                    parameters[key] = one


def _places(module: Any, weights: Mapping[str, Any]) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Return where a module and its parts hold each of its weights."""
    names = {id(one): name for name, one in weights.items()}
    places: dict[str, list[tuple[dict[str, Any], str]]] = {name: [] for name in weights}
    for part in module.modules():
        for key, one in part._parameters.items():
            if one is not None:
                places[names[id(one)]].append((part._parameters, key))
    return places


@dataclass(frozen=True, eq=False)
class Graph:
    """A layer that can be differentiated: its state, weights and result, tensors."""

    state: Any
    weights: Mapping[str, Any]
    result: Any

    def products(self, lam: Any, wanted: list[str], again: bool) -> list[Any]:
        """Return the products of `lam` with the derivatives to the state and to some weights.

        The graph is lost unless it is needed `again`.
        """
        inputs = [self.state, *(self.weights[name] for name in wanted)]
        found = torch.autograd.grad(self.result, inputs, lam, retain_graph=again, allow_unused=True)
        pairs = zip(inputs, found, strict=True)
        return [torch.zeros_like(one) if slope is None else slope for one, slope in pairs]


class Layers(TimeStepper):
    """``y + dt block(y; weights_n)``, or ``block(y; weights_n)`` with the form 'step'.

    Parameters
    ----------
    block, opening : Part
    data : Data
    shape : tuple of int
        Of a state: the examples, and their features.
    dtype : dtype
    rate : bool
        Whether the block is the rate of change.
    together : bool
        Whether several layers can be one call, by `torch.func.vmap`.
    """

    batched = True
    kept_type = object

    def __init__(
        self,
        block: Part,
        opening: Part,
        data: Data,
        shape: tuple[int, ...],
        dtype: Any,
        rate: bool,
        together: bool,
    ) -> None:
        self.block, self.opening, self.data, self.rate = block, opening, data, rate
        self.dtype = np.dtype(dtype)
        self._space = ArraySpace(shape, self.dtype)
        self.together = together and self._space.state_bytes <= SMALL
        self.kept_shape = None if self.together else ()

    @property
    def space(self) -> StateSpace:
        return self._space

    def layer(self, size: Any, y: Any, weights: Mapping[str, Any], given: Any) -> Any:
        """Return the next state of one layer, of tensors."""
        inputs = (y,) if given is None else (y, given)
        change = self.block(weights, *inputs)
        return y + size * change if self.rate else change

    def all_layers(self, s: Steps, y: Any, weights: Mapping[str, Any]) -> Any:
        """Return the next states of some layers in one call, of tensors."""
        sizes, given = self._sizes(s), self._given(s)
        axes = (0, 0, 0, None if given is None else 0)
        return torch.func.vmap(self.layer, in_dims=axes)(sizes, y, dict(weights), given)

    def graphs(self, s: Steps, y: Any, u: Fields, wanted: bool = True) -> list[Graph]:
        """Return the graph of each layer; of states alone unless weights are `wanted`."""
        weights, states = self.block.tensors(u, self.dtype, 1), as_tensor(y, self.dtype)
        sizes, given = self._sizes(s).tolist(), self._given(s)
        graphs = []
        with torch.enable_grad():
            for row, size in enumerate(sizes):
                state = states[row].detach().requires_grad_()
                own = {name: one[row].detach() for name, one in weights.items()}
                for one in own.values() if wanted else ():
                    one.requires_grad_()
                result = self.layer(size, state, own, None if given is None else given[row])
                graphs.append(Graph(state, own, result))
        return graphs

    def _sizes(self, s: Steps) -> Any:
        return torch.from_numpy(np.reshape(s.dt, -1).astype(self.dtype))

    def _given(self, s: Steps) -> Any:
        if self.data.sequence is None:
            return None
        return self.data.sequence[torch.from_numpy(np.asarray(s.index).copy())]

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        if s.kept is not None:
            graphs = self.graphs(s, y, u)
            for row, graph in enumerate(graphs):
                s.kept[row] = graph
            return np.stack([as_numpy(graph.result) for graph in graphs])
        weights, states = self.block.tensors(u, self.dtype, 1), as_tensor(y, self.dtype)
        with torch.no_grad():
            if self.together and len(y) > 1:
                return as_numpy(self.all_layers(s, states, weights))
            sizes, given = self._sizes(s).tolist(), self._given(s)
            rows = [
                self.layer(
                    size,
                    states[row],
                    {name: one[row] for name, one in weights.items()},
                    None if given is None else given[row],
                )
                for row, size in enumerate(sizes)
            ]
        return np.stack([as_numpy(row) for row in rows])

    def initial(self, theta: Fields) -> Any:
        with torch.no_grad():
            weights = self.opening.tensors(theta, self.dtype)
            return as_numpy(self.opening(weights, self.data.inputs))


class LayersAdjoint(Adjoint):
    """The transposes of `Layers`, by automatic differentiation."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        block = self.layers.block
        dy, slopes = self._products(s, y, u, lam, list(block.weights))
        return dy, block.fields(slopes, u), {}

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        return self._products(s, y, u, lam, [])[0]

    def _products(
        self, s: Steps, y: Any, u: Fields, lam: Any, wanted: list[str]
    ) -> tuple[Any, dict[str, Any]]:
        layers, dtype = self.layers, self.layers.dtype
        along = as_tensor(lam, dtype)
        if layers.together and len(y) > 1:
            weights = layers.block.tensors(u, dtype, 1)
            state = as_tensor(y, dtype).requires_grad_()
            inputs = [state, *(weights[name].requires_grad_() for name in wanted)]
            with torch.enable_grad():
                result = layers.all_layers(s, state, weights)
            dy, *slopes = torch.autograd.grad(result, inputs, along, allow_unused=True)
            dy = torch.zeros_like(state) if dy is None else dy
            return as_numpy(dy), dict(zip(wanted, slopes, strict=True))
        kept = s.kept is not None
        graphs = list(s.kept) if kept else layers.graphs(s, y, u, bool(wanted))
        found = [graph.products(along[row], wanted, kept) for row, graph in enumerate(graphs)]
        states, *slopes = (torch.stack(column) for column in zip(*found, strict=True))
        return as_numpy(states), dict(zip(wanted, slopes, strict=True))

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        layers = self.layers
        opening, dtype = layers.opening, layers.dtype
        if not opening.weights:
            return {}
        weights = opening.tensors(theta, dtype)
        for one in weights.values():
            one.requires_grad_()
        with torch.enable_grad():
            result = opening(weights, layers.data.inputs)
        found = torch.autograd.grad(
            result, list(weights.values()), as_tensor(lam0, dtype), allow_unused=True
        )
        return opening.fields(dict(zip(weights, found, strict=True)), theta)


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
        self.head, self.loss, self.data, self.dtype = head, loss, data, np.dtype(dtype)

    def _value(self, y: Any, weights: Mapping[str, Any]) -> Any:
        count = self.data.count
        return self.loss(self.head(weights, y[:count]), self.data.labels[:count])

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
        return as_numpy(dy), self.head.fields(dict(zip(weights, slopes, strict=True)), theta)
