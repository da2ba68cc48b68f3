"""A residual network of modules as a control problem, and back."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from pint.controls import Control, ControlSpace, Regulariser, SharedControl, TimeControl
from pint.errors import check_choice, check_kind, integer, number
from pint.grid import TimeGrid
from pint.interface import Examples, Problem
from pint.states import ArraySpace, StateSpace
from pint.states.torch import TorchSpace
from pint.torch.checks import check_modules, checked_data, maps
from pint.torch.layers import Layers, LayersAdjoint, Loss
from pint.torch.parts import ENDS, Data, Part, head_type, move


class Network(Problem):
    """A problem whose steps are the layers of a network: see `network`.

    Attributes
    ----------
    layers : int
    final_time : float
    parts : dict of str to Part
        'opening', 'head', and 'block'; of several modules in a row 'block1', 'block2', ...
    kinds : list of Part
        The one of each layer.
    rate : bool
        Whether a layer is ``y + dt block(y)``.
    """

    layers: int
    final_time: float
    parts: Mapping[str, Part]
    kinds: Sequence[Part]
    rate: bool

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a network of modules cannot be copied; make it again.")

    def grid(self, **options: Any) -> TimeGrid:
        """Return the grid of its layers; options are those of `TimeGrid.uniform`."""
        return TimeGrid.uniform(self.final_time, self.layers, **options)

    def kinds_of(self, grid: TimeGrid) -> Sequence[Part]:
        """Return the module of each layer; the grid may have more or fewer layers of one kind."""
        if len(set(self.kinds)) == 1:
            return [self.kinds[0]] * grid.steps
        if grid.steps != self.layers:
            raise ValueError(
                f"the grid has {grid.steps} steps, the network {self.layers} layers of several "
                "kinds: use `Network.grid()`."
            )
        return self.kinds

    def start(self, space: ControlSpace, seed: int = 0, same: bool = False) -> Control:
        """Return weights as the modules initialise them.

        Modules with `reset_parameters` are initialised anew; other weights are those given.

        Parameters
        ----------
        space : ControlSpace
            Of the functional on which they are to be used.
        seed : int
            Of the random numbers.
        same : bool
            Whether all layers of a kind begin with the same weights. Otherwise each has random
            numbers of its own, as in plain PyTorch. A coarse step has the weights of the first of
            its layers: it is close to them, and cycles converge, where weights change little from
            layer to layer.
        """
        kinds, states = self.kinds_of(space.grid), []
        with torch.random.fork_rng(devices=[]):
            for layer, part in enumerate(kinds):
                states.append(_initialised(part.module, seed, kinds.index(part) if same else layer))
            ends = {
                name: _initialised(self.parts[name].module, seed, self.layers + 1 + place)
                for place, name in enumerate(ENDS)
            }
        return self.load({"layers": states, **ends}, space)

    def load(self, state_dicts: Mapping[str, Any], space: ControlSpace | None = None) -> Control:
        """Return the control of given weights, to the last bit of their type.

        Parameters
        ----------
        state_dicts : mapping
            'layers', a state_dict of its module for each layer; 'opening' and 'head', theirs.
        space : ControlSpace, optional
            Of a functional, on which the control is to be used; by default that of `grid()`.

        Raises
        ------
        ValueError
            If a weight is missing, unknown or of another shape, there are not as many layers, or a
            buffer is not that of the module: buffers are the same in all layers.
        """
        space = self.control_space(self.grid()) if space is None else space
        if not isinstance(state_dicts, Mapping) or not {*state_dicts} <= {"layers", *ENDS}:
            raise ValueError(
                "`Network.load(state_dicts)` must be a dict with the entries 'layers', 'opening' "
                "and 'head'."
            )
        layers = list(state_dicts.get("layers") or ())
        every = [*layers, *(state_dicts.get(name, {}) for name in ENDS)]
        if not all(isinstance(one, Mapping) for one in every):
            raise TypeError("`Network.load`: each entry must be a state_dict, a dict of tensors.")
        if len(layers) != space.grid.steps:
            raise ValueError(
                f"`Network.load`: {len(layers)} layers are given, the grid has {space.grid.steps}."
            )
        kinds = self.kinds_of(space.grid)
        for part, given in [
            *zip(kinds, layers, strict=True),
            *((self.parts[name], state_dicts.get(name, {})) for name in ENDS),
        ]:
            _check_others(part, given)
        values: dict[str, Any] = {}
        for name, part in self.parts.items():
            for weight, like in part.weights.items():
                if name in ENDS:
                    one = _weight(state_dicts.get(name, {}), weight, like, name)
                    values[part.field(weight)] = one
                    continue
                rows = np.zeros((len(layers), *(tuple(like.shape) or (1,))))
                for layer, given in enumerate(layers):
                    if kinds[layer] is part:
                        rows[layer] = _weight(given, weight, like, name)
                values[part.field(weight)] = rows
        return space.control(**values)

    def state_dicts(self, control: Control) -> dict[str, Any]:
        """Return the weights of a control: see `load`. Collective; the same on all ranks."""
        names = {part.field(name) for part in self.parts.values() for name in part.weights}
        check_kind("Network.state_dicts", "control", control, Control, "a `pint.Control`")
        if names != {*control.space.fields}:
            raise ValueError("`control` must be one of this network, got other fields.")
        fields = control.gather()
        kinds = self.kinds_of(control.space.grid)
        layers = [part.weights_of(fields, layer) for layer, part in enumerate(kinds)]
        return {"layers": layers, **{name: self.parts[name].weights_of(fields) for name in ENDS}}

    def module(self, control: Control) -> Any:
        """Return an ordinary module with the same outputs, which needs no pint. Collective.

        It is in the mode of the modules: `eval` switches dropout off.
        """
        found, grid = self.state_dicts(control), control.space.grid
        blocks = []
        for part, weights in zip(self.kinds_of(grid), found["layers"], strict=True):
            block = copy.deepcopy(part.module)
            block.load_state_dict(weights)
            blocks.append(block)
        ends = []
        for name in ENDS:
            module = copy.deepcopy(self.parts[name].module)
            if module is not None:
                module.load_state_dict(found[name])
            ends.append(torch.nn.Identity() if module is None else module)
        sizes = np.diff(np.asarray(grid.t, dtype=float)).tolist() if self.rate else None
        return Sequential(ends[0], blocks, ends[1], sizes)


class Sequential(torch.nn.Module):
    """Opening, layers and head, one after the other.

    Parameters
    ----------
    opening, head : Module
    blocks : list of Module
    sizes : list of float or None
        Of the steps of ``y + dt block(y)``; None for ``block(y)``.
    """

    def __init__(self, opening: Any, blocks: list[Any], head: Any, sizes: Any) -> None:
        super().__init__()
        self.opening, self.head, self.sizes = opening, head, sizes
        self.blocks = torch.nn.ModuleList(blocks)

    def forward(self, x: Any, sequence: Any = None) -> Any:
        """Return the outputs; `sequence` has shape (examples, layers, ...)."""
        y = self.opening(x)
        for layer, block in enumerate(self.blocks):
            inputs = (y,) if sequence is None else (y, sequence[:, layer])
            y = block(*inputs) if self.sizes is None else y + self.sizes[layer] * block(*inputs)
        return self.head(y)


class _Selected(Examples):
    """The batches of a network."""

    def __init__(self, data: Data, inputs: Any, labels: Any, sequence: Any, size: int) -> None:
        self.count, self.batch_size = len(inputs), size
        self._data, self._whole = data, (inputs, labels, sequence)
        self.select(np.arange(size))

    def select(self, indices: np.ndarray) -> None:
        found, data = np.asarray(indices), self._data
        if found.ndim != 1 or not 1 <= len(found) <= self.batch_size:
            raise ValueError(f"`select(indices)` must be 1 to {self.batch_size} numbers.")
        if found.min() < 0 or found.max() >= self.count:
            raise ValueError(f"`select(indices)` must be from 0 to {self.count - 1}.")
        # A state has one shape: places beyond repeat the first example, and do not count.
        filled = np.concatenate([found, np.repeat(found[:1], self.batch_size - len(found))])
        rows = torch.from_numpy(filled)
        inputs, labels, sequence = self._whole
        data.inputs, data.labels, data.count = inputs[rows], labels[rows], len(found)
        data.draw = zlib.crc32(filled.astype("<i8").tobytes())
        data.sequence = None if sequence is None else sequence[:, rows]


def network(
    block: Any,
    *,
    opening: Any = None,
    head: Any = None,
    loss: Callable[[Any, Any], Any],
    inputs: Any,
    labels: Any,
    layers: int | None = None,
    final_time: float = 1.0,
    form: Literal["rate", "step"] = "rate",
    sequence: Any = None,
    batch_size: int | None = None,
    regularisers: Sequence[Regulariser] = (),
    device: Any = None,
    dtype: Any = None,
    accumulate: Any = "float64",
) -> Network:
    r"""Return the problem of training a deep network, layer-parallel.

    .. math:: \min \text{loss}(\text{head}(y_N), \text{labels}), \quad
        y_0 = \text{opening}(\text{inputs}), \quad
        y_{n+1} = y_n + Δt\, \text{block}(y_n; w_n)

    Each layer has weights of its own, a time-dependent field ``block.NAME`` for each of the
    block's parameters; those of opening and head are shared fields ``opening.NAME`` and
    ``head.NAME``. Gradients are plain derivatives, as those of PyTorch. Coarse levels take the
    weights of the layers they begin at, with larger steps.

    Parameters
    ----------
    block : torch.nn.Module, or sequence of (torch.nn.Module, int)
        Of a batch of states; it returns their shape. Also ``block(y, x_n)`` with `sequence`. Pairs
        are modules in a row and how many layers each of them has; their fields are
        ``block1.NAME``, ``block2.NAME``, ..., zero at the layers of others. All have states of one
        shape. A coarse layer is of the kind of the layer it begins at.
    opening, head : torch.nn.Module, optional
        From inputs to states, and from states to outputs; by default the identity.
    loss : callable
        ``loss(outputs, labels)``, a mean over the examples, such as
        `torch.nn.functional.cross_entropy`.
    inputs, labels : array_like or Tensor
        The examples first.
    layers : int
        N; of pairs their sum, unless given.
    final_time : float
        T; dt is T / N.
    form : 'rate' or 'step'
        With 'step' a layer is ``block(y)`` itself; coarse levels then take the fine layer where
        they begin, which is a poor coarse step unless the block knows its step size.
    sequence : array_like or Tensor, optional
        Shape (examples, N, ...): layer n is given ``sequence[:, n]``, too.
    batch_size : int, optional
        For mini-batches with `pint.Stochastic`; by default all examples together.
    regularisers : sequence of Regulariser
    device, dtype, accumulate : optional
        Of `pint.TorchSpace`: with either of the first two, states are tensors there, and of this
        type, by default those of the parameters. Copies of the modules and of the examples are
        moved there. Head and loss of half-precision states are computed in float32.

    Raises
    ------
    TypeError, ValueError
        If a module changes its input or its buffers, returns another shape or type, shares a
        parameter with another one, or is of another type than the inputs.

    Notes
    -----
    Modules may take random numbers, as dropout does. Those of a layer belong to its number and to
    the batch, its examples in their order: they are the same in all cycles and sweeps of an update
    and on all ranks, and others with the next batch. Without batches they are always the same.
    """
    pairs = _pairs(block, layers)
    for name, one in (("opening", opening), ("head", head)):
        if one is not None:
            check_kind("network", name, one, torch.nn.Module, "a `torch.nn.Module`")
    if not callable(loss):
        raise TypeError(f"`network(loss=...)` must be a function, got {type(loss).__name__}.")
    check_choice("network", "form", form, ["rate", "step"])
    final_time = number("network", "final_time", final_time, positive=True)
    names = ["block"] if len(pairs) == 1 else [f"block{i + 1}" for i in range(len(pairs))]
    blocks = [Part(name, one) for name, (one, _) in zip(names, pairs, strict=True)]
    kinds = [part for part, (_, count) in zip(blocks, pairs, strict=True) for _ in range(count)]
    ends = {"opening": Part("opening", opening), "head": Part("head", head)}
    parts = {part.name: part for part in blocks} | ends
    moved = device is not None or dtype is not None
    tensors = checked_data(parts, inputs, labels, sequence, len(kinds), moved)
    if moved:
        like = next(iter(blocks[0].weights.values()))
        place = TorchSpace(1, device or like.device, dtype or like.dtype, 1.0, accumulate)
        tensors = move(parts, tensors, place)
    size = len(tensors[0])
    if batch_size is not None:
        size = min(integer("network", "batch_size", batch_size, 1), size)
    shape, found = check_modules(parts, loss, tensors, size)
    space: StateSpace
    if moved:
        space = TorchSpace(shape, place.torch_device, found, 1.0, place.sums_dtype)
        types = {"block": found, "head": head_type(found)}
    else:
        space = ArraySpace(shape, str(found).removeprefix("torch."))
        types = dict.fromkeys(("block", "head"), space.dtype)
    together = all(maps(part, tensors, size, shape) for part in blocks)
    data = Data(tensors[0][:size], tensors[1][:size], tensors[2])
    examples = None
    if batch_size is not None:
        examples = _Selected(data, *tensors, size)
    counts = [count for _, count in pairs]
    stepper = Layers(
        blocks, counts, ends["opening"], data, types["block"], form == "rate", together, space
    )
    controls: dict[str, Any] = {}
    for name, part in parts.items():
        for weight, one in part.weights.items():
            shape = tuple(one.shape) or (1,)
            kind = SharedControl(shape) if name in ENDS else TimeControl(shape, metric="euclidean")
            controls[part.field(weight)] = kind
    objective = Loss(parts["head"], loss, data, types["head"])
    made = Network(stepper, LayersAdjoint(stepper), objective, controls, regularisers, examples)
    for name, value in (
        ("layers", len(kinds)), ("final_time", final_time), ("parts", parts), ("kinds", kinds),
        ("rate", stepper.rate),
    ):  # fmt: skip
        object.__setattr__(made, name, value)
    return made


def _pairs(block: Any, layers: Any) -> list[tuple[Any, int]]:
    """Return the modules in a row and their numbers of layers, checked."""
    if isinstance(block, torch.nn.Module):
        return [(block, integer("network", "layers", layers, 1))]
    is_row = isinstance(block, (list, tuple)) and block
    if not is_row or not all(isinstance(one, (list, tuple)) and len(one) == 2 for one in block):
        raise TypeError(
            "`network(block=...)` must be a `torch.nn.Module`, or pairs of one and its number of "
            f"layers, got {type(block).__name__}."
        )
    for one, _ in block:
        check_kind("network", "block", one, torch.nn.Module, "a `torch.nn.Module`")
    pairs = [(one, integer("network", "block", count, 1)) for one, count in block]
    total = sum(count for _, count in pairs)
    if layers is not None and layers != total:
        raise ValueError(
            f"`network(layers=...)` must be {total}, the layers of all blocks, got {layers}."
        )
    return pairs


def _initialised(module: Any, seed: int, place: int) -> dict[str, Any]:
    """Return the weights of a module that is initialised anew."""
    if module is None:
        return {}
    fresh = copy.deepcopy(module)
    torch.manual_seed(seed * 1_000_003 + place)
    # A module that holds others has the last word, as when it is made.
    for one in reversed(list(fresh.modules())):
        if hasattr(one, "reset_parameters"):
            one.reset_parameters()
        elif hasattr(one, "_reset_parameters"):  # of attention
            one._reset_parameters()
    return dict(fresh.state_dict())


def _check_others(part: Part, given: Mapping[str, Any]) -> None:
    """Raise ValueError for entries of a state_dict that would be lost."""
    names = part.names()
    own = {} if part.module is None else part.module.state_dict()
    for name, one in given.items():
        if name not in own:
            raise ValueError(f"`Network.load`: the module of `{part.name}` has no entry `{name}`.")
        if names.get(name) == name or not isinstance(one, torch.Tensor):
            continue
        if name in names and not torch.equal(one, given.get(names[name], one)):
            raise ValueError(
                f"`Network.load`: `{part.name}.{name}` must be `{names[name]}`, to which it is "
                "tied."
            )
        if name not in names and not torch.equal(one.to(own[name]), own[name]):
            raise ValueError(
                f"`Network.load`: the buffer `{part.name}.{name}` must be that of the module, for "
                "it is the same in all layers: make it a parameter, or load it into the module."
            )


def _weight(given: Mapping[str, Any], name: str, like: Any, part: str) -> np.ndarray:
    """Return a weight of a state_dict as float64, or raise ValueError."""
    if name not in given:
        raise ValueError(f"`Network.load`: the weights of `{part}` have no entry `{name}`.")
    one = given[name]
    one = one if isinstance(one, torch.Tensor) else np.asarray(one)
    if tuple(one.shape) != tuple(like.shape):
        raise ValueError(
            f"`Network.load`: `{part}.{name}` must have the shape {tuple(like.shape)}, got "
            f"{tuple(one.shape)}."
        )
    array = one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one
    return array.astype(float).reshape(tuple(like.shape) or (1,))
