"""What modules must be like to be layers: tried on a few examples before any work."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pint.states.torch import explained
from pint.torch.parts import ENDS, Part, head_type, own_random_numbers

TYPES = (torch.float64, torch.float32)


def checked_data(
    parts: Mapping[str, Part],
    inputs: Any,
    labels: Any,
    sequence: Any,
    layers: int,
    moved: bool = False,
) -> tuple[Any, Any, Any]:
    """Return inputs, labels and sequence (layers first) as tensors, or raise an error.

    `moved` says that all of them are going to be moved to one device.
    """
    inputs, labels = _tensor(inputs), _tensor(labels)
    if inputs.ndim < 2 or len(inputs) == 0:
        raise ValueError(
            "`network(inputs=...)` must have an axis of examples and one of features, got the "
            f"shape {tuple(inputs.shape)}."
        )
    if labels.ndim < 1 or len(labels) != len(inputs):
        raise ValueError(
            f"`network(labels=...)` must have {len(inputs)} rows, one for each example, got the "
            f"shape {tuple(labels.shape)}."
        )
    weights = [one for part in parts.values() for one in part.weights.values()]
    for name, part in parts.items():
        if name not in ENDS and not part.weights:
            raise ValueError(f"`network({name}=...)` has no parameters to train.")
        if part.module is not None and any(map(_is_script, part.module.modules())):
            raise TypeError(
                f"`network({name}=...)` is made by TorchScript, which keeps its weights to itself: "
                "give the module that it was made from."
            )
        try:
            copy.deepcopy(part.module)
        except Exception as error:  # what a module does is its own affair
            text = " ".join(str(error).split())
            raise ValueError(f"`network({name}=...)` cannot be copied: {text}") from None
        for weight, one in part.weights.items():
            if torch.nn.parameter.is_lazy(one):
                raise ValueError(
                    f"`network({name}=...)`: `{weight}` has no shape yet: call the module once."
                )
            if not one.requires_grad:
                raise ValueError(
                    f"`network({name}=...)`: `{weight}` is frozen (`requires_grad=False`), and "
                    "would be trained: make it a buffer of the module."
                )
    dtypes = {one.dtype for one in weights}
    if len(dtypes) > 1 or not dtypes <= set(TYPES):
        found = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(
            f"`network`: all parameters must be of float64, or all of float32, got {found}: "
            "`module.double()` converts them."
        )
    (dtype,) = dtypes
    devices = {str(one.device) for one in weights}
    if devices != {"cpu"} and not moved:
        raise ValueError(
            f"`network`: parameters are on {', '.join(sorted(devices))}, states on the CPU: "
            f"`network(device={max(devices)!r})` takes states there, `module.cpu()` parameters "
            "here."
        )
    for name, one in (("inputs", inputs), ("sequence", sequence)):
        if one is None:
            continue
        kind, device = _tensor(one).dtype, str(_tensor(one).device)
        if kind.is_floating_point and kind != dtype:
            raise TypeError(
                f"`network({name}=...)` is {kind}, the parameters are {dtype}: convert the one "
                "or the other."
            )
        if device not in devices and not moved:
            raise ValueError(
                f"`network({name}=...)` is on {device}, the parameters are on "
                f"{', '.join(sorted(devices))}: `network(device=...)` moves all of them."
            )
        if kind.is_floating_point and not _tensor(one).isfinite().all():
            raise ValueError(f"`network({name}=...)` contains NaN or infinity.")
    owners: dict[int, str] = {}
    for name, part in parts.items():
        if part.module is None:
            continue
        for weight, one in part.weights.items():
            if id(one) in owners:
                raise ValueError(
                    f"`network`: `{name}.{weight}` is the same parameter as `{owners[id(one)]}`; "
                    "layers and ends have weights of their own."
                )
            owners[id(one)] = f"{name}.{weight}"
    if sequence is not None:
        sequence = _tensor(sequence)
        if sequence.ndim < 2 or tuple(sequence.shape[:2]) != (len(inputs), layers):
            raise ValueError(
                f"`network(sequence=...)` must begin with the shape {(len(inputs), layers)}, "
                f"examples and layers, got {tuple(sequence.shape)}."
            )
        sequence = sequence.transpose(0, 1).contiguous()
    return inputs, labels, sequence


def check_modules(
    parts: Mapping[str, Part],
    loss: Any,
    tensors: tuple[Any, Any, Any],
    size: int,
) -> tuple[tuple[int, ...], Any]:
    """Return shape and type of a state, or raise an error; a few examples are tried."""
    inputs, labels, sequence = tensors
    few = min(size, 4)
    with torch.no_grad():
        state = _tried(parts["opening"], inputs[:few])
        if not isinstance(state, torch.Tensor) or len(state) != few or state.ndim < 2:
            raise ValueError(
                "`network(opening=...)` must return a tensor with the examples first, got "
                f"{_shown(state)}."
            )
        given = (state,) if sequence is None else (state, sequence[0, :few])
        for name, part in parts.items():
            if name not in ENDS:
                _check_layer(name, state, _tried(part, *given))
        outputs = _tried(parts["head"], state.to(head_type(state.dtype)))
        value = _called("loss", loss, outputs, labels[:few])
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ValueError(
                f"`network(loss=...)` must return one number, a mean, got {_shown(value)}."
            )
    with torch.enable_grad():
        again = _called("loss", loss, outputs.detach().requires_grad_(), labels[:few])
    if not again.requires_grad:
        raise ValueError(
            "`network(loss=...)` returns a number that cannot be differentiated: is there a "
            "`detach`, an `argmax`, or a way through numpy in it?"
        )
    if not _close(again.detach(), value):
        raise ValueError(
            "`network(loss=...)` returns something else when it is called again: it must not take "
            "random numbers."
        )
    return (size, *state.shape[1:]), state.dtype


def _check_layer(name: str, state: Any, result: Any) -> None:
    """Raise an error unless a layer returns a state."""
    if not isinstance(result, torch.Tensor) or result.shape != state.shape:
        raise ValueError(
            f"`network({name}=...)` must return the shape of its states, {tuple(state.shape)} "
            f"for {len(state)} examples, got {_shown(result)}."
        )
    if result.dtype != state.dtype:
        raise TypeError(
            f"`network({name}=...)` must return the type of its states, {state.dtype}, got "
            f"{result.dtype}."
        )


def maps(block: Part, tensors: tuple[Any, Any, Any], size: int, shape: tuple[int, ...]) -> bool:
    """Return whether `torch.func.vmap` makes one efficient call of the block's layers."""
    few = min(size, 2)
    like = next(iter(block.weights.values()))
    states = torch.zeros((2, few, *shape[1:]), dtype=like.dtype, device=like.device)
    weights = {name: torch.stack([one.detach()] * 2) for name, one in block.weights.items()}
    given = () if tensors[2] is None else (torch.stack([tensors[2][0, :few]] * 2),)
    with torch.no_grad(), warnings.catch_warnings():
        # A rule that is missing is a loop, and a warning.
        warnings.simplefilter("error")
        try:
            torch.func.vmap(block)(weights, states, *given)
        except Exception:  # what a module does is its own affair
            return False
    return True


