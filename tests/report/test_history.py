"""Histories: the columns of nested rows, arrays over the rows, files that read back exactly."""

import csv
import os
from dataclasses import dataclass, field, make_dataclass

import numpy as np
import pytest

import pint
from pint.report.history import as_arrays, columns, write_csv


@dataclass(frozen=True)
class Row:
    iteration: int
    objective: float
    terms: dict = field(default_factory=dict)
    steps_by_level: tuple = ()
    status: str = "running"


def rows(values):
    return [
        Row(i, value, {"cost": value / 3, "tikhonov": 0.5 * value}, (12 * i, 3 * i))
        for i, value in enumerate(values)
    ]


AWKWARD = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789)
NAMES = [
    "iteration",
    "objective",
    "terms_cost",
    "terms_tikhonov",
    "steps_by_level_0",
    "steps_by_level_1",
    "status",
]


def test_columns_in_the_order_of_the_fields():
    row = Row(4, 0.5, {"cost": 0.25, "tikhonov": 0.75}, (12, 3))
    assert list(columns(row).items()) == list(
        zip(NAMES, [4, 0.5, 0.25, 0.75, 12, 3, "running"], strict=True)
    )


def test_columns_of_an_iterate_are_its_fields():
    iterate = pint.optimise.Iterate
    made = iterate(**{name: 1 for name in iterate.__dataclass_fields__})
    assert list(columns(made)) == list(iterate.__dataclass_fields__)


def test_numbers_of_numpy_are_plain_numbers():
    row = Row(np.int64(3), np.float64(0.1), {"cost": np.float32(0.1)}, (np.bool_(True),))
    plain = columns(row)
    assert [type(value) for value in plain.values()] == [int, float, float, bool, str]
    assert plain["terms_cost"] == float(np.float32(0.1))


def test_arrays_hold_the_numbers_with_their_types():
    arrays = pint.history_arrays(rows(AWKWARD))
    assert list(arrays) == NAMES
    np.testing.assert_array_equal(arrays["objective"], AWKWARD)
    assert arrays["steps_by_level_0"].tolist() == [12 * i for i in range(len(AWKWARD))]
    assert arrays["iteration"].dtype.kind == "i"
    assert arrays["objective"].dtype == np.float64


@pytest.mark.parametrize("convert", [float, np.float64])
def test_a_file_reads_back_bit_by_bit(tmp_path, convert):
    path = tmp_path / "history.csv"
    pint.write_history(path, rows([convert(value) for value in (*AWKWARD, np.nan, np.inf)]))
    with open(path, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == NAMES
    back = np.array([float(row["objective"]) for row in table])
    assert back.tobytes() == np.array([*AWKWARD, np.nan, np.inf]).tobytes()
    thirds = np.array([float(row["terms_cost"]) for row in table[:2]])
    assert thirds.tolist() == [0.1 / 3, 1 / 3 / 3]
    assert [row["iteration"] for row in table] == [str(i) for i in range(8)]


def test_dictionaries_in_another_order_are_the_same_columns():
    history = [Row(0, 0.0, {"a": 1.0, "b": 2.0}), Row(1, 0.0, {"b": 4.0, "a": 3.0})]
    assert as_arrays(history)["terms_a"].tolist() == [1.0, 3.0]
    assert as_arrays(history)["terms_b"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([], "`history` must have at least one row"),
        ([Row(0, 1.0, {"cost": 1.0}), Row(1, 1.0, {"tikhonov": 1.0})], "row 1.*terms_tikhonov"),
        ([Row(0, 1.0, {}, (1, 2)), Row(1, 1.0, {}, (1,))], "row 1.*steps_by_level_1"),
    ],
)
def test_rows_that_make_no_table(tmp_path, history, words):
    path = tmp_path / "history.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=words):
        as_arrays(history)
    with pytest.raises(ValueError, match=words):
        write_csv(path, history)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["history.csv"]


@pytest.mark.parametrize("value", [None, 1j, [1.0], np.ones(2)], ids=repr)
def test_a_value_that_fits_no_column(value):
    with pytest.raises(TypeError, match="terms_cost"):
        columns(Row(0, 1.0, {"cost": value}))


def test_two_columns_of_one_name():
    clash = make_dataclass("Clash", ["terms", "terms_cost"], frozen=True)
    with pytest.raises(ValueError, match="`Clash` has two columns `terms_cost`"):
        columns(clash({"cost": 1.0}, 2.0))
