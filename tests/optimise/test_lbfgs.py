"""The compact form of the quasi-Newton matrices against the two-loop recursion."""

from dataclasses import replace

import numpy as np
import pytest
from two_loops import masked, random_controls, scaling_of, two_loops, updated

import pint

# More than 1024 numbers are not copied, more than 32,768 taken in parts.
SIZES = [1, 2, 7, 200, 1500, 40_000]


def a_space(steps, **more):
    """Return a space with a metric that is not uniform."""
    grid = pint.TimeGrid(np.linspace(0, 1, steps + 1) ** 1.5)
    return pint.ControlSpace(grid, u=pint.TimeControl(()), **more)


def assert_close(ours, expected, tolerance):
    norm = ours.space.norm
    assert norm(ours - expected) <= tolerance * norm(expected)


@pytest.mark.parametrize("spectrum", [0.5, 4, 8])
@pytest.mark.parametrize("size", SIZES)
def test_direction_is_that_of_two_loops(size, spectrum):
    space = a_space(size)
    pairs = min(size, 12)
    steps, changes, gradient = random_controls(space, pairs, 0, spectrum)
    hessian = updated(pint.lbfgs(20), steps, changes)
    assert len(hessian.pairs) == pairs
    direction = hessian.apply(gradient)
    expected = two_loops(steps, changes, scaling_of(steps[-1], changes[-1]), gradient)
    assert_close(direction, expected, 1e-10)
    assert space.inner(direction, gradient) > 0


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_a_descent_on_a_quadratic(condition):
    """With exact line searches as many updates as variables, and directions of two loops."""
    size = 60
    space = a_space(size)
    matrix = condition ** np.random.default_rng(0).uniform(0, 1, size)

    def product(control):
        return pint.Control(space, matrix * control.vector)

    _, _, control = random_controls(space, 1, 9)
    hessian, steps, changes, first = pint.lbfgs(100), [], [], product(control)
    for _ in range(size + 2):
        gradient = product(control)
        direction = hessian.apply(gradient)
        if steps:
            scaling = scaling_of(steps[-1], changes[-1])
            assert_close(direction, two_loops(steps, changes, scaling, gradient), 1e-15 * condition)
        slope = space.inner(gradient, direction)
        steps.append(-slope / space.inner(direction, product(direction)) * direction)
        changes.append(product(steps[-1]))
        hessian, control = hessian.updated(steps[-1], changes[-1]), control + steps[-1]
    assert space.norm(product(control)) <= 1e-13 * space.norm(first)


@pytest.mark.parametrize("exponents", [(-12, 12), (12, -12), (12, 12), (-60, -60), (60, 60)])
def test_units_of_control_and_objective(exponents):
    """A pair and a gradient in other units give the direction in other units."""
    space = a_space(50)
    steps, changes, gradient = random_controls(space, 10, 1, 3)
    expected = updated(pint.lbfgs(), steps, changes).apply(gradient)
    of_control, of_gradient = 10.0 ** exponents[0], 10.0 ** exponents[1]
    steps, changes = [of_control * s for s in steps], [of_gradient * y for y in changes]
    direction = updated(pint.lbfgs(), steps, changes).apply(of_gradient * gradient)
    assert_close((1 / of_control) * direction, expected, 1e-12)


def test_pairs_of_very_different_size():
    """The first steps of a run are often 1e10 times the last ones."""
    space = a_space(50)
    steps, changes, gradient = random_controls(space, 10, 2, 3)
    sizes = 10.0 ** -np.arange(0, 30, 3)
    steps = [size * s for size, s in zip(sizes, steps, strict=True)]
    changes = [size * y for size, y in zip(sizes, changes, strict=True)]
    expected = two_loops(steps, changes, scaling_of(steps[-1], changes[-1]), gradient)
    assert_close(updated(pint.lbfgs(), steps, changes).apply(gradient), expected, 1e-12)


