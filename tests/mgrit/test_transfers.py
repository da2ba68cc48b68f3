"""Levels in other state spaces: a reference, fixed point, exactness, counts, duality."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from mesh_recursions import HeatReference, Linear, full_weighting, linear_interpolation
from pairwise import pairwise

import pint

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "data" / "space_coarsening.json").read_text(encoding="utf-8")
)["heat_three_level"]


def transfers_of(nodes, sparse=True):
    """Return the transfers between meshes of so many nodes, by level; None for equal ones."""
    found = [None]
    for fine, coarse in itertools.pairwise(nodes):
        if fine == coarse:
            found.append(None)
            continue
        maps = [full_weighting(coarse), linear_interpolation(coarse)]
        one = pint.Transfer(*(map(scipy.sparse.csr_matrix, maps) if sparse else maps))
        spaces = pint.ArraySpace(fine), pint.ArraySpace(coarse)
        found.append(one.between(*spaces, True, "test"))
    return found


def solver_for(grid, nodes, reverse=False, **options):
    transfers = transfers_of(nodes)
    if reverse:
        transfers = [one and one.transposed for one in transfers]
    space = pint.ArraySpace(nodes[0])
    return pint.MGRIT(grid, space, transfers=transfers, reverse=reverse, **options)


def random_c_points(count, size):
    """Return the reference's first guess at the C-points, from its congruential generator."""
    seed, values = 1, np.empty(count * size)
    for i in range(len(values)):
        seed = (1103515245 * seed + 12345) % 2**64
        values[i] = ((seed >> 16) % 2**32 % 32768) / 32768
    return values.reshape(count, size)


def test_heat_on_three_levels_in_time_and_space():
    nodes, expected = (17, 9, 5), REFERENCE["residuals"]
    grid = pint.TimeGrid.uniform(2 * np.pi, 32, coarsening=2, levels=3)
    solver, recursion = solver_for(grid, nodes), HeatReference(grid, nodes)
    x = np.linspace(0, np.pi, 17)
    y = solver.allocate()
    y[0], y[2::2] = np.sin(x), random_c_points(16, 17)
    residuals = solver.solve(recursion, y, pint.Accuracy(len(expected))).residuals
    np.testing.assert_allclose(residuals, expected, rtol=1e-8)
    error = np.sqrt(np.pi / 16 * ((y[-1] - np.sin(x) * np.cos(2 * np.pi)) ** 2).sum())
    assert error == pytest.approx(REFERENCE["final_error"], rel=1e-8)


# Steps, coarsening, nodes by level: divisible and not, one space for several levels
CASES = [
    (16, 2, (9, 5)),
    (17, 4, (9, 5)),
    (32, 2, (17, 9, 5)),
    (37, (2, 3, 2), (9, 5, 5, 3)),
    (43, (4, 2, 3), (9, 9, 5, 3)),
]


def linear_case(steps, coarsening, nodes, reverse=False, **options):
    """Return a solver, a recursion, a right-hand side and the solution, in the order of time."""
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening, len(nodes))
    solver = solver_for(grid, nodes, reverse, **options)
    recursion = Linear(grid, nodes, reverse=reverse)
    random = np.random.default_rng(1)
    rhs = random.standard_normal((steps + 1, nodes[0]))
    exact = recursion.solution(random.standard_normal(nodes[0]), rhs)
    order = slice(None, None, -1 if reverse else 1)
    return solver, recursion, rhs[order].copy(), exact[order].copy()


def random_like(y):
    return np.random.default_rng(3).standard_normal(y.shape)


def first_point(y, reverse):
    return y[-1:] if reverse else y[:1]


@pytest.mark.parametrize(
    ("case", "reverse", "relaxation", "cycle"),
    pairwise(CASES, [False, True], ["F", "FCF", "FCFCF"], ["V", "F"]),
)
def test_the_sequential_solution_is_a_fixed_point(case, reverse, relaxation, cycle):
    solver, recursion, rhs, exact = linear_case(*case, reverse, relaxation=relaxation, cycle=cycle)
    y = exact.copy()
    convergence = solver.solve(recursion, y, pint.Accuracy(2), rhs)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13 * abs(exact).max())
    assert max(convergence.residuals) <= 1e-13 * np.linalg.norm(exact)