def _tried(part: Part, *given: Any) -> Any:
    """Return what a module makes of a few examples; it must not change anything."""
    if part.called is None:
        return given[0]
    weights = {name: one.detach() for name, one in part.weights.items()}
    before = [one.clone() for one in given]
    buffers = {name: one.clone() for name, one in part.called.named_buffers()}
    own_weights = {name: one.clone() for name, one in weights.items()}
    with own_random_numbers(True):
        first, second = (_drawn(part, weights, before) for _ in range(2))
        own = [one.clone() for one in before]
        state = _generators(own)
        part(weights, *own)
        part.is_random = not torch.equal(_generators(own), state)
    owner = f"`network({part.name}=...)`"
    if not all(torch.equal(a, b) for a, b in zip(own, before, strict=True)):
        raise ValueError(f"{owner} must not change its input in place.")
    for name, one in weights.items():
        if not torch.equal(one, own_weights[name]):
            one.copy_(own_weights[name])
            raise ValueError(f"{owner} must not change its parameter `{name}` when it is called.")
    for name, one in part.called.named_buffers():
        if name not in buffers or not torch.equal(one, buffers[name]):
            one.copy_(buffers.get(name, one))
            raise ValueError(
                f"{owner} changes its buffer `{name}` when it is called, as batch normalisation "
                "does in training: layers are computed several times in an update; freeze it by "
                "`module.eval()`, or use layer normalisation."
            )
    if weights:
        with own_random_numbers(True):
            _check_derivatives(part, weights, before)
    if isinstance(first, torch.Tensor) and not torch.equal(first, second):
        if first.isnan().any():
            raise ValueError(f"{owner} returns NaN for the first {len(before[0])} examples.")
        raise ValueError(
            f"{owner} returns something else when it is called again: states and adjoints need "
            "the same layers in each cycle; take random numbers from PyTorch's generator."
        )
    return first


