"""States that are PyTorch tensors, on the CPU or on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pint.errors import lengths, number, shown
from pint.states.space import StateSpace

try:
    import torch
except ImportError as error:
    raise ImportError("`TorchSpace` needs PyTorch: pip install torch.") from error

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

HALF = (torch.bfloat16, torch.float16)

DEVICE_BYTES = 2**30
"""States of so many bytes are advanced together on a device: all intervals, as far as possible."""


class TorchSpace(StateSpace):
    """States that are PyTorch tensors of one shape, on one device.

    The user's methods are given tensors on the device: states of the type `dtype`, and times,
    control blocks and shared fields of the same type. They return tensors on the device. The
    control itself stays on the host, as numbers of float64; its fields are copied to the device
    once for each control that is solved for, and derivatives are summed on the device and copied
    to the host once for each adjoint.

    The norm is ``weight * sqrt(sum(y**2))``.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of one state.
    device : str or torch.device
        Such as 'cpu', 'cuda' or 'cuda:1'.
    dtype : str or torch.dtype
        float64, float32, bfloat16 or float16.
    weight : float
        Factor of the Euclidean norm, dimensionless.
    accumulate : str or torch.dtype
        float64 or float32: the type of the sums in norms, inner products, costs and derivatives
        with respect to the control.

    Attributes
    ----------
    torch_device : torch.device
    torch_dtype, sums_dtype : torch.dtype

    Raises
    ------
    TypeError
        If a type is another one, or the device has no such numbers.
    ValueError
        If the device is not available, or `shape` or `weight` is not positive.

    Notes
    -----
    Messages between ranks are staged through arrays of the host, in the type of the states.
    """

    on_host = False
    may_differ = ("device", "torch_device")  # ranks may work on devices of their own

    def __init__(
        self,
        shape: int | Sequence[int],
        device: Any = "cpu",
        dtype: Any = "float64",
        weight: float = 1.0,
        accumulate: Any = "float64",
    ) -> None:
        self.shape = lengths("TorchSpace(shape=...)", shape, 1)
        self.weight: float = number("TorchSpace", "weight", weight, positive=True)
        self.torch_dtype = dtype_of("TorchSpace(dtype=...)", dtype, tuple(DTYPES))
        wide = ("float64", "float32")
        self.sums_dtype = dtype_of("TorchSpace(accumulate=...)", accumulate, wide)
        self.torch_device = device_of("TorchSpace(device=...)", device)
        for name, kind in (("dtype", self.torch_dtype), ("accumulate", self.sums_dtype)):
            _require_numbers(name, kind, self.torch_device)
        self.device, self.number_type = str(self.torch_device), _name(self.torch_dtype)
        self.sums_type = _name(self.sums_dtype)

    def __repr__(self) -> str:
        return f"TorchSpace({self.shape}, device={self.device!r}, dtype={self.number_type!r})"

    @property
    def precision(self) -> float:
        return float(torch.finfo(self.torch_dtype).eps)

    @property
    def state_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=int)) * self.torch_dtype.itemsize

    @property
    def chunk_bytes(self) -> int | None:
        return None if self.torch_device.type == "cpu" else DEVICE_BYTES

    def allocate(self, count: int) -> Any:
        return torch.zeros((count, *self.shape), dtype=self.torch_dtype, device=self.torch_device)

    def squared_norm(self, block: Any) -> float:
        # PyTorch converts as it sums, where it can, so that no copy of the block is made.
        norm = torch.linalg.vector_norm(block, dtype=self.sums_dtype)
        return self.weight**2 * float(norm) ** 2

    def pair(self, a: Any, b: Any) -> float:
        return float(torch.sum(a.to(self.sums_dtype) * b.to(self.sums_dtype)))

    def as_array(self, block: Any) -> np.ndarray:
        host = block.detach().cpu()
        # numpy has no numbers of this type; those of float32 hold them exactly.
        host = host.to(torch.float32) if host.dtype == torch.bfloat16 else host
        return np.asarray(host.numpy())

    def lift(self, values: Any, sums: bool = False) -> Any:
        dtype = self.sums_dtype if sums else self.torch_dtype
        if isinstance(values, torch.Tensor):
            return values.to(self.torch_device, dtype)
        array = np.asarray(values)
        if array.dtype.kind == "c":  # PyTorch would drop the imaginary parts
            raise TypeError("tensors of a `TorchSpace` are real, got complex numbers.")
        # Tensors know no read-only memory, and no negative strides.
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        return torch.from_numpy(array).to(self.torch_device, dtype)

    def messenger(self, comm: Any) -> Any:
        return Staged(comm)

    def native(self, method: Callable[..., Any], states: tuple[int, ...]) -> Callable[..., Any]:
        owner, kind = type(getattr(method, "__self__", method)).__name__, method.__name__
        returned, like = Returned(self, f"`{owner}.{kind}`", kind), self.allocate(0)

        def called(*arguments: Any, **options: Any) -> Any:
            # A result in place may lie in the same block as the states.
            known = [] if options.get("out") is not None else list(_tensors(arguments))
            versions = [one._version for one in known]
            try:
                result = method(*arguments, **options)
            except RuntimeError as error:
                raise explained(error, returned.method, like) or error from None
            if any(one._version != old for one, old in zip(known, versions, strict=True)):
                raise ValueError(
                    f"{returned.method} must not change its arguments in place: work on a copy."
                )
            return returned(result)

        return called


class Returned:
    """Checks what a user's method returns: tensors on the device, states of their type.

    Parameters
    ----------
    space : TorchSpace
    method : str
        How to name the method in an error.
    kind : str
        Its name alone.
    """

    def __init__(self, space: TorchSpace, method: str, kind: str) -> None:
        self.space, self.method, self.kind = space, method, kind

    def __call__(self, result: Any) -> Any:
        space = self.space
        if self.kind == "initial" and not isinstance(result, torch.Tensor):
            return space.lift(result)  # a constant, given as a list or an array
        if isinstance(result, (tuple, list)):
            # Derivatives of costs, and those with respect to controls, may be of a wider type.
            lead = self.kind == "vjp"
            return tuple(self._part(one, lead and not place) for place, one in enumerate(result))
        if self.kind == "step_cost" and isinstance(result, torch.Tensor):
            result = result.to(space.sums_dtype)
        return self._part(result, self.kind in ("step", "initial"))

    def _part(self, part: Any, is_state: bool) -> Any:
        if isinstance(part, Mapping):
            return {name: self._part(one, False) for name, one in part.items()}
        if not isinstance(part, torch.Tensor):
            if isinstance(part, np.ndarray):
                raise TypeError(
                    f"{self.method} must return tensors on {self.space.device}, got an array of "
                    "numpy: `torch.as_tensor(array, device=y.device)` makes one of it."
                )
            return part
        if part.device != self.space.torch_device:
            raise ValueError(
                f"{self.method} must return tensors on {self.space.device}, got one on "
                f"{part.device}: move what it uses there, by `.to(y.device)`."
            )
        if is_state and part.dtype != self.space.torch_dtype:
            raise TypeError(
                f"{self.method} must return states of {self.space.torch_dtype}, got {part.dtype}: "
                "convert the constants and modules in it."
            )
        if part.dtype.is_complex:
            raise TypeError(f"{self.method} must return real numbers, got {part.dtype}.")
        return part.detach()


class Staged:
    """A communicator whose messages are blocks of tensors, staged through arrays of the host.

    Contiguous blocks on the CPU are sent from where they lie, without a copy.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm

    def Isend(self, block: Any, dest: int, tag: int = 0) -> Any:  # noqa: N802  (mpi4py's name)
        """Start sending a block; it must not change before the request is complete."""
        host = _bits(block.cpu().contiguous())
        return _Request(self.comm.Isend(host, dest=dest, tag=tag), host)

    def Irecv(self, block: Any, source: int, tag: int = 0) -> Any:  # noqa: N802  (mpi4py's name)
        """Start receiving a block, which is complete after `Wait`."""
        host = self._place(block)
        return _Request(self.comm.Irecv(_bits(host), source=source, tag=tag), host, block)

    def Bcast(self, block: Any, root: int = 0) -> None:  # noqa: N802  (mpi4py's name)
        """Make a block of all ranks that of `root`, in place."""
        host = block.cpu().contiguous()
        self.comm.Bcast(_bits(host), root=root)
        block.copy_(host)

    @staticmethod
    def _place(block: Any) -> Any:
        """Return a tensor of the host to receive a block in: the block itself where possible."""
        direct = block.device.type == "cpu" and block.is_contiguous()
        return block if direct else torch.empty(block.shape, dtype=block.dtype)


