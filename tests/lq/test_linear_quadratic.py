"""The data of linear-quadratic problems: what is checked, and what may be left out."""

import numpy as np
import pytest
import quadratic

from pint.lq import LinearQuadratic, SharedParameters, solve


def with_one(array, value):
    """Return a copy of an array with another first number."""
    array = array.copy()
    array.flat[0] = value
    return array


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("A", lambda a: a[:, :, :1], r"LinearQuadratic\(A=.*shape \(N, n, n\) = \(5, 1, 1\)"),
        ("A", lambda a: None, r"LinearQuadratic\(A=.*matrices with n >= 1 columns.*None"),
        ("B", lambda b: b[:4], r"LinearQuadratic\(B=.*or that of one step, got \(4, 3, 2\)"),
        ("Q_end", lambda q: q[:2], r"LinearQuadratic\(Q_end=.* = \(3, 3\), got \(2, 3\)"),
        (
            "R",
            lambda r: with_one(r, np.nan),
            r"LinearQuadratic\(R=.*finite, got nan at \[0, 0, 0\]",
        ),
        ("d", lambda d: with_one(d, -np.inf), r"LinearQuadratic\(d=.*finite, got -inf at \[0, 0\]"),
        (
            "R",
            lambda r: r + np.array([[0, 1e-6], [0, 0]]),
            r"LinearQuadratic\(R=.*symmetric.*1e-06",
        ),
        ("Q_end", lambda q: q + np.triu(np.ones((3, 3)), 1), r"LinearQuadratic\(Q_end=.*symmetric"),
        ("initial", lambda x: np.ones(4), r"LinearQuadratic\(initial=.*\(n\) = \(3,\), got \(4,\)"),
    ],
)
def test_wrong_arrays(name, change, message):
    arrays, _ = quadratic.data(1, 5, 3, 2)
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=message):
        LinearQuadratic(**arrays)


@pytest.mark.parametrize("value", ["x", 1j * np.eye(3), [[1, 2], [3]]])
def test_what_is_no_array_of_real_numbers(value):
    arrays, _ = quadratic.data(1, 5, 3, 2)
    with pytest.raises(TypeError, match=r"LinearQuadratic\(Q=...\)` must hold real numbers"):
        LinearQuadratic(**arrays | {"Q": value})


def test_wrong_parameters():
    arrays, shared = quadratic.data(1, 5, 3, 2, 2)
    with pytest.raises(ValueError, match=r"parameters.C=.*\(N, n, p\) = \(5, 3, 2\)"):
        LinearQuadratic(**arrays, parameters=SharedParameters(**shared | {"C": np.ones((3, 3))}))
    with pytest.raises(ValueError, match=r"parameters.T=.*symmetric"):
        LinearQuadratic(**arrays, parameters=SharedParameters(T=[[1, 2], [0, 1]]))
    with pytest.raises(TypeError, match=r"LinearQuadratic\(parameters=...\)` must be"):
        LinearQuadratic(**arrays, parameters=shared)
    free = arrays | {"initial": None}
    with pytest.raises(ValueError, match=r"parameters.C_initial=.*give `initial`, too"):
        LinearQuadratic(**free, parameters=SharedParameters(**shared))


def test_steps_that_are_all_alike():
    """The same solution as with an array for each step; the number of steps must be given."""
    arrays, shared = quadratic.data(3, 6, 3, 2, 2)
    alike = {
        key: value[0] if key in quadratic.OVER_STEPS else value for key, value in arrays.items()
    }
    parts = {k: v[0] if k in quadratic.SHARED_OVER_STEPS else v for k, v in shared.items()}
    with pytest.raises(ValueError, match=r"`LinearQuadratic\(steps=...\)` is needed"):
        LinearQuadratic(**alike)
    short = LinearQuadratic(**alike, parameters=SharedParameters(**parts), steps=6)
    full = {k: np.stack([v] * 6) if k in quadratic.OVER_STEPS else v for k, v in alike.items()}
    parts = {
        k: np.stack([v] * 6) if k in quadratic.SHARED_OVER_STEPS else v for k, v in parts.items()
    }
    long = LinearQuadratic(**full, parameters=SharedParameters(**parts))
    np.testing.assert_array_equal(solve(short).u, solve(long).u)
    with pytest.raises(ValueError, match=r"LinearQuadratic\(steps=...\)` must be an integer >= 0"):
        LinearQuadratic(**alike, steps=2.5)


def test_what_is_left_out_is_zero():
    arrays, _ = quadratic.data(4, 6, 2, 1)
    needed = {name: arrays[name] for name in ("A", "B", "Q", "R", "initial")}
    zero = {name: 0 * value for name, value in arrays.items() if name not in needed}
    np.testing.assert_array_equal(
        solve(LinearQuadratic(**needed)).x, solve(LinearQuadratic(**needed, **zero)).x
    )


def test_rounding_errors_of_a_symmetric_matrix_do_not_matter():
    arrays, _ = quadratic.data(5, 6, 3, 2)
    rounding = 1e-15 * np.triu(np.ones((3, 3)), 1)
    problem = LinearQuadratic(**arrays | {"Q": arrays["Q"] * (1 + rounding)})
    np.testing.assert_array_equal(problem.Q, np.swapaxes(problem.Q, 1, 2))
    np.testing.assert_allclose(problem.Q, arrays["Q"], rtol=1e-14)
