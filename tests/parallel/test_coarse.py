"""Other steps on coarse levels, on many ranks: the numbers of one rank and of plain sweeps."""

import numpy as np
import pytest
import registry
from ode_cases import forced_problem

import pint


def functional_of(coarse, levels, comm=None):
    grid = pint.TimeGrid.uniform(2.0, 32, [3, 2][: levels - 1], levels, comm)
    return pint.ReducedFunctional(forced_problem("rk4", coarse=coarse), grid)


@pytest.mark.layout
@pytest.mark.parametrize("coarse", ["two-solve", "rkc", "substeps:2"])
def test_numbers(world, coarse):
    found = functional_of(coarse, 3, world)
    control = registry.random_control(found.controls)
    for expected in (functional_of(coarse, 3), functional_of(None, 1)):
        same = registry.random_control(expected.controls)
        assert found.value(control) == pytest.approx(expected.value(same), rel=1e-11)
        derivative, exact = found.derivative(control).gather(), expected.derivative(same).gather()
        for name in exact:
            tolerance = 1e-10 * np.abs(exact[name]).max()
            np.testing.assert_allclose(derivative[name], exact[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", [pint.Adaptive, pint.Lagged])
def test_updates(world, method):
    found, expected = (
        pint.minimize(functional_of("sdirk2", 2, comm), None, method(iterations=2))
        for comm in (world, None)
    )
    assert found.objective == pytest.approx(expected.objective, rel=1e-9)
