"""Messages of any size: MPI counts bytes in 32 bits, so that larger ones are sent in chunks."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

CHUNK = 2**29
"""Most bytes of a message."""


def broadcast(comm: Any, value: T, root: int = 0) -> T:
    """Return `value` of rank `root` on every rank. Collective.

    Like ``comm.bcast``, for values of any size: the arrays in it are not pickled but sent as they
    are, chunk by chunk.
    """
    if comm.size == 1:
        return value
    header, buffers = b"", []
    if comm.rank == root:

        def stays(buffer: pickle.PickleBuffer) -> bool:
            # Small arrays take fewer messages within the header.
            if buffer.raw().nbytes <= CHUNK // 2**10:
                return True
            buffers.append(_bytes(buffer.raw()))
            return False

        header = pickle.dumps(value, protocol=5, buffer_callback=stays)
    whole = len(header) <= CHUNK
    whole, header_or_size, sizes = comm.bcast(
        (whole, header if whole else len(header), [len(buffer) for buffer in buffers]), root=root
    )
    if comm.rank != root:
        buffers = [np.empty(size, np.uint8) for size in sizes]
    if not whole:
        text = _bytes(header) if comm.rank == root else np.empty(header_or_size, np.uint8)
        _broadcast_bytes(comm, text, root)
        header_or_size = text.data
    for buffer in buffers:
        _broadcast_bytes(comm, buffer, root)
    return value if comm.rank == root else pickle.loads(header_or_size, buffers=buffers)


def gather_rows(comm: Any, block: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the blocks of all ranks, one after the other along `axis`. Collective.

    The blocks may differ in their length along `axis`; every rank gets a new array.
    """
    # Who sends a block in chunks sends None in its place.
    found = comm.allgather(block if block.nbytes * comm.size <= CHUNK else None)
    for rank, part in enumerate(found):
        if part is None:
            found[rank] = broadcast(comm, block if rank == comm.rank else None, rank)
    return np.concatenate(found, axis=axis)


def gather_rows_on_root(comm: Any, block: np.ndarray, axis: int = 0) -> np.ndarray | None:
    """Return what `gather_rows` returns on rank 0, None on the other ranks. Collective."""
    small = block.nbytes * comm.size <= CHUNK
    found = comm.gather((block.dtype, block.shape, block if small else None), root=0)
    if found is None:
        if not small:
            _send(comm, np.ascontiguousarray(block))
        return None
    own = (part if rank else block for rank, (*_, part) in enumerate(found))
    blocks: list[np.ndarray] = []
    for rank, ((dtype, shape, _), part) in enumerate(zip(found, own, strict=True)):
        blocks.append(_received(comm, np.empty(shape, dtype), rank) if part is None else part)
    return np.concatenate(blocks, axis=axis)


def _bytes(content: Any) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


def _chunks(content: np.ndarray) -> Sequence[np.ndarray]:
    return [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]


def _broadcast_bytes(comm: Any, content: np.ndarray, root: int) -> None:
    for chunk in _chunks(content):
        comm.Bcast(chunk, root=root)


def _send(comm: Any, block: np.ndarray) -> None:
    for chunk in _chunks(block.reshape(-1).view(np.uint8)):
        comm.Send(chunk, dest=0)


def _received(comm: Any, block: np.ndarray, rank: int) -> np.ndarray:
    for chunk in _chunks(block.reshape(-1).view(np.uint8)):
        comm.Recv(chunk, source=rank)
    return block
