"""Networks whose states are tensors: gradients and runs of those whose states are arrays."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modules import KINDS, Two, gradients, made
from tensor_space import DEVICE, every_solve, on_a_device, without_numbers
from torch import nn
from torch.nn import functional

import pint
from pint.torch import network


def reduced(one, levels=2, comm=None, **options):
    grid = one.grid(coarsening=4, levels=levels, comm=comm)
    return pint.ReducedFunctional(one, grid, **options)


@pytest.mark.parametrize(
    ("kind", "dtype"), [*((kind, "float64") for kind in KINDS), ("normed", "float32")]
)
def test_gradients_are_those_of_autograd(kind, dtype):
    """The modules are of float64; `dtype` is that of what is computed with."""
    accuracy = {"float64": 1e-12, "float32": 1e-5}[dtype]
    one, data = made(kind, states=dtype, layers=8)
    for levels in (1, 2):
        rf = reduced(one, levels)
        control = one.start(rf.controls, seed=3)
        module = one.module(control)
        assert next(module.parameters()).dtype == torch.float64
        value, expected = gradients(module, data)
        with on_a_device():
            J, derivative = rf.value(control), rf.derivative(control)
        assert pytest.approx(value, rel=accuracy) == J
        for name, reference in expected.items():
            found = derivative[name].reshape(reference.shape)
            np.testing.assert_allclose(found, reference, atol=accuracy * np.abs(reference).max())


@pytest.mark.parametrize("small", [True, False])
def test_bfloat16_within_its_precision(small, monkeypatch):
    """Layers one by one, and in one call, are the same steps."""
    if not small:
        monkeypatch.setattr("pint.torch.layers.SMALL", 0)
    one, data = made("two", states="bfloat16")
    rf = reduced(one)
    assert rf.accuracy.relative == 8 * 2**-7
    control = one.start(rf.controls, seed=3)
    value, expected = gradients(one.module(control), data)
    with on_a_device():
        J, derivative = rf.value(control), rf.derivative(control)
    assert pytest.approx(value, rel=0.01) == J
    for name, reference in expected.items():
        found = derivative[name].reshape(reference.shape)
        assert np.linalg.norm(found - reference) < 0.05 * np.linalg.norm(reference)


METHODS = {
    "adam": pint.Stochastic(pint.adam(), epochs=2, learning_rate=1e-2, shuffle=False),
    "l-bfgs": pint.ReducedSpace(iterations=3),
    "one-shot": pint.OneShot(iterations=3),
    "lagged": pint.Lagged(iterations=3),
}


@pytest.mark.parametrize("name", METHODS)
def test_runs_are_those_of_arrays(name):
    sizes = {"batch_size": 5} if name == "adam" else {}
    results = []
    for options in ({"device": DEVICE}, {}):
        one, _ = made("normed", layers=4, **sizes, **options)
        rf = reduced(one)
        start = one.start(rf.controls)
        if options:
            with on_a_device():
                results.append(pint.minimize(rf, start, METHODS[name]))
        else:
            results.append(pint.minimize(rf, start, METHODS[name]))
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-10)
    vectors = [result.control.vector for result in results]
    assert np.abs(vectors[1] - start.vector).max() > 1e-3
    np.testing.assert_allclose(*vectors, atol=1e-8)


def test_storage_of_c_points():
    one, data = made("gated", device=DEVICE, layers=8)
    rf = reduced(one, storage="C")
    control = one.start(rf.controls, seed=3)
    _, expected = gradients(one.module(control), data)
    with on_a_device():
        derivative = rf.derivative(control)
    for name, reference in expected.items():
        np.testing.assert_allclose(derivative[name].reshape(reference.shape), reference, atol=1e-12)


def test_modules_stay_as_they_are():
    one, _ = made("two", states="bfloat16")
    before = {name: value.clone() for name, value in one.parts["block"].module.state_dict().items()}
    rf = reduced(one)
    rf.derivative(one.start(rf.controls, seed=3))
    after = one.parts["block"].module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_mistakes_are_one_line():
    data = {"inputs": torch.zeros(6, 8, dtype=float), "labels": torch.zeros(6, dtype=int)}
    given = {"loss": functional.cross_entropy, "layers": 4, **data}

    def check(message, block, **changes):
        with pytest.raises((TypeError, ValueError), match=message) as error:
            network(block, **{**given, **changes})
        assert "\n" not in str(error.value)

    elsewhere = Two().double().to("meta")
    check(r"`network\(device='meta'\)` takes states there, `module.cpu\(\)`", elsewhere)
    check("must be a device that this PyTorch", Two().double(), device="nowhere")
    check("must be one of float64, float32, bfloat16", Two().double(), dtype="int8")
    check("return the type of its states", Wide().double(), dtype="float32")
    check("uses tensors of another type", Constant().double(), dtype="float32")


class Constant(nn.Linear):
    """It makes a matrix of its own, of float64."""

    def __init__(self):
        super().__init__(8, 8)

    def forward(self, y):
        return super().forward(y) @ torch.eye(8, dtype=torch.float64)


class Wide(nn.Module):
    """It computes in float64, whatever its input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, y):
        return y.double() * self.scale.double()


@pytest.mark.parametrize(("kind", "together"), [("two", True), ("gated", False)])
def test_nothing_but_norms_and_values_leaves_the_device(kind, together, monkeypatch):
    monkeypatch.setattr("pint.torch.layers.SMALL", 2**14 if together else 0)
    with without_numbers():
        one, _ = made(kind, device="meta", states="float32", batch_size=5, layers=8)
        rf = reduced(one)
        control = one.start(rf.controls)
        assert every_solve(rf, control) == control.vector.size
