"""Files that others have made: refused before they fill the memory or make the program wait."""

import os
import socket
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from pint.report.archives import load_arrays, open_archive
from pint.report.reading import LEAST_UNPACKED, open_regular, parse_json, read_regular


def test_arrays_of_all_kinds(tmp_path):
    path, random = tmp_path / "some.npz", np.random.default_rng(0)
    arrays = {
        "matrix": random.standard_normal((3, 4)),
        "columns": np.asfortranarray(random.standard_normal((3, 4))),
        "none": np.zeros((0, 3)),
        "one": np.array(2.5),
        "big endian": np.arange(3, dtype=">i4"),
        "words": np.array(["a", "bcd", "Grüße"]),
        "no text": np.array(""),
        "flags": np.array([True, False]),
        "complex": random.standard_normal(2) * 1j,
        "single": np.ones(3, np.float32),
        "bytes": np.array([b"a", b"bc"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays)
        found = load_arrays(path)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].flags.f_contiguous == array.flags.f_contiguous


def test_what_is_declared_is_known_before_anything_is_read(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, a=np.zeros((2, 3)), b=np.array("text"))
    with open_archive(path) as archive:
        assert {name: str(one) for name, one in archive.declared.items()} == {
            "a": "float64 of shape (2, 3)",
            "b": "<U4 of shape ()",
        }


def test_a_check_that_fails_names_the_file(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, a=np.zeros(3))

    def check(declared):
        raise ValueError(f"`a` has {declared['a'].size} bytes")

    with pytest.raises(ValueError, match=r"some\.npz: `a` has 24 bytes"):
        load_arrays(path, check)


# Archives made to hurt


def header(text, version=1):
    text = text.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text


def described(descr="'<f8'", shape="(3,)", order="False"):
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n")


def archive_of(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


HOSTILE = {
    "no array": (b"text", "`a` is no array"),
    "empty": (b"", "`a` is no array"),
    "too short": (described() + bytes(23), "`a` is float64 of shape .3,., but has 23 bytes"),
    "too long": (described() + bytes(25), "has 25 bytes"),
    "huge": (described(shape=f"({2**60},)"), "has 0 bytes"),
    "beyond all": (described(shape=f"({10**40}, {10**40})"), "has 0 bytes"),
    "negative": (described(shape="(-3,)") + bytes(24), "has the shape"),
    "shape a list": (described(shape="[3]") + bytes(24), "`a` is no array"),
    "objects": (described("'|O'") + bytes(24), "`a` holds Python objects"),
    "nested": (described("[('x', '<f8')]") + bytes(24), "`a` holds values of type"),
    "nested deeply": (described("[" * 50 + "]" * 50) + bytes(24), "`a`"),
    "arrays in arrays": (described("('<f8', (1000000,))", "()"), "`a` holds values of type"),
    "times": (described("'<M8[s]'") + bytes(24), "`a` holds values of type"),
    "brackets": (header("(" * 9000), "`a` is no array"),
    "minus": (header("-" * 9000 + "1"), "`a` is no array"),
    "a long header": (header("{" + " " * 60_000 + "}"), "`a` is no array"),
    "version 9": (header("{}", 9), "`a` is no array"),
    "wide text": (described(f"'<U{2**28}'", "(1,)"), "has 0 bytes"),
    "no text": (described("'<U1'", "(1,)") + b"\xff\xff\xff\xff", "bits that are no text"),
    "no flags": (described("'|b1'") + bytes([0, 1, 2]), "neither True nor False"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member(tmp_path, name):
    content, message = HOSTILE[name]
    path = tmp_path / "some.npz"
    archive_of(path, ("b.npy", described() + bytes(24)), ("a.npy", content))
    with pytest.raises(ValueError, match=rf"some\.npz is not a readable .npz file .*{message}"):
        load_arrays(path)


def test_an_archive_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "some.npz"
    size = 4 * LEAST_UNPACKED
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as member:
            member.write(described(shape=f"({size // 8},)"))
            for _ in range(size // 2**20):
                member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"it would unpack from \d+ to \d+ bytes; .*numpy.savez"):
        load_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_two_members_of_one_name(tmp_path):
    one = described() + bytes(24)
    with pytest.warns(UserWarning, match="Duplicate"):
        archive_of(tmp_path / "same.npz", ("a.npy", one), ("a.npy", one))
    archive_of(tmp_path / "alike.npz", ("a.npy", one), ("a", one))
    for name in ("same", "alike"):
        with pytest.raises(ValueError, match="two of its arrays have one name"):
            load_arrays(tmp_path / f"{name}.npz")


def test_members_that_share_their_content(tmp_path):
    path = tmp_path / "some.npz"
    one = described(shape="(1000,)") + bytes(8000)
    archive_of(path, ("a.npy", one), ("b.npy", one))
    content = path.read_bytes()
    begin = content.index(b"PK\x01\x02")
    start = content.index(b"PK\x03\x04", 10)
    # Without the second member; its entry of the directory points to the first.
    directory = bytearray(content[begin:])
    second = directory.index(b"PK\x01\x02", 4)
    directory[second + 42 : second + 46] = bytes(4)
    directory[-6:-2] = struct.pack("<I", start)
    path.write_bytes(content[:start] + directory)
    with pytest.raises(ValueError, match=r"larger than the file|is not a readable"):
        load_arrays(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_in_another_way(tmp_path, compression):
    archive_of(tmp_path / "a.npz", ("a.npy", described() + bytes(24)), compression=compression)
    with pytest.raises(ValueError, match="not compressed as numpy does it"):
        load_arrays(tmp_path / "a.npz")


# What is no regular file


@pytest.fixture
def special(tmp_path):
    """Paths of what is there and is no regular file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        yield [tmp_path / name for name in ("pipe", "folder", "endless", "loop", "socket")]


@pytest.mark.parametrize("read", [open_regular, read_regular, load_arrays])
def test_only_regular_files_are_read(special, read):
    for path in special:
        with pytest.raises(OSError, match=rf"regular file|folder|symbolic links.*{path.name}"):
            read(path)


# JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "digits"),
        ("[" + "1," * 2**23 + "1]", "longer than"),
        ("{", "Expecting"),
    ],
)
def test_json_made_to_hurt(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
