"""Data for a network that has been trained: all examples of a file, with labels or without."""

import re

import numpy as np
import pytest

from problems.data import read_file

X = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 12))
LABELS = np.array([2, 0, 1, 1, 0, 2])
CLASSES = ("a", "b", "c")
NAMES = np.array(CLASSES)[LABELS]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, None),
        ({"y": LABELS}, LABELS),
        ({"labels": LABELS[:, None].astype(float)}, LABELS),
        ({"y": np.eye(3)[LABELS]}, LABELS),
        ({"y": NAMES}, LABELS),
        ({"y": np.full(6, "b")}, np.ones(6)),
    ],
    ids=["none", "numbers", "column", "one-hot", "names", "one class"],
)
@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 3, 4)], ids=str)
@pytest.mark.parametrize("wanted", [(12,), (1, 3, 4)], ids=str)
def test_archives(stored, expected, shape, wanted, tmp_path):
    np.savez(tmp_path / "new.npz", x=X.reshape(6, *shape), **stored)
    x, labels = read_file(tmp_path / "new.npz", wanted, CLASSES)
    np.testing.assert_array_equal(x, X.reshape(6, *wanted))
    assert x.dtype == np.float64
    if expected is None:
        assert labels is None
    else:
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("labels", [np.eye(3)[LABELS], LABELS + 1], ids=["one-hot", "names"])
def test_names_that_are_numbers(labels, tmp_path):
    """The columns of one-hot rows are no names."""
    np.savez(tmp_path / "new.npz", x=X, y=labels)
    _, found = read_file(tmp_path / "new.npz", (12,), ("1", "2", "3"))
    np.testing.assert_array_equal(found, LABELS)


def test_bytes_are_pixels(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "new.npz", x=pixels)
    x, _ = read_file(tmp_path / "new.npz", (1, 3, 4), CLASSES)
    np.testing.assert_array_equal(x[:, 0], pixels / 255.0)


def test_both_parts_of_an_archive(tmp_path):
    parts = {"x_train": X[:4], "y_train": LABELS[:4], "x_test": X[4:]}
    np.savez(tmp_path / "new.npz", **parts)
    x, labels = read_file(tmp_path / "new.npz", (12,), CLASSES)
    np.testing.assert_array_equal(x, X)
    assert labels is None
    np.savez(tmp_path / "new.npz", **parts, y_test=LABELS[4:])
    np.testing.assert_array_equal(read_file(tmp_path / "new.npz", (12,), CLASSES)[1], LABELS)
    np.savez(tmp_path / "new.npz", x_test=X)
    np.testing.assert_array_equal(read_file(tmp_path / "new.npz", (12,), CLASSES)[0], X)


def rows(x, labels=None, place=12):
    cells = [[repr(float(value)) for value in row] for row in x]
    for row, label in zip(cells, [] if labels is None else labels, strict=False):
        row.insert(place, str(label))
    return "".join(",".join(row) + "\n" for row in cells)


HEAD = ",".join(f"band{index}" for index in range(12))


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        (rows(X), None, None),
        (f"{HEAD}\n{rows(X)}", None, None),
        (rows(X, LABELS), None, LABELS),
        (rows(X, NAMES), None, LABELS),
        (f"{HEAD},kind\n{rows(X, NAMES)}", None, LABELS),
        (f"kind,{HEAD}\n{rows(X, LABELS, 0)}", "kind", LABELS),
        (rows(X, np.full(6, 2)), None, np.full(6, 2)),
    ],
)
@pytest.mark.parametrize("wanted", [(12,), (1, 3, 4)], ids=str)
def test_tables(text, column, expected, wanted, tmp_path):
    (tmp_path / "new.csv").write_text(text)
    x, labels = read_file(tmp_path / "new.csv", wanted, CLASSES, column)
    np.testing.assert_array_equal(x, X.reshape(6, *wanted))
    if expected is None:
        assert labels is None
    else:
        np.testing.assert_array_equal(labels, expected)


def test_a_table_of_one_feature(tmp_path):
    (tmp_path / "new.csv").write_text("1.5\n2.5\n")
    x, labels = read_file(tmp_path / "new.csv", (1,), CLASSES)
    np.testing.assert_array_equal(x, [[1.5], [2.5]])
    assert labels is None


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("new.npz", {"x": X[:, :5]}, None, "has examples of shape (5,); expected (1, 3, 4)"),
        ("new.npz", {"x": X.reshape(6, 1, 4, 3)}, None, "has examples of shape (1, 4, 3)"),
        ("new.npz", {"z": X}, None, "has no array x or x_train, but z"),
        ("new.npz", {"y": LABELS}, None, "has no array x or x_train, but y"),
        ("new.npz", {"x": X, "y": LABELS[:4]}, None, "y has 4 labels for 6 examples"),
        ("new.npz", {"x": X, "x_test": X[:, :5]}, None, "expected examples of one kind"),
        ("new.npz", {"x": X, "y": np.eye(4)[LABELS]}, None, "one-hot rows of 4 classes; expected"),
        ("new.npz", {"x": X, "y": LABELS + 1}, None, "has the label '1'; expected names"),
        ("new.npz", {"x": X, "y": np.full(6, "d")}, None, "has the label 'd'; expected names"),
        ("new.npz", {"x": np.full((2, 12), np.nan)}, None, "NaN or infinity"),
        ("new.npz", {"x": X}, "kind", "`label` names a column of a CSV file"),
        ("new.csv", rows(X[:, :5]), None, "line 1 has 5 cell(s), expected 12 numbers"),
        ("new.csv", rows(X, LABELS), "kind", "its header names 0 columns 'kind'"),
        ("new.csv", f"{HEAD}\n{rows(X)}", "band3", "has 12 cell(s), expected 12 numbers and a"),
        ("new.csv", f"{HEAD}\n", None, "no row below its header"),
        ("new.csv", rows(X).replace("0", "o", 1), None, "is no number"),
        ("new.csv", None, None, "cannot be read"),
        ("new.npz", None, None, "cannot be read"),
    ],
)
def test_files_that_do_not_fit(name, content, column, message, tmp_path):
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    elif content is not None:
        np.savez(tmp_path / name, **content)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        read_file(tmp_path / name, (1, 3, 4), CLASSES, column)
    assert "\n" not in str(raised.value)
