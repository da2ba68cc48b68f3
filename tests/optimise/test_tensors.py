"""Optimisation with states that are tensors: the runs of numpy arrays, without numpy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import registry
from tensor_space import on_a_device, pair, tensor_predators

import pint

GRID = pint.TimeGrid.uniform(1.0, 24, coarsening=3, levels=2)
METHODS = {
    "reduced": (pint.ReducedSpace(iterations=3), "float64"),
    "one-shot": (pint.OneShot(2, iterations=3), "float64-in-place-loop"),
    "lagged": (pint.Lagged(iterations=3), "float64"),
    "adaptive": (pint.Adaptive(iterations=3), "float64-in-place-loop"),
    "scipy": (pint.External("scipy:L-BFGS-B", iterations=3), "float64"),
}


def functional(problem, **options):
    return pint.ReducedFunctional(problem, GRID, **options)


def start(rf):
    return registry.random_control(rf.controls, seed=1, deviation=0.3)


@pytest.mark.parametrize("name", METHODS)
def test_runs_are_those_of_numpy_arrays(name):
    method, case = METHODS[name]
    tensors, arrays = map(functional, pair(case))
    with on_a_device():
        found = pint.minimize(tensors, start(tensors), method)
        states = found.states()
    expected = pint.minimize(arrays, start(arrays), method)
    assert found.iterations == expected.iterations == 3
    assert found.objective == pytest.approx(expected.objective, rel=1e-11)
    np.testing.assert_allclose(found.control.vector, expected.control.vector, atol=1e-8)
    assert type(states) is np.ndarray
    np.testing.assert_allclose(states, expected.states(), atol=1e-8)


@pytest.mark.filterwarnings("ignore::pint.ConvergenceWarning")  # of gradients in bfloat16
@pytest.mark.parametrize(("dtype", "accuracy"), [("float32", 1.2e-7), ("bfloat16", 0.0078)])
def test_lower_precision_ends_near_the_optimum(dtype, accuracy):
    """A descent cannot tell apart values that differ by less than the rounding of their type."""
    found, best = (
        pint.minimize(rf, start(rf), pint.ReducedSpace(iterations=15))
        for rf in (
            functional(tensor_predators(dtype=dtype)),
            functional(tensor_predators()),
        )
    )
    exact = functional(tensor_predators())
    value = exact.value(exact.control(**found.control.gather()))
    assert value == pytest.approx(best.objective, rel=accuracy)
    assert found.objective == pytest.approx(best.objective, rel=0.03)
    assert exact.value(start(exact)) > 1.1 * best.objective


def test_a_run_is_resumed(tmp_path):
    whole, parts = (functional(tensor_predators(dtype="float32")) for _ in range(2))
    expected = pint.minimize(whole, start(whole), pint.OneShot(2, iterations=6))
    path = tmp_path / "run.npz"
    with on_a_device():
        for iterations in (3, 6):
            method = pint.OneShot(2, iterations=iterations)
            saved = pint.Checkpoint(path, resume=iterations == 6)
            found = pint.minimize(parts, start(parts), method, checkpoint=saved)
    assert found.iterations == 6
    assert found.objective == pytest.approx(expected.objective, rel=1e-6)
