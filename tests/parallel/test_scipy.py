"""The methods of scipy on many ranks do what they do on one."""

import linear_quadratic
import numpy as np
import pytest
from parallel.cases import finished

import pint
from pint.comm import on_root
from problems.peaks import generate
from problems.resnet import DenseNetwork, Regularisation


@pytest.mark.parametrize(("method", "levels"), [("L-BFGS-B", 2), ("TNC", 1), ("SLSQP", 2)])
def test_double_integrator_with_bounds(world, method, levels):
    def run(comm):
        problem = linear_quadratic.DOUBLE_INTEGRATOR.problem(lower=-1.0, upper=2.0)
        rf = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 20, 4, levels, comm))
        method_of_scipy = pint.External(f"scipy:{method}", iterations=200)
        return finished(pint.minimize(rf, method=method_of_scipy))

    ours, serial = run(world), on_root(world, lambda: run(pint.SerialComm()))
    assert ours.status is serial.status is pint.Status.CONVERGED
    assert ours.objective == pytest.approx(serial.objective, rel=1e-12)
    np.testing.assert_allclose(ours.fields["u"], serial.fields["u"], atol=1e-6)


def test_time_dependent_and_shared_fields(world):
    def run(comm):
        grid = pint.TimeGrid.uniform(5.0, 18, 4, 2, comm)
        network = DenseNetwork(features=2, width=4, classes=5)
        weights = Regularisation(1e-3, 1e-3, 1e-3, 1e-3)
        rf = pint.ReducedFunctional(network.problem(*generate(20, seed=0), weights), grid)
        start = network.random_control(rf.controls, seed=1)
        method = pint.External("scipy:L-BFGS-B", iterations=10)
        return finished(pint.minimize(rf, start, method))

    ours, serial = run(world), on_root(world, lambda: run(pint.SerialComm()))
    for row, other in zip(ours.history, serial.history, strict=True):
        assert row.objective == pytest.approx(other.objective, rel=1e-8)
        assert row.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-6)
    for name, values in serial.fields.items():
        np.testing.assert_allclose(ours.fields[name], values, atol=1e-7)