@pytest.mark.parametrize("memory", [1, 3, 9])
def test_oldest_pairs_are_dropped(memory):
    space = a_space(30)
    steps, changes, gradient = random_controls(space, 9, 3, 3)
    hessian = updated(pint.lbfgs(memory), steps, changes)
    expected = updated(pint.lbfgs(memory), steps[-memory:], changes[-memory:])
    assert_close(hessian.apply(gradient), expected.apply(gradient), 1e-13)
    products, s_squared = hessian.measured()
    np.testing.assert_allclose(hessian.products, products, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(s_squared, [space.inner(s, s) for s in steps[-memory:]])


def test_bfgs_keeps_the_first_scaling_and_all_pairs():
    space = a_space(30)
    steps, changes, gradient = random_controls(space, 25, 4, 3)
    hessian = updated(pint.bfgs(), steps, changes)
    expected = two_loops(steps, changes, scaling_of(steps[0], changes[0]), gradient)
    assert_close(hessian.apply(gradient), expected, 1e-11)


@pytest.mark.parametrize("hessian", [pint.lbfgs(8), pint.bfgs()], ids=["lbfgs", "bfgs"])
@pytest.mark.parametrize("size", [40, 3000])
def test_restricted_to_free_variables(hessian, size):
    """As built from the pairs on the free variables, those of negative curvature left out."""
    space = a_space(size)
    steps, changes, gradient = random_controls(space, 8, 5, 3)
    free = np.sin(np.arange(size)) > -0.3
    # The third and the last pair have their positive curvature on the held variables alone.
    for i in (2, 7):
        flipped = np.where(free, -0.01, 1e4) * changes[i].vector
        changes[i] = pint.Control(space, flipped)
    restricted = updated(hessian, steps, changes).restricted(free)
    kept = [i for i in range(8) if i not in (2, 7)]
    assert [pair[0] for pair in restricted.pairs] == [steps[i] for i in kept]
    steps, changes = (masked([some[i] for i in kept], free) for some in (steps, changes))
    newest = -1 if hessian.rescaled else 0
    expected = two_loops(
        steps, changes, scaling_of(steps[newest], changes[newest]), *masked([gradient], free)
    )
    direction = restricted.apply(gradient)
    assert_close(direction, expected, 1e-11)
    assert not direction.vector[~free].any()


def test_restricted_without_curvature_or_to_everything():
    space = a_space(20)
    steps, changes, gradient = random_controls(space, 3, 6)
    free = np.arange(20) < 10
    changes = [pint.Control(space, np.where(free, -1e-3, 1.0) * y.vector) for y in changes]
    hessian = updated(pint.lbfgs(), steps, changes)
    assert len(hessian.pairs) == 3
    assert hessian.restricted(np.ones(20, dtype=bool)) is hessian
    for restricted in (hessian.restricted(free), pint.lbfgs().restricted(free)):
        assert restricted.pairs == ()
        expected = np.where(free, gradient.vector, 0.0)
        np.testing.assert_array_equal(restricted.apply(gradient).vector, expected)


def test_a_direction_an_update_and_a_restriction_reduce_once(monkeypatch):
    space = a_space(20)
    steps, changes, gradient = random_controls(space, 8, 7)
    hessian = updated(pint.lbfgs(), steps, changes)
    counts, reduce = [], space.sums

    def counted(parts):
        counts.append(np.size(parts))
        return reduce(parts)

    monkeypatch.setattr(space, "sums", counted)
    hessian.apply(gradient)
    assert counts == [16]
    hessian.updated(steps[0], changes[0])
    assert counts == [16, 19]
    hessian.restricted(np.ones(20, dtype=bool))
    assert counts == [16, 19, 1]
    hessian.restricted(np.arange(20) < 15).apply(gradient)
    assert counts == [16, 19, 1, 1, 2 * 64 + 8, 16]


def test_nothing_changes_in_place():
    space = a_space(20)
    steps, changes, gradient = random_controls(space, 4, 8)
    hessian = updated(pint.lbfgs(3), steps[:3], changes[:3])
    before, kept = hessian.apply(gradient), gradient.copy()
    hessian.updated(steps[3], changes[3]).apply(gradient)
    np.testing.assert_array_equal(hessian.apply(gradient).vector, before.vector)
    np.testing.assert_array_equal(replace(hessian).apply(gradient).vector, before.vector)
    np.testing.assert_array_equal(gradient.vector, kept.vector)