class _Request:
    """A request that keeps what is sent, or copies what has arrived to where it belongs."""

    def __init__(self, request: Any, host: Any, block: Any = None) -> None:
        self.request, self.host, self.block = request, host, block

    def Test(self) -> bool:  # noqa: N802  (mpi4py's name)
        """Let the message proceed."""
        return bool(self.request.Test())

    def Wait(self) -> None:  # noqa: N802  (mpi4py's name)
        """Wait until the message has left, or has arrived."""
        self.request.Wait()
        if self.block is not None and self.block is not self.host:
            self.block.copy_(self.host)


def dtype_of(argument: str, given: Any, names: Sequence[str]) -> Any:
    """Return the type of tensors that is meant, or raise TypeError."""
    name = given if isinstance(given, str) else _name(given)
    if name not in names:
        raise TypeError(f"`{argument}` must be one of {', '.join(names)}, got {shown(given)}.")
    return DTYPES[name]


def device_of(argument: str, given: Any) -> Any:
    """Return the device that is meant, with its number; ValueError if it is not available."""
    try:
        return torch.empty(0, device=given).device
    except (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError) as error:
        cause = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(
            f"`{argument}` must be a device that this PyTorch ({torch.__version__}) can use, got "
            f"{shown(given)}: {cause}. Use 'cpu', or a PyTorch built for the device."
        ) from None