def _is_script(module: Any) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _generators(inputs: list[Any]) -> Any:
    """Return the state of PyTorch's random numbers where modules take them."""
    here = inputs[0]
    return torch.cuda.get_rng_state(here.device) if here.is_cuda else torch.get_rng_state()


def _drawn(part: Part, weights: Mapping[str, Any], inputs: list[Any]) -> Any:
    torch.manual_seed(0)
    return _called(part.name, part, weights, *(one.clone() for one in inputs))


def _called(name: str, function: Any, *arguments: Any) -> Any:
    """Return what a user's module or loss returns, or raise ValueError in one line."""
    try:
        return function(*arguments)
    except Exception as error:
        tensors = [one for one in arguments if isinstance(one, torch.Tensor)]
        place = next((one for one in tensors if one.is_floating_point()), None)
        if isinstance(error, RuntimeError) and place is not None:
            told = explained(error, f"`network({name}=...)`", place)
            if told is not None:
                raise told from None
        given = ", ".join(map(_shown, tensors))
        text = " ".join(str(error).split())
        raise ValueError(
            f"`network({name}=...)` raises {type(error).__name__} for arguments of the shapes "
            f"{given}: {text}"
        ) from error


def _check_derivatives(part: Part, weights: Mapping[str, Any], inputs: list[Any]) -> None:
    """Raise an error unless a result depends on the weights that are given, and on no others."""
    owner = f"`network({part.name}=...)`"
    # Others than the module's own, which it must not use in their place.
    leaves = {name: (1.5 * one).requires_grad_() for name, one in weights.items()}
    given = [one.clone().requires_grad_(one.is_floating_point()) for one in inputs]
    wanted = [*(one for one in given if one.requires_grad), *leaves.values()]

    def derivatives(result: Any, *own: Any) -> tuple[Any, ...]:
        inputs, along = [*wanted, *own], torch.ones_like(result)
        return torch.autograd.grad(result, inputs, along, allow_unused=True)

    def kept() -> tuple[Any, ...] | None:
        """Return the derivatives while the module still has the weights."""
        torch.manual_seed(0)
        part.hold(leaves.values())
        try:
            result = part.called(*(one.clone() for one in given))
            if not isinstance(result, torch.Tensor):
                return None
            return derivatives(result, *part.weights.values()) if result.requires_grad else ()
        finally:
            part.release()

    with torch.enable_grad():
        first = _called(part.name, kept)
        if first is None:
            return
        if not first:
            raise ValueError(
                f"{owner} returns a result that cannot be differentiated: is there a `detach`, a "
                "`torch.no_grad`, or a way through numpy in it?"
            )
        if any(one is not None and one.is_sparse for one in first):
            raise ValueError(
                f"{owner} has sparse derivatives, as of `nn.Embedding(sparse=True)`: make them "
                "dense."
            )
        if any(one is not None for one in first[len(wanted) :]):
            raise ValueError(
                f"{owner} reaches parameters by another way than its attributes, such as a list of "
                "them: layers could not have weights of their own."
            )
        torch.manual_seed(0)
        result = part(leaves, *(one.clone() for one in given))
        try:
            again = derivatives(result)
        except RuntimeError:
            again = ()
    if not again or not all(map(_close, first, again)):
        raise ValueError(
            f"{owner} is computed again for its derivative, by `torch.utils.checkpoint`, with the "
            "weights of other layers: call it without; `ReducedFunctional(storage='C')` saves "
            "memory, too."
        )


def _close(one: Any, other: Any) -> bool:
    """Return whether two derivatives are the same up to the order of sums."""
    if one is None or other is None:
        return one is other
    return torch.equal(one, other) or torch.allclose(one, other, 1e-3, 1e-6, equal_nan=True)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))


def _shown(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
