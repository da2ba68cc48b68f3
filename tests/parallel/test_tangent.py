"""Tangents and Hessian products on many ranks: the numbers of one rank."""

from functools import partial

import numpy as np
import pytest
from mesh_problems import reaction_problem
from parallel.cases import SMALL, assert_same_trajectory, each_split
from parallel.test_petsc import PROBLEMS as HEAT
from parallel.test_petsc import (
    in_petsc_order,
    numpy_functional,
    petsc_functional,
    random_blocks,
)
from registry import random_control, small_problem

import pint
from pint.comm import split

CASES = {
    "pendulum": (SMALL[7], partial(small_problem, "pendulum", "running", "inject"), "nested"),
    "pendulum-mean": (
        SMALL[5],
        partial(small_problem, "pendulum-loop", "terminal", "mean"),
        "zero",
    ),
    "arrival": (SMALL[8], partial(small_problem, "swift", "arrival", "inject"), "coarse"),
    "few-steps": (SMALL[1], partial(small_problem, "pendulum", "running", "inject"), "nested"),
    "meshes": (SMALL[6], reaction_problem, "nested"),
}


@pytest.mark.layout
@pytest.mark.parametrize("name", CASES)
def test_products_and_tangents(world, name):
    case, make, guess = CASES[name]
    kind = "gauss-newton" if name == "arrival" else "full"
    found = []
    for comm in (world, pint.SerialComm()):
        functional = pint.ReducedFunctional(make(), case.grid(comm), guess=guess)
        control, direction = (random_control(functional.controls, seed, 0.3) for seed in (0, 1))
        product = functional.hessian_product(control, direction, kind)
        found.append((functional.grid, product, functional.tangent(control, direction)))
    (grid, ours, tangent), (_, serial, whole) = found
    size = max(abs(values).max() for values in serial.gather().values())
    for field, values in ours.gather().items():
        np.testing.assert_allclose(values, serial.gather()[field], rtol=0, atol=1e-8 * size)
    assert_same_trajectory(grid, tangent.points, whole.points)
    assert tangent.slope == pytest.approx(whole.slope, rel=1e-11)
    states = tangent.states()
    if world.rank == 0:
        np.testing.assert_allclose(states, whole.states(), rtol=0, atol=1e-11)


@pytest.mark.petsc
@each_split
@pytest.mark.parametrize("name", ["distributed", "initial-2d"])
def test_petsc_states(world, name, space_size):
    comms = split(world, space_size)
    ours = petsc_functional(HEAT[name], comms, 9, 2)
    serial = numpy_functional(HEAT[name], 9, 2)
    products = []
    for functional, order in ((ours, partial(in_petsc_order, ours)), (serial, np.array)):
        control, direction = (
            functional.control(u=order(random_blocks(serial, seed))) for seed in (0, 1)
        )
        products.append(functional.hessian_product(control, direction))
        products.append(functional.tangent(control, direction).slope)
    assert products[1] == pytest.approx(products[3], rel=1e-8)
    expected = in_petsc_order(ours, products[2]["u"])
    np.testing.assert_allclose(
        products[0].gather()["u"], expected, rtol=0, atol=1e-7 * abs(expected).max()
    )
    ours.problem.stepper.destroy()
