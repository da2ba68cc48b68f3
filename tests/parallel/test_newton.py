"""NewtonCG on many ranks: the iterates of one rank."""

import numpy as np
import pytest

import pint
from problems.ode import PROBLEMS


@pytest.mark.layout
@pytest.mark.parametrize(("coarse", "levels"), [(1, 2), (2, 2)])
def test_iterates(world, coarse, levels):
    known = PROBLEMS["van-der-pol"]
    problem = (known() if isinstance(known, type) else known).problem()
    found = []
    for comm in (world, pint.SerialComm()):
        grid = pint.TimeGrid.uniform(2.0, 32, 4, levels, comm)
        functional = pint.ReducedFunctional(problem, grid)
        method = pint.NewtonCG(coarse=coarse, relative_gradient_tolerance=1e-6)
        found.append(pint.minimize(functional, method=method))
    ours, serial = found
    assert ours.status is serial.status is pint.Status.CONVERGED
    assert ours.iterations == serial.iterations
    assert ours.history[-1].sweeps == serial.history[-1].sweeps
    np.testing.assert_allclose(ours.objective, serial.objective, rtol=1e-12)
    size = max(abs(values).max() for values in serial.control.gather().values())
    for name, values in ours.control.gather().items():
        expected = serial.control.gather()[name]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6 * size)