def explained(error: RuntimeError, method: str, like: Any) -> Exception | None:
    """Return an error in one line for tensors that do not fit `like`; None for others."""
    text = " ".join(str(error).split())
    if any(phrase in text for phrase in ("same device", "two devices", "expected device")):
        return ValueError(
            f"{method} uses tensors of another device than its states, which are on "
            f"{like.device}: move them there, by `.to(y.device)`, or make them buffers of modules."
        )
    if "dtype" in text or "scalar type" in text:
        return TypeError(
            f"{method} uses tensors of another type than its states, which are of "
            f"{like.dtype}: convert them, by `.to(y.dtype)`."
        )
    return None


def _require_numbers(option: str, dtype: Any, device: Any) -> None:
    """Raise TypeError unless a device has numbers of a type."""
    try:
        torch.zeros(1, dtype=dtype, device=device)
    except (TypeError, RuntimeError):
        raise TypeError(
            f"`TorchSpace({option}=...)`: the device {device} has no numbers of {dtype}; use "
            "'float32'."
        ) from None


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _tensors(arguments: Sequence[Any]) -> Iterator[Any]:
    """Yield the tensors among arguments, those of mappings and the guess included."""
    for one in arguments:
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, Mapping):
            yield from _tensors(list(one.values()))
        elif isinstance(getattr(one, "guess", None), torch.Tensor):
            yield one.guess


def _bits(host: Any) -> np.ndarray:
    """Return a tensor of the host as an array in the same memory, whatever its type."""
    return np.asarray((host.view(torch.int16) if host.dtype in HALF else host).numpy())
