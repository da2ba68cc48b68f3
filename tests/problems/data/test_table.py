"""Data sets in CSV files."""

import re

import numpy as np
import pytest

from problems.data import load, table

FEATURES = np.round(np.random.default_rng(3).standard_normal((8, 3)), 3)
NAMES = ["oak", "ash"] * 4


def lines(label=3, names=NAMES):
    """Return the rows of a table with the labels in one column."""
    rows = [[repr(float(value)) for value in row] for row in FEATURES]
    for row, name in zip(rows, names, strict=True):
        row.insert(label, str(name))
    return [",".join(row) for row in rows]


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("before", "end", "encoding"),
    [
        ("", "\n", "utf-8"),
        ("a,b,c,kind\n", "\n", "utf-8"),
        ("1,2,3,kind\n", "\n", "utf-8"),  # a header of numbers, but the labels are numbers below it
        ('"a","b, long","c","kind"\r\n', "\r\n", "utf-8"),
        ("\n a , b , c , kind \n\n", "\n\n", "utf-8"),
        ("a,b,c,kind\n", "\n", "utf-8-sig"),
        ('"a\nand more",b,c,kind\n', "\n", "utf-8"),
    ],
)
def test_header_or_none(tmp_path, before, end, encoding):
    names = [0, 10, 2, 2, 10, 0, 2, 0] if "1,2" in before else NAMES
    path = write(tmp_path, before + end.join(lines(names=names)) + end, encoding)
    examples = table.read(path)
    np.testing.assert_array_equal(examples.x, FEATURES)
    found = [examples.names[index] for index in examples.indices]
    assert found == [str(name) for name in names]
    assert examples.names == (("0", "2", "10") if "1,2" in before else ("ash", "oak"))


@pytest.mark.parametrize("column", [0, 1, 3])
def test_labels_in_a_named_column(tmp_path, column):
    names = ["7", "8"]
    header = ["a", "b", "c"]
    header.insert(column, "kind")
    text = "\n".join([",".join(header), *lines(column, ["1.0", "2"] * 4)])
    examples = table.read(write(tmp_path, text), "kind")
    np.testing.assert_array_equal(examples.x, FEATURES)
    np.testing.assert_array_equal(examples.indices, [0, 1] * 4)
    assert examples.names == ("1", "2") != names


def test_quoted_labels_with_commas(tmp_path):
    path = write(tmp_path, "\n".join(lines(names=['"oak, red"', "ash "] * 4)))
    assert table.read(path).names == ("ash", "oak, red")


def test_load_splits_the_rows(tmp_path):
    path = write(tmp_path, "\n".join(lines()))
    data = load(str(path), test_examples=2)
    assert data.x.shape == (6, 3)
    np.testing.assert_array_equal(data.labels_test.sum(axis=0), [1, 1])
    assert data.classes == ("ash", "oak")
    rows = {row.tobytes(): name for row, name in zip(FEATURES, NAMES, strict=True)}
    assert [rows[row.tobytes()] for row in data.x] == [
        data.classes[i] for i in data.labels.argmax(axis=1)
    ]


HEADER, *ROWS = ["a,b,c,kind", *lines()]


def broken(number, old, new):
    rows = list(ROWS)
    assert old in rows[number]
    rows[number] = rows[number].replace(old, new, 1)
    return "\n".join([HEADER, *rows])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 0 has 0 cell(s), expected at least 2"),
        ("\n\n", "expected at least 2"),
        ("1\n2\n", "line 1 has 1 cell(s), expected at least 2"),
        ("1;2;a\n3;4;b\n", "line 1 has 1 cell(s), expected at least 2"),
        (HEADER, "there is no row below its header"),
        (f"{HEADER}\n\n", "there is no row below its header"),
        (broken(2, ",", ",1.0,"), "line 4 has 5 cells, expected 4"),
        (broken(2, ",", ""), "line 4 has 3 cells, expected 4"),
        (broken(7, ",", ""), "line 9 has 3 cells, expected 4"),
        (broken(4, ROWS[4].split(",")[1], "much"), "line 6, column 2: 'much' is no number"),
        (broken(4, ROWS[4].split(",")[1], ""), "line 6, column 2: '' is no number"),
        (broken(4, ROWS[4].split(",")[0], "1_000"), "no CSV file of numbers and labels"),
        (broken(4, ROWS[4].split(",")[1], "nan"), "contains NaN or infinity"),
        (broken(4, ROWS[4].split(",")[1], "1e999"), "contains NaN or infinity"),
        (broken(3, "ash", ""), "has an empty label"),
        ("\n".join(["1,much,2,oak", *ROWS]), "line 1, column 2: 'much' is no number"),
        ("\n".join(lines(names=[0.5, 1] * 4)), "has the label 0.5; expected whole numbers"),
        ("\n".join(lines(names=["nan", 1] * 4)), "has the label nan; expected whole numbers"),
        ("\n".join(lines(names=["oak"] * 8)), "has labels of one class only"),
        ("\n".join(lines(names=["oak" * 27, "ash"] * 4)), "a label is longer than 80 characters"),
        ("\n".join(lines(names=["fir", *NAMES[1:]])), "a class with fewer than two examples"),
        ("\0" * 50, "no CSV file of numbers and labels"),
        ('"' + "1," * 200_000, "no CSV file of numbers and labels"),
    ],
)
def test_broken_tables_are_refused_in_one_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        load(str(path))
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        load(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(("label", "count"), [("sort", 0), ("a", 2)])
def test_the_column_of_the_labels_must_be_there_once(tmp_path, label, count):
    path = write(tmp_path, "\n".join(["a,b,a,kind", *ROWS]))
    with pytest.raises(ValueError, match=f"its header names {count} columns '{label}'"):
        load(str(path), label=label)
