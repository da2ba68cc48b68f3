"""Regularisers: values against plain sums on a non-uniform grid, derivatives exactly."""

import numpy as np
import pytest
from registry import random_control

import pint

GRIDS = {
    "uniform": pint.TimeGrid.uniform(2.0, 8),
    "non-uniform": pint.TimeGrid(np.cumsum([0.3, 0.1, 0.5, 0.2, 0.2, 1.0])),
    "one step": pint.TimeGrid([0.0, 0.7]),
}


def a_space(grid, metric="time"):
    return pint.ControlSpace(
        grid,
        weight=pint.TimeControl((2, 3), metric=metric),
        theta=pint.SharedControl((2, 2)),
        bias=pint.TimeControl(1),
    )


def tikhonov(control, gamma, fields):
    """Return ``gamma/2 (sum_n dt_n |u_n|^2 + |theta|^2)``."""
    dt = np.diff(control.space.grid.t)
    total = 0.0
    for name in fields:
        if name == "theta":
            total += (control[name] ** 2).sum()
        else:
            total += sum(dt[n] * (control[name][n] ** 2).sum() for n in range(len(dt)))
    return 0.5 * gamma * total


def smoothness(control, gamma, fields):
    """Return ``gamma/2 sum_{n>=1} h_n |(u_n - u_{n-1}) / h_n|^2``, h_n between midpoints."""
    t, total = control.space.grid.t, 0.0
    for name in fields:
        for n in range(1, len(t) - 1):
            h = (t[n] + t[n + 1]) / 2 - (t[n - 1] + t[n]) / 2
            total += h * (((control[name][n] - control[name][n - 1]) / h) ** 2).sum()
    return 0.5 * gamma * total


CASES = [
    (pint.Tikhonov, tikhonov, ["weight", "bias", "theta"]),
    (pint.Tikhonov, tikhonov, ["theta"]),
    (pint.Tikhonov, tikhonov, ["bias"]),
    (pint.Tikhonov, tikhonov, []),
    (pint.Smoothness, smoothness, ["weight", "bias"]),
    (pint.Smoothness, smoothness, ["bias"]),
    (pint.Smoothness, smoothness, []),
]


@pytest.mark.parametrize("metric", ["time", "euclidean"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("kind", "formula", "fields"), CASES)
def test_value_is_the_sum_of_its_definition(kind, formula, fields, grid, metric):
    control = random_control(a_space(grid, metric))
    expected = formula(control, 0.3, fields)
    assert kind(0.3, fields).value(control) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("kind", "formula", "fields"), CASES)
def test_derivative_of_a_quadratic_is_exact(kind, formula, fields, grid):
    """R quadratic: ``R(c + d) - R(c - d) = 2 dR(c) d`` for any d, however large."""
    space, regulariser = a_space(grid), kind(0.3, fields)
    control, direction = random_control(space, 1), random_control(space, 2)
    before = control.vector.copy()
    derivative = regulariser.derivative(control)
    difference = regulariser.value(control + direction) - regulariser.value(control - direction)
    scale = regulariser.value(control + direction) + regulariser.value(control - direction)
    assert abs(2 * space.pair(derivative, direction) - difference) <= 1e-13 * scale
    np.testing.assert_array_equal(control.vector, before)
    for name in set(space.fields) - set(fields):
        assert not derivative[name].any()


def test_a_constant_control_is_smooth():
    space = a_space(GRIDS["non-uniform"])
    control = space.control(weight=2.0, bias=-1.0)
    regulariser = pint.Smoothness(1.0, ["weight", "bias"])
    assert regulariser.value(control) == 0.0
    assert not regulariser.derivative(control).vector.any()


@pytest.mark.parametrize("kind", [pint.Tikhonov, pint.Smoothness])
@pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf])
def test_error_names_gamma(kind, gamma):
    with pytest.raises(ValueError, match=f"{kind.__name__}.gamma="):
        kind(gamma, ["u"])


@pytest.mark.parametrize(
    ("regulariser", "message"),
    [
        (pint.Tikhonov(1.0, ["other"]), "Tikhonov.*fields=.*`other`"),
        (pint.Smoothness(1.0, ["other"]), "Smoothness.*fields=.*`other`"),
        (pint.Smoothness(1.0, ["theta"]), "Smoothness.*fields=.*`theta`"),
    ],
)
@pytest.mark.parametrize("method", ["value", "derivative"])
def test_error_names_a_field_that_it_cannot_act_on(regulariser, message, method):
    control = a_space(GRIDS["uniform"]).zeros()
    with pytest.raises(ValueError, match=message):
        getattr(regulariser, method)(control)
