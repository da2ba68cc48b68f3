"""Finite elements on ranks in time: the numbers of one rank."""

import numpy as np
import pytest

pytest.importorskip("skfem")

import pint
from problems.finite_elements import Burgers, HeatBoundary

pytestmark = pytest.mark.layout


def solved(of, comm=None):
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2, comm)
    problem = of.problem(of.manufactured().data, "sdirk2")
    functional = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(relative=1e-13))
    method = pint.ReducedSpace(gradient_tolerance=0, iterations=4)
    return pint.minimize(functional, functional.control(u=0.1), method)


@pytest.mark.parametrize("of", [Burgers(cells=6), HeatBoundary(cells=2)], ids=["burgers", "heat"])
def test_optimisation_on_ranks_in_time(world, of):
    ours, expected = solved(of, world), solved(of)
    assert ours.objective == pytest.approx(expected.objective, rel=1e-10)
    found, control = ours.control.gather()["u"], expected.control["u"]
    assert np.linalg.norm(found - control) <= 1e-9 * np.linalg.norm(control)
    for row, other in zip(ours.history, expected.history, strict=True):
        assert row.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-7)
