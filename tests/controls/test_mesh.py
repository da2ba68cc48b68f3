"""Controls on a coarser time mesh against explicit coefficients."""

from dataclasses import replace

import numpy as np
import pytest
from linear_quadratic import DOUBLE_INTEGRATOR

import pint

T = np.linspace(0.0, 1.0, 21) ** 1.2


def basis(t, every, interpolate):
    """Return B by its definition, column by column."""
    steps = len(t) - 1
    if interpolate == "constant":
        return np.eye(-(-steps // every))[np.arange(steps) // every]
    nodes = t[[*range(0, steps, every), steps]]
    middle = 0.5 * (t[1:] + t[:-1])
    return np.stack([np.interp(middle, nodes, hat) for hat in np.eye(len(nodes))], axis=1)


MESHES = [(2, "constant"), (3, "constant"), (20, "constant"), (2, "linear"), (6, "linear")]


@pytest.mark.parametrize(("every", "interpolate"), MESHES)
@pytest.mark.parametrize("metric", ["time", "euclidean"])
def test_gradient_and_coefficients(every, interpolate, metric):
    field = pint.TimeControl(2, metric=metric, every=every, interpolate=interpolate)
    space = pint.ControlSpace(pint.TimeGrid(T), u=field)
    B = basis(T, every, interpolate)
    random = np.random.default_rng(0)
    coefficients = random.standard_normal((B.shape[1], 2))
    control = space.control(u=coefficients)
    np.testing.assert_allclose(control["u"], B @ coefficients, atol=1e-13)
    derivative = pint.Control(space, random.standard_normal(space.size))
    gradient = space.riesz(derivative)
    # (g, v) = <dJ, v> for all v of the subspace, and g lies in it
    assert space.inner(gradient, control) == pytest.approx(space.pair(derivative, control))
    again = space.control(u=gradient["u"])
    np.testing.assert_allclose(again.vector, gradient.vector, atol=1e-12)


def controlled_by(field, grid):
    """Return the double integrator with another control field."""
    return pint.ReducedFunctional(replace(DOUBLE_INTEGRATOR.problem(), controls={"u": field}), grid)


@pytest.mark.parametrize(("every", "interpolate"), MESHES)
@pytest.mark.parametrize("levels", [1, 2])
def test_optimum_is_that_over_the_coefficients(every, interpolate, levels):
    field = pint.TimeControl(1, every=every, interpolate=interpolate)
    functional = controlled_by(field, pint.TimeGrid(T, coarsening=4, levels=levels))
    result = pint.minimize(functional, method=pint.ReducedSpace(gradient_tolerance=1e-9))
    H, g, J0 = DOUBLE_INTEGRATOR.quadratic_form(T)
    B = basis(T, every, interpolate)
    reduced = B.T @ H @ B
    expected = J0 - 0.5 * (B.T @ g) @ np.linalg.solve(reduced, B.T @ g)
    assert result.objective == pytest.approx(expected, rel=1e-11)


def test_bounds_hold_on_constant_pieces():
    field = pint.TimeControl(1, lower=-1.0, upper=2.0, every=4)
    result = pint.minimize(controlled_by(field, pint.TimeGrid(T)))
    pieces = result.control["u"].reshape(5, 4)
    assert (np.ptp(pieces, axis=1) < 1e-12).all()
    assert pieces.max() == 2.0
    assert result.gradient_norm < 1e-8


def test_problems_pass_the_checks_with_it():
    field = pint.TimeControl(1, every=3, interpolate="linear")
    functional = controlled_by(field, pint.TimeGrid(T, coarsening=2, levels=2))
    assert pint.verify.taylor_test(functional, functional.control(u=0.3)).passed


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"every": 0}, "every"),
        ({"every": 1.5}, "every"),
        ({"every": 2, "interpolate": "cubic"}, "interpolate"),
        ({"interpolate": "linear"}, "every"),
        ({"every": 2, "interpolate": "linear", "lower": 0.0}, "lower"),
    ],
)
def test_wrong_arguments(options, name):
    with pytest.raises(ValueError, match=name):
        pint.TimeControl(1, **options)


def test_hat_functions_need_two_steps():
    field = pint.TimeControl(1, every=2, interpolate="linear")
    with pytest.raises(ValueError, match="interpolate"):
        pint.ControlSpace(pint.TimeGrid([0.0, 1.0]), u=field)


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_saved_control_is_never_taken_for_coefficients(tmp_path, steps):
    """Hat functions on two or three steps have as many coefficients as there are steps."""
    grid = pint.TimeGrid.uniform(1.0, steps)
    space = pint.ControlSpace(grid, u=pint.TimeControl(1, every=2, interpolate="linear"))
    coefficients = np.arange(1.0, space.meshes["u"].coefficients + 1)[:, None]
    control = space.control(u=coefficients)
    control.save(tmp_path / "control.npz")
    loaded = space.load(tmp_path / "control.npz")
    np.testing.assert_allclose(loaded["u"], control["u"], rtol=1e-14)
    np.testing.assert_array_equal(space.scatter(control.gather()).vector, control.vector)
