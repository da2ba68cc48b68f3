"""Indian Pines' pair of files: small genuine ones, and broken ones."""

import re

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from problems.data import indian_pines, load

RANDOM = np.random.default_rng(1)
GROUND_TRUTH = RANDOM.integers(0, 4, (12, 9)).astype(np.uint8)  # classes 1 to 3
CUBE = RANDOM.integers(900, 9000, (12, 9, 6)).astype(np.uint16)
CUBE[:, :, 4] = 1234  # a constant band
CORRECTED, PLAIN, MAP = "Indian_pines_corrected.mat", "Indian_pines.mat", "Indian_pines_gt.mat"


def write(folder, cube=CUBE, ground_truth=GROUND_TRUTH, file=CORRECTED, **options):
    scipy.io.savemat(folder / file, {file[:-4].lower(): cube}, **options)
    scipy.io.savemat(folder / MAP, {"indian_pines_gt": ground_truth}, **options)


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "5"}])
@pytest.mark.parametrize("file", [CORRECTED, PLAIN])
def test_labelled_pixels_become_normalised_examples(tmp_path, file, options):
    write(tmp_path, file=file, **options)
    data = load("indian-pines", tmp_path, test_fraction=0.3)
    count = int((GROUND_TRUTH > 0).sum())
    assert data.x.shape == (count - round(0.3 * count), 6)
    assert data.x_test.shape == (round(0.3 * count), 6)
    assert data.labels.shape[1] == len(data.classes) == 16

    # Undo the normalisation with the training pixels, found by a plain loop over the scene.
    scene = {CUBE[i, j].tobytes(): int(GROUND_TRUTH[i, j]) for i in range(12) for j in range(9)}
    raw = indian_pines.read_folder(tmp_path).dataset(None, None, 0.3, 0)
    for x, labels in ((raw.x, raw.labels), (raw.x_test, raw.labels_test)):
        for pixel, label in zip(x, labels, strict=True):
            assert scene.pop(pixel.astype(np.uint16).tobytes()) == label.argmax() + 1
    assert set(scene.values()) == {0}  # each labelled pixel in one part, once
    other = np.arange(6) != 4
    mean, deviation = raw.x.mean(axis=0), raw.x.std(axis=0)
    expected = ((raw.x_test - mean)[:, other]) / deviation[other]
    np.testing.assert_allclose(data.x_test[:, other], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(data.x[:, other].mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(data.x[:, other].std(axis=0), 1, rtol=1e-13)
    np.testing.assert_array_equal(data.x[:, 4], 0)
    np.testing.assert_array_equal(data.x_test[:, 4], 0)


def test_the_corrected_cube_is_preferred(tmp_path):
    write(tmp_path)
    write(tmp_path, cube=CUBE[:, :, :3], file=PLAIN)
    assert load("indian-pines", tmp_path).x.shape[1] == 6


def with_value(array, value):
    array = array.astype(float)
    array.flat[7] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cube": CUBE[:, :8]}, "has 12 x 8 pixels, but"),
        ({"cube": CUBE[:, :, 0]}, "u2, of shape (12, 9); expected real numbers in 3 dimensions"),
        ({"cube": CUBE * 1j}, "complex, of shape (12, 9, 6); expected real numbers"),
        ({"cube": "spectra"}, "expected real numbers in 3 dimensions"),
        ({"cube": {"nested": CUBE}}, "expected real numbers in 3 dimensions"),
        ({"cube": CUBE.astype(object)}, "expected real numbers in 3 dimensions"),
        ({"cube": CUBE[:, :, :0]}, "expected real numbers in 3 dimensions"),
        ({"cube": with_value(CUBE, np.nan)}, "contains NaN or infinity"),
        ({"cube": with_value(CUBE, -np.inf)}, "contains NaN or infinity"),
        ({"ground_truth": CUBE}, "expected real numbers in 2 dimensions"),
        (
            {"ground_truth": scipy.sparse.csc_matrix(GROUND_TRUTH.astype(float))},
            "expected real numbers in 2 dimensions",
        ),
        (
            {"ground_truth": with_value(GROUND_TRUTH, 17)},
            "has the class 17; expected 0 (none)",
        ),
        ({"ground_truth": with_value(GROUND_TRUTH, -1)}, "has the class -1; expected"),
        ({"ground_truth": with_value(GROUND_TRUTH, 1.5)}, "has the class 1.5; expected"),
        ({"ground_truth": with_value(GROUND_TRUTH, np.nan)}, "has the class nan; expected"),
        ({"ground_truth": 0 * GROUND_TRUTH}, "has no pixel of a class"),
        ({"ground_truth": 1.0 * (GROUND_TRUTH > 0)}, "has pixels of one class only"),
        ({"ground_truth": with_value(GROUND_TRUTH, 9)}, "a class with fewer than two examples"),
    ],
)
def test_wrong_content_is_refused_in_one_line(tmp_path, arguments, message):
    write(tmp_path, **arguments)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("indian-pines", tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", [CORRECTED, MAP])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a MATLAB file of version 5 to 7"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "is not a MATLAB file of version 5"),
        (b"not a matrix\n" * 60, "is not a MATLAB file of version 5 to 7"),
        (
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(384),
            "is a MATLAB file of version 7.3 (HDF5); expected version 5 to 7",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, file, content, message):
    write(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("indian-pines", tmp_path)
    assert str(tmp_path / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_variables_are_named(tmp_path):
    with pytest.raises(ValueError, match=f"has no {CORRECTED} or {PLAIN}"):
        load("indian-pines", tmp_path)
    write(tmp_path)
    (tmp_path / CORRECTED).rename(tmp_path / PLAIN)
    message = "no variable indian_pines, but indian_pines_corrected"
    with pytest.raises(ValueError, match=message):
        load("indian-pines", tmp_path)
    scipy.io.savemat(tmp_path / PLAIN, {})
    with pytest.raises(ValueError, match="no variable indian_pines, but none at all"):
        load("indian-pines", tmp_path)
    write(tmp_path)
    (tmp_path / MAP).unlink()
    with pytest.raises(ValueError, match=f"{MAP} cannot be read: No such file"):
        load("indian-pines", tmp_path)
