"""Modules whose weights are fields of a control, and the examples that they are given."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from pint.autodiff.torch import as_tensor, returned
from pint.interface import Fields
from pint.states.torch import TorchSpace


class Data:
    """The inputs and labels of the examples that are selected; those beyond `count` are filled.

    Attributes
    ----------
    inputs, labels : Tensor
    sequence : Tensor or None
        What each step is given besides, shape (layers, examples, ...).
    count : int
    draw : int
        Of random modules: it belongs to these examples in their order.
    """

    def __init__(self, inputs: Any, labels: Any, sequence: Any) -> None:
        self.inputs, self.labels, self.sequence = inputs, labels, sequence
        self.count, self.draw = len(inputs), 0


class Part:
    """A module whose weights are fields of the control, by names that begin with its own.

    Parameters
    ----------
    name : str
        'block', or 'block1', 'block2', ... of several ones; 'opening' or 'head'.
    module : torch.nn.Module or None
        None stands for the identity.

    Attributes
    ----------
    called : torch.nn.Module or None
        What is called: the module, or after `move` a copy of it.
    weights : dict of str to Parameter
        Its own parameters.
    is_random : bool
        Whether a call takes random numbers, as dropout does.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.module = name, module
        self._call(module)

    def move(self, device: Any, dtype: Any) -> None:
        """Call a copy of the module there, and of this type, from now on, in place."""
        if self.module is not None:
            self._call(copy.deepcopy(self.module).to(device, dtype))

    def _call(self, module: Any) -> None:
        self.called = module
        self.weights: dict[str, Any] = {} if module is None else dict(module.named_parameters())
        self.is_random = False
        self._places = [] if module is None else _places(module, self.weights)

    def field(self, weight: str) -> str:
        """Return the name of the field of a weight."""
        return f"{self.name}.{weight}"

    def tensors(self, fields: Fields, dtype: Any, rows: slice | None = None) -> dict[str, Any]:
        """Return the tensors of fields, or of some rows of them, by the names of the weights."""
        found = {}
        for name, like in self.weights.items():
            one = fields[self.field(name)]
            one = as_tensor(one if rows is None else one[rows], dtype)
            # A field has an axis at least.
            found[name] = one.view(like.shape) if rows is None else one.view(-1, *like.shape)
        return found

    def weights_of(self, fields: Fields, layer: Any = ...) -> dict[str, Any]:
        """Return the state_dict of the module with weights of one layer, or of one at an end."""
        if self.module is None:
            return {}
        found = copy.deepcopy(self.module.state_dict())
        for name, weight in self.names().items():
            like, values = found[name], fields[self.field(weight)][layer]
            found[name] = torch.tensor(values, dtype=like.dtype).reshape(like.shape)
        return dict(found)

    def names(self) -> dict[str, str]:
        """Return the weight that each name of a state_dict stands for; tied ones have several."""
        weights = {} if self.module is None else dict(self.module.named_parameters())
        first = {id(one): name for name, one in weights.items()}
        every = [] if self.module is None else self.module.named_parameters(remove_duplicate=False)
        return {name: first[id(one)] for name, one in every}

    def fields(self, slopes: Mapping[str, Any], like: Fields) -> dict[str, Any]:
        """Return derivatives to weights by the names of their fields; None is zero."""
        found = {}
        for name, slope in slopes.items():
            block = like[self.field(name)]
            if slope is None:
                slope = torch.zeros(block.shape, device=self.weights[name].device)
            found[self.field(name)] = returned(slope.reshape(block.shape), block)
        return found

    def hold(self, weights: Iterable[Any]) -> None:
        """Give the module other weights, in the order of its own, until `release`, in place."""
        # As `torch.func.functional_call` does, without looking for the places in each call, which
        # would take as long as a small layer.
        for places, one in zip(self._places, weights, strict=True):
            for parameters, key in places:
                parameters[key] = one

    def release(self) -> None:
        """Give the module its own weights again, in place."""
        self.hold(self.weights.values())

    def __call__(self, weights: Mapping[str, Any], *inputs: Any) -> Any:
        """Return what the module makes of inputs with other weights."""
        if self.called is None:
            return inputs[0]
        try:
            self.hold([weights[name] for name in self.weights])
            return self.called(*inputs)
        finally:
            self.release()

    def drawn(self, weights: Mapping[str, Any], inputs: Any, draw: int) -> Any:
        """Return the same of a module at an end, by the random numbers of a draw."""
        with own_random_numbers(self.is_random):
            if self.is_random:
                seed(draw, ENDS.index(self.name) - len(ENDS))
            return self(weights, inputs)


ENDS = ("opening", "head")


def seed(draw: int, layer: int) -> None:
    """Begin the random numbers of a layer: the same in each cycle and sweep, and on each rank."""
    torch.manual_seed((draw + 1) * 1_000_003 + layer)


def own_random_numbers(is_random: bool) -> Any:
    """Return a context that leaves the user's random numbers as they are."""
    return torch.random.fork_rng(devices=[]) if is_random else nullcontext()


def head_type(dtype: Any) -> Any:
    """Return the type of numbers of head and loss for states of a type: of half ones, float32."""
    return torch.float32 if dtype.itemsize < 4 else dtype


def move(
    parts: Mapping[str, Part], tensors: tuple[Any, Any, Any], place: TorchSpace
) -> tuple[Any, Any, Any]:
    """Let parts call copies on the device of a space, in place; return their data there."""
    device, dtype = place.torch_device, place.torch_dtype
    wide = head_type(dtype)
    for name, part in parts.items():
        part.move(device, wide if name == "head" else dtype)

    def moved(one: Any, kind: Any) -> Any:
        return one if one is None else one.to(device, kind if one.is_floating_point() else None)

    inputs, labels, sequence = tensors
    return moved(inputs, dtype), moved(labels, wide), moved(sequence, dtype)


def _places(module: Any, weights: Mapping[str, Any]) -> list[list[tuple[dict[str, Any], str]]]:
    """Return where a module and its parts hold each of its weights."""
    names = {id(one): name for name, one in weights.items()}
    places: dict[str, list[tuple[dict[str, Any], str]]] = {name: [] for name in weights}
    for part in module.modules():
        for key, one in part._parameters.items():
            if one is not None:
                places[names[id(one)]].append((part._parameters, key))
    return list(places.values())