@pytest.mark.parametrize(("case", "reverse", "cycle"), pairwise(CASES, [False, True], ["V", "F"]))
def test_a_cycle_makes_another_c_point_exact(case, reverse, cycle):
    """C-relaxation does: what lies in the kernel of R is never seen by the coarse level."""
    solver, recursion, rhs, exact = linear_case(*case, reverse, cycle=cycle)
    y = random_like(exact)
    first_point(y, reverse)[...] = first_point(exact, reverse)
    c_points = solver.c_points(np.arange(len(y)))
    for made in range(1, len(c_points) + 1):
        solver.solve(recursion, y, pint.Accuracy(1), rhs)
        done = c_points[-made:] if reverse else c_points[:made]
        np.testing.assert_allclose(y[done], exact[done], rtol=0, atol=1e-12 * abs(exact).max())
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-12 * abs(exact).max())


@pytest.mark.parametrize(
    ("case", "reverse", "guess"),
    pairwise(CASES, [False, True], ["zero", "constant", "coarse", "nested"]),
)
def test_steps_are_those_of_one_space(case, reverse, guess):
    counts = []
    for nodes in (case[2], (case[2][0],) * len(case[2])):
        solver, recursion, rhs, _ = linear_case(*case[:2], nodes, reverse, cycle="F")
        y = solver.allocate()
        solver.set_guess(recursion, y, guess, rhs)
        solver.solve(recursion, y, pint.Accuracy(3), rhs)
        counts.append(solver.steps_evaluated)
    assert counts[0] == counts[1]


def test_the_nested_guess_is_the_prolonged_solution_of_the_coarse_level():
    nodes = (17, 9)
    grid = pint.TimeGrid.uniform(1.0, 12, 3, 2)
    solver, recursion = solver_for(grid, nodes), Linear(grid, nodes)
    random = np.random.default_rng(2)
    y, rhs = solver.allocate(), random.standard_normal((13, 17))
    y[0] = random.standard_normal(17)
    solver.set_guess(recursion, y, "nested", rhs)
    v = full_weighting(9) @ y[0]
    for k in range(4):
        sums = full_weighting(9) @ rhs[3 * k + 1 : 3 * k + 4].sum(axis=0)
        v = recursion.matrices[1] @ v + recursion.forcings[1][k] + sums
        np.testing.assert_allclose(y[3 * k + 3], linear_interpolation(9) @ v, rtol=1e-13)


@pytest.mark.parametrize(("case", "reverse", "cycle"), pairwise(CASES, [False, True], ["V", "F"]))
def test_lagged_cycles_reach_the_solution_and_stay(case, reverse, cycle):
    solver, recursion, rhs, exact = linear_case(*case, reverse, cycle=cycle)
    y, tau = random_like(exact), solver.allocate_tau()
    first_point(y, reverse)[...] = first_point(exact, reverse)
    solver.lagged_solve(recursion, y, tau, 60, rhs)
    assert tau.shape[1] == case[2][1]
    convergence, _ = solver.lagged_solve(recursion, y, tau, 2, rhs)
    assert convergence.residual <= 1e-12 * np.linalg.norm(exact)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-12 * abs(exact).max())


def test_dense_sparse_and_functions_are_the_same():
    grid, nodes = pint.TimeGrid.uniform(1.0, 16, 2, 2), (9, 5)
    R, P = full_weighting(5), linear_interpolation(5)
    ways = [
        pint.Transfer(R, P),
        pint.Transfer(scipy.sparse.coo_matrix(R), scipy.sparse.csc_matrix(P)),
        pint.Transfer((lambda y: y @ R.T, lambda z: z @ R), (lambda z: z @ P.T, lambda y: y @ P)),
    ]
    one_state = pint.Transfer((R.dot, R.T.dot), (P.dot, P.T.dot))
    found = []
    for way in [*ways, one_state]:
        bound = way.between(pint.ArraySpace(9), pint.ArraySpace(5), way is not one_state, "test")
        for transfer in (bound, bound.transposed):
            solver = pint.MGRIT(grid, pint.ArraySpace(9), transfers=[None, transfer])
            y = solver.allocate()
            y[0] = 1.0
            solver.solve(Linear(grid, nodes), y, pint.Accuracy(2))
            found.append(y)
    for place, y in enumerate(found):
        np.testing.assert_allclose(y, found[place % 2], rtol=0, atol=1e-13)
