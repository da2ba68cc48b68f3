"""MNIST's files: genuine small ones, and the same ones broken in every way."""

import gzip
import re
import struct

import numpy as np
import pytest

from problems.data import idx, load

RANDOM = np.random.default_rng(0)
IMAGES = {"train": RANDOM.integers(0, 256, (40, 5, 4)), "t10k": RANDOM.integers(0, 256, (20, 5, 4))}
LABELS = {"train": np.arange(40) % 10, "t10k": np.arange(20)[::-1] % 10}


def idx_bytes(array):
    """Return the file of an array, by the definition of the format."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + bytes(int(value) for value in array.ravel())


def names(dot=False):
    mark = "." if dot else "-"
    kinds = (f"images{mark}idx3-ubyte", f"labels{mark}idx1-ubyte")
    return {part: tuple(f"{part}-{kind}" for kind in kinds) for part in ("train", "t10k")}


@pytest.fixture
def folder(tmp_path):
    for part, (images, labels) in names().items():
        (tmp_path / images).write_bytes(idx_bytes(IMAGES[part]))
        (tmp_path / labels).write_bytes(idx_bytes(LABELS[part]))
    return tmp_path


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_four_files_become_a_data_set(tmp_path, name, compressed, dot):
    for part, files in names(dot).items():
        for file, array in zip(files, (IMAGES[part], LABELS[part]), strict=True):
            content = idx_bytes(array)
            path = tmp_path / (file + ".gz" * compressed)
            path.write_bytes(gzip.compress(content) if compressed else content)
    data = load(name, tmp_path)
    assert data.x.dtype == data.labels.dtype == np.float64
    np.testing.assert_array_equal(data.x, IMAGES["train"][:, None] / 255)
    np.testing.assert_array_equal(data.x_test, IMAGES["t10k"][:, None] / 255)
    np.testing.assert_array_equal(data.labels, np.eye(10)[LABELS["train"]])
    np.testing.assert_array_equal(data.labels_test, np.eye(10)[LABELS["t10k"]])
    assert data.classes[0] == ("0" if name == "mnist" else "T-shirt/top")
    assert data.flattened().x.shape == (40, 20)


def test_fewer_examples_are_some_of_those_of_each_part(folder):
    data = load("mnist", folder, examples=20, test_examples=10, seed=3)
    np.testing.assert_array_equal(data.labels.sum(axis=0), 2)
    np.testing.assert_array_equal(data.labels_test.sum(axis=0), 1)
    every = {
        image.tobytes(): label
        for image, label in zip(IMAGES["train"] / 255, LABELS["train"], strict=True)
    }
    found = [every[image.tobytes()] for image in data.x]
    np.testing.assert_array_equal(found, data.labels.argmax(axis=1))


TRAIN, TRAIN_LABELS = names()["train"]
GOOD = idx_bytes(IMAGES["train"])
COMPRESSED = gzip.compress(GOOD, mtime=0)  # without the time of day, which would be in tests' names
GOOD_LABELS = idx_bytes(LABELS["train"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (TRAIN, b"", "begins with 0x, not with 0x00000803; expected an IDX file"),
        (TRAIN, GOOD[:9], "ends within its header"),
        (TRAIN, GOOD[:-1], "has 799 bytes after its header, but its sizes 40 x 5 x 4 need 800"),
        (TRAIN, GOOD + b"\0", "has more bytes after its header, but its sizes 40 x 5 x 4 need 800"),
        (TRAIN, b"\0\0\x08\x03" + b"\xff" * 12, "need 79228162458924105385300197375"),
        (TRAIN, idx_bytes(np.zeros((0, 5, 4))), "is empty, its sizes being 0 x 5 x 4"),
        (TRAIN, GOOD_LABELS, "begins with 0x00000801, not with 0x00000803"),
        (TRAIN, b"\0\0\x0d\x03" + GOOD[4:], "begins with 0x00000d03, not with 0x00000803"),
        (TRAIN, b"PNG, or so", "begins with 0x504e472c, not with 0x00000803"),
        (TRAIN, COMPRESSED[:-20], "is truncated or broken"),
        (TRAIN, COMPRESSED[:5], "is truncated or broken"),
        (TRAIN, COMPRESSED[:40] + b"\xff" * 90, "is truncated or broken"),
        (TRAIN, COMPRESSED[:-8] + b"\0" * 8, "is truncated or broken"),
        (TRAIN, gzip.compress(GOOD[:-1], mtime=0), "has 799 bytes after its header"),
        (TRAIN, idx_bytes(IMAGES["train"][:39]), "has 39 images, but"),
        (TRAIN, idx_bytes(IMAGES["train"][:, :4]), "4 x 4 pixels, but those of t10k 5 x 4"),
        (TRAIN_LABELS, GOOD, "begins with 0x00000803, not with 0x00000801"),
        (TRAIN_LABELS, idx_bytes(LABELS["train"] + 1), "has the label 10; expected 0 to 9"),
        (TRAIN_LABELS, idx_bytes(LABELS["t10k"]), "has 20 labels; expected as many"),
    ],
)
def test_broken_files_are_refused_in_one_line(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("mnist", folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_with_gz_must_be_compressed(folder):
    (folder / TRAIN).rename(folder / f"{TRAIN}.gz")
    with pytest.raises(ValueError, match="is not compressed with gzip"):
        load("mnist", folder)


@pytest.mark.parametrize("file", [file for files in names().values() for file in files])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(ValueError, match=f"has no file {file}"):
        load("mnist", folder)


def test_every_flipped_byte_of_a_compressed_file_gives_one_line_or_an_image(tmp_path):
    path, content = tmp_path / "images.gz", COMPRESSED
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x55
        path.write_bytes(changed)
        try:
            assert idx.read(path, 3).shape == (40, 5, 4)
        except ValueError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
