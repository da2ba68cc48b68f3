"""NewtonCG on many ranks: the iterates of one rank."""

import numpy as np
import pytest
from parallel.cases import finished

import pint
from pint.comm import on_root
from problems.ode import PROBLEMS


@pytest.mark.layout
@pytest.mark.parametrize(("coarse", "levels"), [(1, 2), (2, 2)])
def test_iterates(world, coarse, levels):
    known = PROBLEMS["van-der-pol"]
    problem = (known() if isinstance(known, type) else known).problem()

    def run(comm):
        grid = pint.TimeGrid.uniform(2.0, 32, 4, levels, comm)
        functional = pint.ReducedFunctional(problem, grid)
        method = pint.NewtonCG(coarse=coarse, relative_gradient_tolerance=1e-6)
        return finished(pint.minimize(functional, method=method))

    ours, serial = run(world), on_root(world, lambda: run(pint.SerialComm()))
    assert ours.status is serial.status is pint.Status.CONVERGED
    assert ours.iterations == serial.iterations
    assert ours.history[-1].sweeps == serial.history[-1].sweeps
    np.testing.assert_allclose(ours.objective, serial.objective, rtol=1e-12)
    size = max(abs(values).max() for values in serial.fields.values())
    for name, expected in serial.fields.items():
        np.testing.assert_allclose(ours.fields[name], expected, rtol=0, atol=1e-6 * size)
