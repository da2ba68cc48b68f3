"""Finite elements on ranks in time: the numbers of one rank."""

import numpy as np
import pytest

pytest.importorskip("skfem")

import pint
from problems.finite_elements import Burgers, HeatBoundary

pytestmark = pytest.mark.layout


def evaluated(of, comm=None):
    """Return value, and gradient in the metric, by cycles to rounding."""
    grid = pint.TimeGrid.uniform(1.0, 8, 2, 2, comm)
    problem = of.problem(of.manufactured().data, "implicit-euler")
    functional = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(relative=1e-12))
    value, gradient = functional.value_and_gradient(functional.control(u=0.1))
    return value, functional.controls.norm(gradient), gradient.gather()["u"]


@pytest.mark.parametrize("of", [Burgers(cells=4), HeatBoundary(cells=1)], ids=["burgers", "heat"])
def test_gradients_on_ranks_in_time(world, of):
    for ours, expected in zip(evaluated(of, world), evaluated(of), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-10)
