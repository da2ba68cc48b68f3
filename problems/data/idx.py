"""MNIST and Fashion-MNIST: images and labels in IDX files, plain or compressed with gzip.

An IDX file of bytes begins with the magic number 0x0000080d, d being the number of dimensions, and
the d sizes as big-endian 32-bit integers; the bytes follow.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pint.report.reading import most_unpacked, open_regular, size_of
from problems.data.dataset import Content

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read_folder(folder: str | Path, names: tuple[str, ...]) -> Content:
    """Return the images and labels of the four files in a folder; their test part is ``t10k``.

    Parameters
    ----------
    folder : str or Path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``; also with ``.gz``, and with a dot before ``idx``.
    names : tuple of str
        Of the classes 0, 1, ...

    Raises
    ------
    ValueError
        If a file is missing or broken, or the files do not fit together.
    """
    parts = []
    for part in ("train", "t10k"):
        image_file, label_file = (
            _find(Path(folder), f"{part}-{kind}") for kind in ("images-idx3", "labels-idx1")
        )
        images, labels = read(image_file, 3), read(label_file, 1)
        if len(images) != len(labels):
            raise ValueError(
                f"{image_file} has {len(images)} images, but {label_file} has {len(labels)} "
                "labels; expected as many."
            )
        if labels.max() >= len(names):
            raise ValueError(
                f"{label_file} has the label {labels.max()}; expected 0 to {len(names) - 1}."
            )
        parts += [images[:, None], labels.astype(int)]
    x, indices, x_test, indices_test = parts
    if x.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"{folder}: training images have {x.shape[2]} x {x.shape[3]} pixels, but those of t10k "
            f"{x_test.shape[2]} x {x_test.shape[3]}; expected images of one size."
        )
    return Content(str(folder), x, indices, names, x_test, indices_test, largest=255.0)


def _find(folder: Path, stem: str) -> Path:
    names = [f"{stem}-ubyte", f"{stem.replace('-idx', '.idx')}-ubyte"]
    for name in (*names, *(f"{name}.gz" for name in names)):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} has no file {names[0]}; expected it there, or with .gz after it.")


def read(path: str | Path, dimensions: int) -> np.ndarray:
    """Return the bytes of an IDX file, an array of uint8 with the dimensions of its header.

    Raises
    ------
    ValueError
        If the file cannot be read, is not an IDX file of bytes with as many dimensions, is shorter
        or longer than its header says, is empty, or would unpack to much more than its size
        (`pint.report.reading.most_unpacked`).
    """
    try:
        with open_regular(path) as file:
            if file.peek(2)[:2] != b"\x1f\x8b":
                if Path(path).suffix == ".gz":
                    raise ValueError(
                        f"{path} is not compressed with gzip, as .gz says; rename or load it."
                    )
                return _array(path, file, dimensions, size_of(file))
            return _unpacked(path, file, dimensions)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from None


def _unpacked(path: str | Path, file: BinaryIO, dimensions: int) -> np.ndarray:
    try:
        with gzip.GzipFile(fileobj=file) as content:
            return _array(path, content, dimensions, most_unpacked(size_of(file)))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or broken ({error}); expected a complete gzip file."
        ) from None


def _array(path: str | Path, file: Any, dimensions: int, most: int) -> np.ndarray:
    """Return the array in an open file of `most` bytes; no more are read than its header says."""
    expected = f"expected an IDX file of bytes in {dimensions} dimension(s)"
    magic = bytes([0, 0, 8, dimensions])
    start = 4 + 4 * dimensions
    header = file.read(start)
    if header[:4] != magic:
        raise ValueError(
            f"{path} begins with 0x{header[:4].hex()}, not with 0x{magic.hex()}; {expected}."
        )
    if len(header) < start:
        raise ValueError(f"{path} ends within its header; {expected}.")
    shape = tuple(int(size) for size in np.frombuffer(header[4:], ">u4"))
    sizes, needed = " x ".join(map(str, shape)), math.prod(shape)
    if needed > most:
        raise ValueError(
            f"{path} has sizes {sizes} that need {needed} bytes, more than a file of its size can "
            "have; expected a complete file."
        )
    content = file.read(needed + 1)
    if len(content) != needed:
        found = len(content) if len(content) < needed else "more"
        raise ValueError(
            f"{path} has {found} bytes after its header, but its sizes {sizes} need {needed}; "
            "expected a complete file."
        )
    if 0 in shape:
        raise ValueError(f"{path} is empty, its sizes being {sizes}.")
    return np.frombuffer(content, np.uint8).reshape(shape)
