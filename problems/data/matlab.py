"""Arrays of numbers in MATLAB files of versions 5 to 7.

After 128 bytes of header a file is a sequence of elements: type and size, 4 bytes each, and the
content, which is a variable, or one compressed with zlib. A variable consists of elements, too:
flags, dimensions, name, and values in column-major order.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pint.report.reading import most_unpacked, open_regular, size_of

# scipy.io.loadmat is not used: for some broken files it ends the process by a segmentation fault.
HEADER = 128
VARIABLE, COMPRESSED = 14, 15
STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
CLASSES = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), start=6))
CLASS, COMPLEX = 0x00FF, 0x0800  # bits of a variable's flags
OPAQUE = 17  # the class of objects, which are laid out in another way


def read(path: str | Path, variable: str, dimensions: int) -> np.ndarray:
    """Return an array of real numbers that is not empty.

    Parameters
    ----------
    path : str or Path
    variable : str
    dimensions : int
        How many the array must have.

    Raises
    ------
    ValueError
        If the file cannot be read, is none of MATLAB's of versions 5 to 7, is broken, has no such
        array, or would unpack to much more than its size (`pint.report.reading.most_unpacked`).
    """
    try:
        with open_regular(path) as file:
            header = file.read(HEADER)
            order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
            version = struct.unpack_from(f"{order}H", header, 124)[0] if order else 0
            content = file.read(size_of(file) - HEADER) if version == 0x0100 else b""
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{path} cannot be read: {reason}; expected {variable} there.") from None
    if version == 0x0200:
        raise ValueError(
            f"{path} is a MATLAB file of version 7.3 (HDF5); expected version 5 to 7: save it with "
            "'-v7'."
        )
    if order is None or version != 0x0100:
        raise ValueError(f"{path} is not a MATLAB file of version 5 to 7: its header is another.")
    try:
        names = []
        for name, found in _variables(memoryview(content), order):
            if name == variable:
                return _array(found, order, variable, dimensions)
            names.append(name)
        raise ValueError(f"no variable {variable}, but {', '.join(names) or 'none at all'}")
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{path} is no MATLAB file as expected: {error}.") from None


def _element(content: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    """Return type and content of the element at `start`, and where the next one starts."""
    if start + 8 > len(content):
        raise ValueError("it is truncated")
    kind, size = struct.unpack_from(f"{order}2I", content, start)
    begin = start + 8
    following = begin + size + (0 if kind == COMPRESSED else -size % 8)
    if kind >> 16:  # up to four bytes of content stand in the place of the size
        kind, size = kind & 0xFFFF, kind >> 16
        begin, following = start + 4, start + 8
        if size > 4:
            raise ValueError("it is broken, a short element being too long")
    end = begin + size
    if end > len(content):
        raise ValueError("it is truncated")
    return kind, content[begin:end], following


@dataclass(frozen=True)
class _Variable:
    flags: int
    shape: tuple[int, ...]
    values: memoryview


def _variables(content: memoryview, order: str) -> Iterator[tuple[str, _Variable]]:
    position, most = 0, most_unpacked(len(content))
    while position < len(content):
        kind, variable, position = _element(content, position, order)
        if kind == COMPRESSED:
            variable = _unpacked(variable, most, order)
            most -= len(variable)
            kind, variable, _ = _element(variable, 0, order)
        if kind != VARIABLE:
            raise ValueError(f"it is broken, an element of type {kind} being no variable")
        if not len(variable):
            continue  # without a name
        _, flags, start = _element(variable, 0, order)
        if len(flags) != 8:
            raise ValueError("it is broken, its flags having another size")
        (flag,) = struct.unpack_from(f"{order}I", flags)
        if flag & CLASS == OPAQUE:
            continue
        _, sizes, start = _element(variable, start, order)
        _, name, start = _element(variable, start, order)
        if len(sizes) % 4:
            raise ValueError("it is broken, its dimensions being no numbers of 4 bytes")
        shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
        text = bytes(name).decode("ascii", "backslashreplace")
        yield "".join(filter(str.isprintable, text)), _Variable(flag, shape, variable[start:])


def _unpacked(content: memoryview, most: int, order: str) -> memoryview:
    """Return a compressed element, of which no more is unpacked than its header says."""
    stream = zlib.decompressobj()
    header = stream.decompress(content, 8)
    if len(header) < 8:
        raise ValueError("it is truncated")
    size = struct.unpack(f"{order}2I", header)[1]
    if size > most:
        raise ValueError(f"it is broken, a variable of {size} bytes being larger than it can be")
    rest = stream.decompress(stream.unconsumed_tail, size) if size else b""
    # The checksum, or more than there should be
    if stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
        raise ValueError("it is broken, a variable being longer or shorter than its header says")
    return memoryview(header + rest)


def _array(variable: _Variable, order: str, name: str, dimensions: int) -> np.ndarray:
    kind = CLASSES.get(variable.flags & CLASS)
    shape = variable.shape
    if kind is None or variable.flags & COMPLEX or len(shape) != dimensions or min(shape) < 1:
        words = "complex" if variable.flags & COMPLEX else kind or "no array of numbers"
        raise ValueError(
            f"{name} is {words}, of shape {shape}; expected real numbers in {dimensions} dimensions"
        )
    stored, values, _ = _element(variable.values, 0, order)
    if stored not in STORED:
        raise ValueError(f"it is broken, values of type {stored} being no numbers")
    dtype = np.dtype(order + STORED[stored])
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"it is broken, {name} having {len(values)} bytes for the shape {shape} of {dtype}"
        )
    # Numbers may be stored in fewer bytes than their class has.
    return np.frombuffer(values, dtype).astype(kind).reshape(shape, order="F")
