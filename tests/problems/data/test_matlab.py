"""MATLAB files, written by scipy, by hand as MATLAB does, and broken."""

import struct
import zlib

import numpy as np
import pytest
import scipy.io

from problems.data import matlab

ARRAY = np.arange(24).reshape(2, 3, 4)
OTHERS = {
    "text": "words",
    "struct": {"a": 1},
    "cell": np.array([1, "a"], dtype=object),
    "nothing": np.zeros((0, 2)),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", "f8 f4 i1 u1 i2 u2 i4 u4 i8 u8".split())
def test_arrays_that_scipy_wrote(tmp_path, dtype, compressed):
    path, array = tmp_path / "a.mat", ARRAY.astype(dtype)
    content = {"a": array[0], **OTHERS, "long_name": array, "b": array[:, 0]}
    scipy.io.savemat(path, content, do_compression=compressed)
    found = matlab.read(path, "long_name", 3)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(matlab.read(path, "b", 2), array[:, 0])
    np.testing.assert_array_equal(scipy.io.loadmat(path)["long_name"], found)


def element(order, kind, content):
    """Return an element, short where its content has up to four bytes."""
    if 0 < len(content) <= 4:
        return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(f"{order}2I", kind, len(content)) + content + bytes(-len(content) % 8)


def by_hand(order, compressed):
    """Return a file of 2 x 3 doubles that are stored in single bytes, as MATLAB does."""
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100)
    header += b"IM" if order == "<" else b"MI"
    variable = element(order, 6, struct.pack(f"{order}2I", 6, 0))
    variable += element(order, 5, struct.pack(f"{order}2i", 2, 3))
    variable += element(order, 1, b"a") + element(order, 2, bytes([1, 2, 3, 4, 5, 255]))
    whole = element(order, 14, variable)
    if not compressed:
        return header + whole
    whole = zlib.compress(whole)
    return header + struct.pack(f"{order}2I", 15, len(whole)) + whole  # never filled up to 8 bytes


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_and_short_storage(tmp_path, order, compressed):
    path = tmp_path / "a.mat"
    path.write_bytes(by_hand(order, compressed))
    found = matlab.read(path, "a", 2)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1, 3, 5], [2, 4, 255]])
    np.testing.assert_array_equal(scipy.io.loadmat(path)["a"], found)


@pytest.mark.parametrize("name", OTHERS)
def test_variables_that_are_no_arrays_of_numbers(tmp_path, name):
    scipy.io.savemat(tmp_path / "a.mat", OTHERS)
    with pytest.raises(ValueError, match="expected real numbers in 2 dimensions"):
        matlab.read(tmp_path / "a.mat", name, 2)


def test_version_4_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"a": ARRAY[0]}, format="4")
    with pytest.raises(ValueError, match="is not a MATLAB file of version 5 to 7"):
        matlab.read(tmp_path / "a.mat", "a", 2)


@pytest.fixture(params=[False, True])
def written(request, tmp_path):
    path = tmp_path / "a.mat"
    content = {"a": ARRAY[0], "text": "words", "array": ARRAY.astype(np.uint16)}
    scipy.io.savemat(path, content, do_compression=request.param)
    return path, path.read_bytes()


def test_every_truncation_is_refused_in_one_line(written):
    path, content = written
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="MATLAB") as caught:
            matlab.read(path, "array", 3)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_changed_byte_gives_an_array_or_one_line(written):
    path, content = written
    refused = 0
    for position in range(len(content)):
        for change in (0x01, 0x41, 0xFF):
            changed = bytearray(content)
            changed[position] ^= change
            path.write_bytes(changed)
            try:
                assert matlab.read(path, "array", 3).size == 24
            except ValueError as error:
                refused += 1
                assert str(path) in str(error)
                assert "\n" not in str(error)
    assert refused > 100
