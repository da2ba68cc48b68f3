"""Metrics by matrices: inner products, Riesz maps, directions, other packages' vectors."""

import copy

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from two_loops import masked, random_controls, scaling_of, two_loops, updated

import pint
from pint.optimise.scaled_layout import ScaledLayout

GRID = pint.TimeGrid([0.0, 0.5, 0.7, 1.7, 2.0])


def mass(nodes):
    """Return the mass matrix of hat functions on a mesh of (0, 1), by its element matrices."""
    h = np.diff(nodes)
    whole = np.zeros((len(nodes), len(nodes)))
    for i, width in enumerate(h):
        whole[i : i + 2, i : i + 2] += width / 6 * np.array([[2, 1], [1, 2]])
    return scipy.sparse.csr_matrix(whole)


GRADED = mass(np.linspace(0, 1, 6) ** 3)
LUMPED = scipy.sparse.diags(np.asarray(GRADED.sum(axis=1)).ravel())


def a_space(**options):
    return pint.ControlSpace(
        GRID,
        u=pint.TimeControl((2, 3), metric=GRADED, weight=3.0, **options),
        v=pint.TimeControl(2, upper=[1.0, 0.5]),
        p=pint.SharedControl(6, metric=GRADED.toarray()),
    )


def whole_matrix(space):
    """Return the matrix of the metric of `a_space`, written down."""
    dt = scipy.sparse.diags(GRID.dt)
    blocks = {
        "u": scipy.sparse.kron(3.0 * dt, GRADED),
        "v": scipy.sparse.kron(dt, scipy.sparse.identity(2)),
        "p": GRADED,
    }
    order = sorted(blocks, key=lambda name: space.places[name][0].start)
    return scipy.sparse.block_diag([blocks[name] for name in order]).toarray()


def test_inner_products_and_riesz_map():
    space = a_space()
    (a, b), matrix = random_controls(space, 1, 0)[0:2], whole_matrix(space)
    a, b = a[0], b[0]
    assert space.inner(a, b) == pytest.approx(a.vector @ matrix @ b.vector, rel=1e-13)
    np.testing.assert_allclose(space.dual(a).vector, matrix @ a.vector, rtol=1e-13, atol=1e-15)
    gradient = space.riesz(a)
    np.testing.assert_allclose(gradient.vector, np.linalg.solve(matrix, a.vector), rtol=1e-11)
    assert space.inner(gradient, b) == pytest.approx(space.pair(a, b), rel=1e-12)


@pytest.mark.parametrize("interpolate", ["constant", "linear"])
def test_gradient_on_a_coarser_time_mesh(interpolate):
    """Product rule: the projection in time and the matrix in space commute."""
    field = pint.TimeControl(6, metric=GRADED, weight=2.0, every=2, interpolate=interpolate)
    space = pint.ControlSpace(GRID, u=field)
    derivative, other = (random_controls(space, 1, seed)[0][0] for seed in (1, 2))
    gradient = space.riesz(derivative)
    assert space.inner(gradient, other) == pytest.approx(space.pair(derivative, other), rel=1e-12)


@pytest.mark.parametrize("hessian", [pint.lbfgs(5), pint.bfgs()], ids=["lbfgs", "bfgs"])
def test_directions_are_those_of_two_loops(hessian):
    space = a_space()
    steps, changes, gradient = random_controls(space, 8, 3, 2)
    # changes of gradients of a quadratic function, in this metric
    changes = [space.riesz(change) for change in changes]
    hessian = updated(hessian, steps, changes)
    kept, later = hessian.pairs, hessian.measured()
    s, y = zip(*kept, strict=True)
    expected = two_loops(s, y, hessian.scaling, gradient)
    assert space.norm(hessian.apply(gradient) - expected) <= 1e-10 * space.norm(expected)
    np.testing.assert_allclose(hessian.products, later[0], rtol=1e-11, atol=1e-13)
    free = np.ones(space.size, dtype=bool)
    free[space.places["v"][0]] = [True, False] * 4
    (g,), s, y = (masked(some, free) for some in ([gradient], s, y))
    expected = two_loops(
        s, y, scaling_of(*((s[-1], y[-1]) if hessian.rescaled else (s[0], y[0]))), g
    )
    found = hessian.restricted(free).apply(gradient)
    assert space.norm(found - expected) <= 1e-9 * space.norm(expected)


def test_vectors_of_other_packages_are_euclidean():
    space = a_space()
    layout = ScaledLayout(space)
    (a, derivative), b, _ = random_controls(space, 2, 4)
    x, z = layout.gather(a.vector), layout.gather(b[0].vector)
    assert x @ z == pytest.approx(space.inner(a, b[0]), rel=1e-12)
    assert layout.gather_dual(derivative.vector) @ x == pytest.approx(space.pair(derivative, a))
    held = space.project(a)
    found = layout.control(layout.gather(held.vector))
    np.testing.assert_allclose(found.vector, held.vector, rtol=1e-11, atol=1e-13)


def test_diagonal_metrics_take_bounds():
    field = pint.TimeControl(6, 0.0, 1.0, metric=LUMPED, weight=2.0)
    space = pint.ControlSpace(GRID, u=field)
    assert not space.matrices
    expected = 2.0 * np.outer(GRID.dt, LUMPED.diagonal()).ravel()
    np.testing.assert_allclose(space.weights, expected, rtol=1e-15)
    for kind in (pint.TimeControl, pint.SharedControl):
        with pytest.raises(ValueError, match=r"metric=.*diagonal.*bounds.*lumped"):
            kind(6, lower=0.0, metric=GRADED)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (GRADED[:5], r"shape \(6, 6\).*\(5, 6\)"),
        (scipy.sparse.triu(GRADED), "symmetric"),
        (-GRADED, "positive definite"),
        (GRADED - 0.03 * scipy.sparse.identity(6), "positive definite"),
        (0 * GRADED, "positive definite"),
        (scipy.sparse.csr_matrix(np.ones((6, 6))), "singular|positive definite"),
        (GRADED * np.nan, "NaN"),
        (GRADED * 1j, "real numbers"),
        (np.ones(6), r"must be a matrix.*diags"),
        ("mass", "mass"),
    ],
)
def test_matrices_that_are_no_metrics(metric, message):
    with pytest.raises((TypeError, ValueError), match=f"`TimeControl.metric=.*{message}"):
        pint.TimeControl(6, metric=metric)


def test_later_changes_of_the_matrix_and_copies():
    matrix = GRADED.copy()
    field = pint.TimeControl(6, metric=matrix)
    matrix.data *= 2
    rows = np.random.default_rng(0).standard_normal((2, 6))
    np.testing.assert_allclose(field.matrix.apply(rows), rows @ GRADED.toarray(), rtol=1e-13)
    twin = copy.deepcopy(field).matrix
    np.testing.assert_array_equal(twin.solve(rows), field.matrix.solve(rows))


def test_norms_of_states():
    space = pint.ArraySpace((2, 3), weight=0.5, metric=GRADED)
    block = np.random.default_rng(0).standard_normal((4, 2, 3))
    rows = block.reshape(4, 6)
    expected = 0.25 * np.einsum("ni,ij,nj->", rows, GRADED.toarray(), rows)
    assert space.squared_norm(block) == pytest.approx(expected, rel=1e-13)
    with pytest.raises(ValueError, match=r"`ArraySpace\(metric=...\)`.*\(5, 5\)"):
        pint.ArraySpace(5, metric=GRADED)
