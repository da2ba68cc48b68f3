"""Directions on several ranks: those of two loops, and shared numbers alike to the last bit."""

import numpy as np
import pytest
from two_loops import masked, random_controls, scaling_of, two_loops, updated

import pint

# Steps and shared numbers: small vectors, long ones, both at once, ranks without a number
CASES = [(7, 3), (40, 1), (5000, 2000), (2500, 5), (1, 1500), (2, 0)]


def over_space(world):
    """Return a space whose field `part` has more numbers on each further rank."""
    part = pint.TimeControl((3 * world.rank + 1,), comm=world)
    grid = pint.TimeGrid.uniform(2.0, 40)
    return pint.ControlSpace(grid, world, part=part, whole=pint.TimeControl((3,)))


def a_space(world, steps, shared):
    grid = pint.TimeGrid.uniform(2.0, steps, comm=world)
    fields = {"theta": pint.SharedControl(shared, weight=0.3)} if shared else {}
    return pint.ControlSpace(grid, u=pint.TimeControl((9,)), **fields)


@pytest.mark.parametrize(("steps", "shared"), CASES)
def test_directions_on_ranks(world, steps, shared):
    space = a_space(world, steps, shared)
    steps, changes, gradient = random_controls(space, 9, steps, 4)
    hessian = updated(pint.lbfgs(6), steps, changes)
    steps, changes = steps[-6:], changes[-6:]
    free = np.sin(100 * gradient.vector) > -0.5
    whole = (hessian, steps, changes, gradient)
    parts = (masked(controls, free) for controls in (steps, changes))
    for ours, s, y, g in (whole, (hessian.restricted(free), *parts, *masked([gradient], free))):
        assert len(ours.pairs) == len(s)
        direction = ours.apply(gradient)
        expected = two_loops(s, y, scaling_of(s[-1], y[-1]), g)
        assert space.norm(direction - expected) <= 1e-10 * space.norm(expected)
        for theta in world.allgather(direction.shared.get("theta")):
            np.testing.assert_array_equal(theta, direction.shared.get("theta"))


def test_fields_that_ranks_in_space_hold_alike(world):
    """The first field moves the second to another place on each rank."""
    space = over_space(world)
    random, own = np.random.default_rng(0), np.random.default_rng(1 + world.rank)
    hessian = pint.lbfgs()
    for _ in range(20):
        s, y = space.zeros(), space.zeros()
        s["whole"][...] = random.standard_normal((40, 3))
        s["part"][...] = own.standard_normal(s["part"].shape)
        y["whole"][...] = random.uniform(1, 100, (40, 3)) * s["whole"]
        y["part"][...] = s["part"]
        hessian = hessian.updated(s, y)
    direction = hessian.apply(s)
    expected = two_loops(*zip(*hessian.pairs, strict=True), hessian.scaling, s)
    assert space.norm(direction - expected) <= 1e-11 * space.norm(expected)
    for whole in world.allgather(direction["whole"]):
        np.testing.assert_array_equal(whole, direction["whole"])
