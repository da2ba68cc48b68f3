"""Networks of PyTorch modules on many ranks: gradients of plain autograd."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modules import gradients, made

import pint

pytestmark = pytest.mark.layout


@pytest.mark.parametrize(("kind", "dtype"), [("attention", "float64"), ("gated", "float32")])
@pytest.mark.parametrize("levels", [1, 2])
def test_gradients(world, kind, dtype, levels):
    one, data = made(kind, getattr(torch, dtype))
    accuracy = 1e-12 if dtype == "float64" else 1e-5
    reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=levels, comm=world))
    control = one.start(reduced.controls, seed=3)
    value, expected = gradients(one.module(control), data)
    assert reduced.value(control) == pytest.approx(value, rel=accuracy)
    derivative = reduced.derivative(control).gather()
    for name, reference in expected.items():
        size = np.abs(reference).max()
        found = derivative[name].reshape(reference.shape)
        np.testing.assert_allclose(found, reference, atol=accuracy * size)


def test_lagged_training(world):
    one, _ = made("two")
    losses = []
    for comm in (world, pint.SerialComm()):
        reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=2, comm=comm))
        method = pint.Lagged(iterations=4)
        losses.append(pint.minimize(reduced, one.start(reduced.controls), method).objective)
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


class Dropped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.dropped = torch.nn.Linear(8, 8), torch.nn.Dropout(0.4)

    def forward(self, y):
        return self.dropped(torch.tanh(self.a(y)))


@pytest.mark.parametrize("kind", [Dropped, [("two", 7), ("normed", 9)]])
def test_masks_and_kinds_do_not_depend_on_ranks(world, kind):
    one, _ = made(kind)
    found = []
    for comm, levels in ((world, 1), (world, 2), (pint.SerialComm(), 2)):
        reduced = pint.ReducedFunctional(one, one.grid(coarsening=4, levels=levels, comm=comm))
        control = one.start(reduced.controls, seed=3)
        found.append((reduced.value(control), reduced.derivative(control).gather()))
    for value, derivative in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-11)
        for name, block in derivative.items():
            np.testing.assert_allclose(block, found[0][1][name], atol=1e-11)
