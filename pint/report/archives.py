"""Archives of arrays, `.npz`: what they declare is checked before anything is unpacked.

An archive is a zip file of `.npy` files. The directory of the zip file declares the size of each,
the header of each the type and the shape of its array; they must agree with each other, with the
size of the file, and with what the reader expects.
"""

from __future__ import annotations

import math
import struct
import textwrap
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pint.report.reading import most_unpacked, open_regular, size_of

KINDS = "biufcUS"
"""Of the arrays: numbers and text, as `numpy.dtype.kind` has them."""

MOST_ARRAYS = 10_000
PIECE = 2**20
LARGEST_CHARACTER = 0x10FFFF
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,  # of numpy's parser of a broken header, and SyntaxError
    SyntaxError,
    RecursionError,
    EOFError,
    KeyError,
    ValueError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,  # encrypted
    NotImplementedError,
    struct.error,
)


@dataclass(frozen=True)
class Declared:
    """What an archive says of one of its arrays.

    Attributes
    ----------
    dtype : dtype
    shape : tuple of int
    """

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


Check = Callable[[Mapping[str, Declared]], object]
"""Raises ValueError unless the arrays may be unpacked; the file is named in front of its text."""


class Archive:
    """An open `.npz` file. Its arrays are unpacked by `read` alone.

    Attributes
    ----------
    path : str or Path
    declared : dict of str to Declared
        By the names of the arrays.
    """

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self.path = path
        size = size_of(file)
        with self._naming_file():
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no archive of arrays")
            self._zip = zipfile.ZipFile(file)
            members = self._zip.infolist()
            self._check_sizes(members, size)
            self._members = {member.filename.removesuffix(".npy"): member for member in members}
            if len(self._members) < len(members):
                raise ValueError("two of its arrays have one name")
            self._headers = {name: self._header(name) for name in self._members}
        self.declared = {name: declared for name, (declared, *_) in self._headers.items()}

    def read(self, name: str) -> np.ndarray:
        """Return one of the arrays.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        declared, in_columns, start = self._headers[name]
        with self._naming_file(), self._zip.open(self._members[name]) as member:
            member.read(start)
            array = np.empty(math.prod(declared.shape), declared.dtype)
            content = array.view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
            done = 0
            while done < len(content):
                piece = member.read(min(PIECE, len(content) - done))
                if not piece:
                    raise ValueError(f"`{name}` is truncated")
                content[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
            if member.read(1):  # the checksum is compared at the end
                raise ValueError(f"`{name}` is longer than its header says")
            _check_values(name, array)
            return array.reshape(declared.shape, order="F" if in_columns else "C")

    @staticmethod
    def _check_sizes(members: list[zipfile.ZipInfo], size: int) -> None:
        if len(members) > MOST_ARRAYS:
            raise ValueError(f"it has {len(members)} members, more than {MOST_ARRAYS}")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r} is not compressed as numpy does it")
        # Members may share their content; together they would be larger than the file.
        if sum(member.compress_size for member in members) > size:
            raise ValueError("its members are larger than the file")
        unpacked = sum(member.file_size for member in members)
        if unpacked > most_unpacked(size):
            raise ValueError(
                f"it would unpack from {size} to {unpacked} bytes; if that is meant, save it by "
                "`numpy.savez`, which does not compress"
            )

    def _header(self, name: str) -> tuple[Declared, bool, int]:
        """Return what the header of a member declares, whether in columns, and its length."""
        with self._zip.open(self._members[name]) as member:
            try:
                version = np.lib.format.read_magic(member)
                if version == (1, 0):
                    header = np.lib.format.read_array_header_1_0(member)
                elif version == (2, 0):
                    header = np.lib.format.read_array_header_2_0(member)
                else:
                    raise ValueError(f"version {version}")
            except UNREADABLE as error:
                raise ValueError(f"`{name}` is no array: {error}") from None
            start = member.tell()
        shape, in_columns, dtype = header
        if dtype.kind not in KINDS:
            what = "Python objects" if dtype.hasobject else f"values of type {dtype.str}"
            raise ValueError(f"`{name}` holds {what}")
        declared = Declared(dtype, tuple(int(length) for length in shape))
        if min(declared.shape, default=0) < 0:
            raise ValueError(f"`{name}` has the shape {declared.shape}")
        if start + declared.size != self._members[name].file_size:
            raise ValueError(
                f"`{name}` is {declared}, but has {self._members[name].file_size - start} bytes"
            )
        return declared, in_columns, start

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            reason = textwrap.shorten(str(error), 200)  # a broken directory may be quoted whole
            raise ValueError(f"{self.path} is not a readable .npz file ({reason}).") from None


def _check_values(name: str, array: np.ndarray) -> None:
    """Raise ValueError if bits of an array are no value of its type."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise ValueError(f"`{name}` holds bits that are neither True nor False")
    if array.dtype.kind == "U" and array.nbytes:
        codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.max() > LARGEST_CHARACTER:
            raise ValueError(f"`{name}` holds bits that are no text")


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open an `.npz` file; its arrays are declared, and not yet unpacked. Not collective.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    ValueError
        If it is not an `.npz` archive of numbers and text, or would unpack to much more than its
        size (`pint.report.reading.most_unpacked`).
    """
    with open_regular(path) as file:
        yield Archive(path, file)


def load_arrays(path: str | Path, check: Check | None = None) -> dict[str, np.ndarray]:
    """Return all arrays of an `.npz` file. Not collective.

    Parameters
    ----------
    path : str or Path
    check : callable, optional
        Receives what is declared, before anything is unpacked, and raises ValueError unless the
        arrays are those that are expected.

    Raises
    ------
    OSError, ValueError
        As `open_archive`, or if an array is damaged.
    """
    with open_archive(path) as archive:
        if check is not None:
            try:
                check(archive.declared)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        return {name: archive.read(name) for name in archive.declared}
