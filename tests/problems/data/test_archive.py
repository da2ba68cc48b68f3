"""Data sets in .npz archives."""

import os
import pickle
import re

import numpy as np
import pytest

from problems.data import load

RANDOM = np.random.default_rng(2)
X = RANDOM.standard_normal((24, 3))
Y = np.arange(24) % 3 * 2 - 1  # classes -1, 1, 3
ONE_HOT = np.eye(3)[np.arange(24) % 3]


def rows(data):
    """Return what class each example has, both parts together."""
    x = np.concatenate([data.x, data.x_test])
    indices = np.concatenate([data.labels, data.labels_test]).argmax(axis=1)
    return {row.tobytes(): data.classes[index] for row, index in zip(x, indices, strict=True)}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"y": Y}, ("-1", "1", "3")),
        ({"labels": Y.astype(float)}, ("-1", "1", "3")),
        ({"y_train": Y[:, None]}, ("-1", "1", "3")),
        ({"y": np.array(["oak", "ash", "fir"])[(Y + 1) // 2]}, ("ash", "fir", "oak")),
        ({"y": ONE_HOT.astype(int)}, ("0", "1", "2")),
        ({"y": ONE_HOT.astype(bool)}, ("0", "1", "2")),
    ],
)
def test_labels_of_every_kind(tmp_path, labels, names):
    np.savez(tmp_path / "a.npz", x=X, **labels)
    data = load(str(tmp_path / "a.npz"))
    assert data.classes == names
    assert data.x.shape == (18, 3)
    assert data.x_test.shape == (6, 3)
    known = [{"ash": 1, "fir": 2, "oak": 0}.get(n, i) for i, n in enumerate(names)]
    expected = {x.tobytes(): names[known.index(i % 3)] for i, x in enumerate(X)}
    assert rows(data) == expected


@pytest.mark.parametrize(
    "keys", [("x", "y", "x_test", "y_test"), ("x_train", "y_train", "x_valid", "y_valid")]
)
def test_a_test_part_is_left_as_it_is(tmp_path, keys):
    arrays = dict(zip(keys, (X, Y, X[:5] + 1, Y[:5]), strict=True))
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    data = load(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(data.x, X)
    np.testing.assert_array_equal(data.x_test, X[:5] + 1)
    np.testing.assert_array_equal(data.labels, ONE_HOT)
    np.testing.assert_array_equal(data.labels_test, ONE_HOT[:5])


@pytest.mark.parametrize("shape", [(24, 4, 5), (24, 2, 4, 5)])
def test_bytes_are_pixels(tmp_path, shape):
    images = RANDOM.integers(0, 256, shape).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=Y, x_test=images[:3], y_test=Y[:3])
    data = load(str(tmp_path / "a.npz"))
    channels = 1 if len(shape) == 3 else 2
    np.testing.assert_array_equal(data.x, images.reshape(24, channels, 4, 5) / 255)
    np.testing.assert_array_equal(data.x_test, data.x[:3])


def changed(array, value):
    array = np.array(array, dtype=float)
    array.flat[4] = value
    return array


TEST = {"x_test": X[:5], "y_test": Y[:5]}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no array x or x_train, but none at all"),
        ({"X": X, "y": Y}, "has no array x or x_train, but X, y"),
        ({"x": X}, "has no array y or labels or y_train, but x"),
        ({"x": X, "y": Y, "labels": Y}, "has arrays y and labels; expected one of them"),
        ({"x": X, "y": Y, "x_test": X}, "has x_test, but no array y_test or labels_test"),
        ({"x": X, "y": Y, "y_test": Y}, "has y_test, but no array x_test"),
        ({"x": X, "y": Y[:20]}, "y has 20 labels for 24 examples"),
        ({"x": X[0], "y": Y}, "x is float64 of shape (3,); expected real numbers of shape"),
        ({"x": X[:0], "y": Y[:0]}, "x is float64 of shape (0, 3); expected"),
        ({"x": X * 1j, "y": Y}, "x is complex128 of shape (24, 3); expected"),
        ({"x": X.astype(str), "y": Y}, "expected real numbers of shape"),
        ({"x": changed(X, np.nan), "y": Y}, "x contains NaN or infinity"),
        ({"x": changed(X, np.inf), "y": Y}, "x contains NaN or infinity"),
        ({"x": X.astype(np.longdouble) * np.longdouble("1e4000"), "y": Y}, "x contains NaN or inf"),
        ({"x": X, "y": changed(Y, np.nan)}, "y has the label nan; expected whole numbers"),
        ({"x": X, "y": changed(Y, 0.25)}, "y has the label 0.25; expected whole numbers"),
        ({"x": X, "y": 0 * Y}, "y has labels of one class only"),
        ({"x": X, "y": 1e30 * Y}, "e+30; expected whole numbers below 2^53"),
        ({"x": X, "y": Y + 2.0**53}, "e+15; expected whole numbers below 2^53"),
        ({"x": X, "y": np.array(["a", "b\nc"])[Y % 2]}, r"has the label 'b\nc'; expected a name"),
        (
            {"x": X, "y": Y * 1j},
            "y is complex128 of shape (24,); expected a whole number",
        ),
        ({"x": X, "y": X}, "y is not one-hot"),
        ({"x": X, "y": 0 * ONE_HOT}, "y is not one-hot"),
        ({"x": X, "y": ONE_HOT[:, :, None]}, "y is float64 of shape (24, 3, 1); expected"),
        ({"x": X, "y": changed(Y, 7)}, "a class with fewer than two examples"),
        ({"x": X, "y": Y, **TEST, "x_test": X[:5, :2]}, "x_test is float64 of shape (5, 2), but x"),
        ({"x": X, "y": Y, **TEST, "y_test": Y[:5] + 1}, "y_test has the class 0, which y has not"),
        (
            {"x": X, "y": Y, **TEST, "y_test": ONE_HOT[:5]},
            "y_test is float64 of shape (5, 3), but",
        ),
        ({"x": X, "y": Y, **TEST, "y_test": Y[:5].astype(str)}, "expected examples of one kind"),
        (
            {"x": X.astype(np.uint8), "y": Y, **TEST},
            "x_test is float64 of shape (5, 3), but x uint8",
        ),
    ],
)
def test_wrong_arrays_are_refused_in_one_line(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_is_ever_unpickled(tmp_path):
    path, bomb = tmp_path / "a.npz", Bomb(tmp_path / "made")
    with pytest.raises(FileExistsError):  # so it does what the test relies on
        pickle.loads(pickle.dumps(Bomb(tmp_path)))
    np.savez(path, x=np.array([bomb] * 4, dtype=object), y=Y)
    with pytest.raises(ValueError, match=r"not a readable \.npz file \(`x` holds Python objects\)"):
        load(str(path))
    path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match=r"not a readable \.npz file \(it is no archive of arrays"):
        load(str(path))
    assert not bomb.folder.exists()


@pytest.mark.parametrize("length", [0, 1, 100, 400])
def test_truncated_archives_are_refused(tmp_path, length):
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"not a readable \.npz file") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        load(str(tmp_path / "none.npz"))
