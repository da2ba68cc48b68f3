"""Controls on a coarser time mesh whose pieces straddle ranks."""

import numpy as np
import pytest

import pint

pytestmark = pytest.mark.layout


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
@pytest.mark.parametrize("every", [2, 3, 7, 11])
@pytest.mark.parametrize("steps", [2, 4, 11, 16, 45])
def test_gradient_is_the_serial_one(steps, every, interpolate, world):
    t = np.linspace(0.0, 1.0, steps + 1) ** 1.3
    random = np.random.default_rng(0)
    blocks, derivative = random.standard_normal((2, steps, 2))
    results = []
    for comm in (pint.SerialComm(), world):
        grid = pint.TimeGrid(t, comm=comm)
        field = pint.TimeControl(2, every=every, interpolate=interpolate)
        space = pint.ControlSpace(grid, u=field)
        dual = pint.Control(space, derivative[grid.first : grid.last].ravel())
        results.append((space.control(u=blocks).gather()["u"], space.riesz(dual).gather()["u"]))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
