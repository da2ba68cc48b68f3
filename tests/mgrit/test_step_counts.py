"""Step evaluations: what a solve costs on each level, and that intervals advance together."""

import itertools

import numpy as np
import pytest
from pairwise import pairwise
from recursions import RELAXATIONS, ones, sizes_of

import pint

SHAPES = [
    (64, 2, 4),
    (64, 4, 3),
    (64, 4, 2),
    (67, 4, 2),
    (67, 2, 5),
    (50, 3, 3),
    (5, 5, 2),
    (7, 5, 2),
    (59, (5, 2, 3), 4),
]


def counted(grid, cycles, nu, cycle="V", recursion=None):
    """Return the steps evaluated on each level by a solve."""
    solver = pint.MGRIT(grid, pint.ArraySpace(1), relaxation=RELAXATIONS[nu], cycle=cycle)
    y = solver.allocate()
    y[0] = 1.0
    solver.solve(recursion or ones(grid), y, pint.Accuracy(cycles))
    return list(solver.steps_evaluated)


def v_cycle_counts(sizes, nu):
    """Return (nu+1) N_0 on level 0, (nu+3) N_l - N_{l+1} between, 2 N_L on the coarsest."""
    between = [(nu + 3) * n - coarser for n, coarser in itertools.pairwise(sizes[1:])]
    return [(nu + 1) * sizes[0], *between, 2 * sizes[-1]]


def f_cycle_counts(sizes, nu, depth=0, first=True):
    """Return the counts of an F-cycle from level `depth`; `first`: still on the way up.

    A cycle from level l costs (nu+1) N_l there and N_{l+1} for the right-hand side below; then
    the coarsest level is marched, N_L, or there are one or two cycles from level l + 1, and an
    F-relaxation of N_{l+1} - N_{l+2} steps.
    """
    counts = [0] * len(sizes)
    counts[depth] += (nu + 1) * sizes[depth]
    counts[depth + 1] += sizes[depth + 1]
    if depth + 2 == len(sizes):
        counts[depth + 1] += sizes[depth + 1]
        return counts
    for again in (True, False) if first else (False,):
        below = f_cycle_counts(sizes, nu, depth + 1, again)
        counts = [a + b for a, b in zip(counts, below, strict=True)]
    counts[depth + 1] += sizes[depth + 1] - sizes[depth + 2]
    return counts


@pytest.mark.parametrize(
    ("shape", "nu", "cycles", "cycle"), pairwise(SHAPES, [0, 1, 2], [1, 3], ["V", "F"])
)
def test_counts_of_a_solve(shape, nu, cycles, cycle):
    """`cycles` times those of a cycle, and the last F-relaxation: N_0 - N_1 on level 0."""
    grid = pint.TimeGrid.uniform(1.0, *shape)
    sizes, formula = sizes_of(grid), {"V": v_cycle_counts, "F": f_cycle_counts}[cycle]
    expected = [cycles * count for count in formula(sizes, nu)]
    expected[0] += sizes[0] - sizes[1]
    assert counted(grid, cycles, nu, cycle) == expected


def test_counts_in_numbers():
    grid = pint.TimeGrid.uniform(1.0, 64, coarsening=2, levels=4)
    one, two = counted(grid, 1, nu=1), counted(grid, 2, nu=1)
    assert [b - a for a, b in zip(one, two, strict=True)] == [128, 112, 56, 16]
    assert one == [128 + 32, 112, 56, 16]


def test_f_and_v_recursions_agree_where_there_is_no_level_between():
    assert f_cycle_counts([60, 15], 1) == v_cycle_counts([60, 15], 1)
    assert f_cycle_counts([64, 32, 16], 1, first=False) == v_cycle_counts([64, 32, 16], 1)


@pytest.mark.parametrize(("steps", "m", "nu"), [(64, 4, 0), (67, 4, 1), (63, 3, 2), (1000, 10, 0)])
def test_all_intervals_advance_in_one_call(steps, m, nu):
    """m - 1 calls an F-relaxation, one a C-relaxation, the residual and the right-hand side;
    only the march on the coarsest level is one call a step.
    """
    grid = pint.TimeGrid.uniform(1.0, steps, m, 2)
    recursion = ones(grid)
    counted(grid, 1, nu, recursion=recursion)
    assert recursion.calls == [(nu + 1) * m + (m - 1), 1 + steps // m]


@pytest.mark.parametrize("levels", [1, 3])
def test_first_guesses_cost_the_coarse_levels_only(levels):
    grid = pint.TimeGrid.uniform(1.0, 64, 2, levels)
    solver = pint.MGRIT(grid, pint.ArraySpace(1))
    y = solver.allocate()
    for guess in ("zero", "constant"):
        solver.set_guess(ones(grid), y, guess)
        assert sum(solver.steps_evaluated) == 0
    # Nested iteration: a V-cycle on the two coarse levels, and its last F-relaxation.
    for guess, expected in (("coarse", (0, 16, 16)), ("nested", (0, 64 + 16, 16 + 32))):
        before = np.array(solver.steps_evaluated)
        solver.set_guess(ones(grid), y, guess)
        assert tuple(solver.steps_evaluated - before) == (expected if levels == 3 else (0,))
