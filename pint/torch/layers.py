"""Layers as time steps: a module with the weights of each layer, and its transposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pint.autodiff.torch import as_numpy, as_tensor, torch
from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, TimeStepper
from pint.states import ArraySpace, StateSpace

SMALL = 2**16
"""Bytes of a state below which layers are computed together, by `torch.func.vmap`."""


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
        self._buffers: dict[str, Any] = {} if module is None else dict(module.named_buffers())

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
        if self.module is None:
            return inputs[0]
        known = {**self._buffers, **weights}
        return torch.func.functional_call(self.module, known, inputs)


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
        self.together = together
        self.dtype = np.dtype(dtype)
        self._space = ArraySpace(shape, self.dtype)

    @property
    def space(self) -> StateSpace:
        return self._space

    def layer(self, size: Any, y: Any, weights: Mapping[str, Any], given: Any) -> Any:
        """Return the next state of one layer, of tensors."""
        inputs = (y,) if given is None else (y, given)
        change = self.block(weights, *inputs)
        return y + size * change if self.rate else change

    def layers(self, s: Steps, y: Any, weights: Mapping[str, Any]) -> list[Any] | Any:
        """Return the next states of some layers, of tensors."""
        sizes = torch.from_numpy(np.reshape(s.dt, -1).astype(self.dtype))
        given = None
        if self.data.sequence is not None:
            given = self.data.sequence[torch.from_numpy(np.asarray(s.index).copy())]
        if len(y) > 1 and self.together and y[0].nbytes <= SMALL:
            axes = (0, 0, 0, None if given is None else 0)
            return torch.func.vmap(self.layer, in_dims=axes)(sizes, y, dict(weights), given)
        rows = [
            self.layer(
                sizes[row],
                y[row],
                {name: one[row] for name, one in weights.items()},
                None if given is None else given[row],
            )
            for row in range(len(y))
        ]
        return torch.stack(rows)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        with torch.no_grad():
            weights = self.block.tensors(u, self.dtype, 1)
            return as_numpy(self.layers(s, as_tensor(y, self.dtype), weights))

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
        weights, state = layers.block.tensors(u, dtype, 1), as_tensor(y, dtype)
        inputs = [state, *(weights[name] for name in wanted)]
        for one in inputs:
            one.requires_grad_()
        with torch.enable_grad():
            result = layers.layers(s, state, weights)
        found = torch.autograd.grad(result, inputs, as_tensor(lam, dtype), allow_unused=True)
        dy = np.zeros(y.shape) if found[0] is None else as_numpy(found[0])
        return dy, dict(zip(wanted, found[1:], strict=True))

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
