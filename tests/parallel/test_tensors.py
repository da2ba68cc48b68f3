"""States that are tensors on many ranks: messages are staged through arrays of the host."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import registry
from modules import gradients, made
from solves import SOLVES, assert_same_numbers, numbers
from tensor_space import ACCURACY, on_a_device, tensor_predators

import pint

pytestmark = pytest.mark.layout

GRIDS = {"2-levels": (24, 4, 2), "3-levels-open": (23, [3, 2], 3)}


@pytest.mark.parametrize(
    ("solve", "grid", "dtype", "options"),
    [
        ("cycles", "2-levels", "float64", {"guess": "constant"}),
        ("cycles", "3-levels-open", "bfloat16", {}),
        ("lagged", "2-levels", "float32", {"relaxation": "F"}),
        ("to_tolerance", "3-levels-open", "float64", {"cycle": "F"}),
        ("interrupted", "2-levels", "float16", {}),
        ("marched", "3-levels-open", "float32", {}),
        ("cycles", "2-levels", "float64", {"storage": "C"}),
    ],
)
def test_numbers_are_those_of_one_rank(world, solve, grid, dtype, options):
    assert solve in SOLVES
    found = []
    for comm in (world, None):
        problem = tensor_predators(in_place=dtype == "float32", dtype=dtype)
        grid_of = pint.TimeGrid.uniform(1.0, *GRIDS[grid], comm=comm)
        rf = pint.ReducedFunctional(problem, grid_of, **options)
        control = registry.random_control(rf.controls, seed=1, deviation=0.3)
        with on_a_device():
            all_numbers = numbers(rf, solve, control)
        found.append([one for one in all_numbers if one[0] != "states"])
    tolerance = 1e-12 if dtype == "float64" else 2 * ACCURACY.get(dtype, 0.01)
    assert_same_numbers(*found, tolerance=tolerance)


@pytest.mark.parametrize("method", [pint.ReducedSpace(iterations=3), pint.OneShot(iterations=3)])
def test_runs_are_those_of_one_rank(world, method):
    runs = []
    for comm in (world, None):
        grid = pint.TimeGrid.uniform(1.0, 24, 4, 2, comm=comm)
        rf = pint.ReducedFunctional(tensor_predators(), grid)
        with on_a_device():
            result = pint.minimize(rf, rf.control(u=0.1, theta=0.4), method)
            runs.append((result.objective, result.control.gather()["u"], result.states()))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-11)
    np.testing.assert_allclose(runs[0][1], runs[1][1], atol=1e-9)
    if world.rank == 0:
        np.testing.assert_allclose(runs[0][2], runs[1][2], atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("levels", [1, 2])
def test_gradients_of_networks_are_those_of_autograd(world, dtype, levels):
    one, data = made("gated", states=dtype)
    rf = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=levels, comm=world))
    control = one.start(rf.controls, seed=3)
    value, expected = gradients(one.module(control), data)
    accuracy = {"float64": 1e-12, "float32": 1e-5}[dtype]
    with on_a_device():
        assert rf.value(control) == pytest.approx(value, rel=accuracy)
        derivative = rf.derivative(control).gather()
    for name, reference in expected.items():
        found = derivative[name].reshape(reference.shape)
        np.testing.assert_allclose(found, reference, atol=accuracy * np.abs(reference).max())
