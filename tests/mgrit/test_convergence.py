"""What cycles do to the error: fixed point, exactness, the exact error propagator, guesses."""

import itertools

import numpy as np
import pytest
from pairwise import pairwise
from recursions import (
    GRIDS,
    Recursion,
    dahlquist,
    error_propagator,
    non_uniform,
    random_trajectory,
    solver_for,
)
from registry import SCHEMES, amplification

import pint

# Fixed point and exactness


@pytest.mark.parametrize(
    ("shape", "scheme", "reverse", "smoothing"),
    pairwise(
        GRIDS,
        SCHEMES,
        [False, True],
        [(0, "V", 1.0), (1, "F", 1.0), (2, "V", 0.7), (1, "F", 1.3)],
    ),
)
def test_the_sequential_solution_is_a_fixed_point(shape, scheme, reverse, smoothing):
    grid, (nu, cycle, c_weight) = non_uniform(*shape), smoothing
    solver = solver_for(grid, nu, cycle=cycle, c_weight=c_weight, reverse=reverse)
    recursion = dahlquist(grid, scheme, -1.3, forcing=0.8)
    rhs = random_trajectory(solver)
    exact = recursion.solution(2.0, rhs)
    y = exact.copy()
    convergence = solver.solve(recursion, y, pint.Accuracy(2), rhs)
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13 * abs(exact).max())
    assert max(convergence.residuals) <= 1e-13 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("shape", "scheme", "nu"),
    pairwise([shape for shape in GRIDS if shape[2] == 2], SCHEMES, [0, 1, 2]),
)
def test_two_levels_are_exact_after_as_many_cycles_as_intervals(shape, scheme, nu):
    """A cycle makes nu + 1 C-points more exact: ceil(N_c / (nu + 1)) cycles, and not one less."""
    grid = non_uniform(*shape)
    solver, recursion = solver_for(grid, nu), dahlquist(grid, scheme, -1.3, forcing=0.8)
    intervals = grid.steps // grid.strides[1]
    cycles = -(-intervals // (nu + 1))
    exact = recursion.solution(2.0)
    y = random_trajectory(solver)
    y[0] = 2.0
    solver.solve(recursion, y, pint.Accuracy(cycles))
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13 * abs(exact).max())


@pytest.mark.parametrize("nu", [0, 1, 2])
def test_exactness_is_reached_in_no_fewer_cycles(nu):
    """With a coarse step that is zero, a cycle is relaxation alone: nu + 1 intervals a cycle."""
    grid = pint.TimeGrid.uniform(1.0, 24, coarsening=4, levels=2)
    recursion = Recursion([np.ones(24), np.zeros(6)])
    solver = solver_for(grid, nu)
    y = solver.allocate()
    y[0] = 1.0
    for cycle in range(1, -(-6 // (nu + 1)) + 1):
        solver.solve(recursion, y, pint.Accuracy(1))
        exact = np.count_nonzero(y[4::4] == 1.0)
        assert exact == min(6, (nu + 1) * cycle)


# The error propagator


@pytest.mark.parametrize(
    ("shape", "scheme", "smoothing", "reverse"),
    pairwise(
        [(16, 2), (16, 4), (19, 4), (30, 3), (9, 5)],
        SCHEMES,
        [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (2, 0.8)],
        [False, True],
    ),
)
def test_error_propagator_of_two_levels(shape, scheme, smoothing, reverse):
    """At C-points ``e+ = E e``, with L the lower shift, a = R(z), b = R(m z):

    ``E = (I - b L)^{-1} (a^m - b) L (w a^m L + (1 - w) I)^nu``;
    F-relaxation is nu = 0, FCF-relaxation nu = 1.
    """
    (steps, m), (nu, c_weight) = shape, smoothing
    z = -2.0 / steps
    a, b = amplification(scheme, z), amplification(scheme, m * z)
    shift = np.eye(steps // m, k=-1)
    identity = np.eye(steps // m)
    smoothing = c_weight * a**m * shift + (1 - c_weight) * identity
    expected = np.linalg.inv(identity - b * shift) @ ((a**m - b) * shift)
    expected = expected @ np.linalg.matrix_power(smoothing, nu)

    grid = pint.TimeGrid.uniform(2.0, steps, m, 2)
    solver = solver_for(grid, nu, c_weight=c_weight, reverse=reverse)
    recursion = dahlquist(grid, scheme, -1.0)
    rhs = random_trajectory(solver, 1)
    exact, y = recursion.solution(1.5, rhs), random_trajectory(solver, 2)
    y[0] = 1.5
    error = (y - exact)[m::m, 0]
    for _ in range(3):
        solver.solve(recursion, y, pint.Accuracy(1), rhs)
        error = expected @ error
        np.testing.assert_allclose((y - exact)[m::m, 0], error, rtol=0, atol=2e-14)


@pytest.mark.parametrize(
    ("shape", "cycle", "smoothing"),
    pairwise(GRIDS, ["V", "F"], [(0, 1.0), (1, 1.0), (2, 1.0), (1, 0.7)]),
)
def test_error_propagator_of_many_levels(shape, cycle, smoothing):
    """At all points, with steps that differ; see `error_propagator`."""
    grid, (nu, c_weight) = non_uniform(*shape), smoothing
    solver = solver_for(grid, nu, cycle=cycle, c_weight=c_weight)
    recursion = dahlquist(grid, "backward-euler", -1.3, forcing=0.8)
    propagator = error_propagator(
        recursion.factors, grid.coarsening, [nu] * grid.levels, c_weight, cycle == "F"
    )
    rhs = random_trajectory(solver, 1)
    exact, y = recursion.solution(2.0, rhs), random_trajectory(solver, 2)
    y[0] = 2.0
    error = (y - exact)[1:, 0]
    for _ in range(3):
        solver.solve(recursion, y, pint.Accuracy(1), rhs)
        error = propagator @ error
        np.testing.assert_allclose((y - exact)[1:, 0], error, rtol=0, atol=5e-14)


def test_relaxation_may_differ_between_levels():
    grid = non_uniform(43, (4, 2, 3), 4)
    solver = pint.MGRIT(grid, pint.ArraySpace(1), relaxation=("FCFCF", "F", "FCF"))
    recursion = dahlquist(grid, "trapezoid", -1.3)
    propagator = error_propagator(recursion.factors, grid.coarsening, [2, 0, 1])
    exact, y = recursion.solution(2.0), random_trajectory(solver)
    y[0] = 2.0
    error = propagator @ (y - exact)[1:, 0]
    solver.solve(recursion, y, pint.Accuracy(1))
    np.testing.assert_allclose((y - exact)[1:, 0], error, rtol=0, atol=5e-14)


# Residuals, tolerances, warm start


def test_residual_is_that_of_the_c_points_after_relaxation():
    """With F-relaxation: ``r_C = a^m y_{C-m} - y_C`` from the C-points that it starts from."""
    grid = pint.TimeGrid.uniform(2.0, 22, 4, 2)
    solver = pint.MGRIT(grid, pint.ArraySpace(1, weight=0.5), relaxation="F")
    recursion = dahlquist(grid, "trapezoid", -1.0)
    y = random_trajectory(solver)
    a = recursion.factors[0][0]
    expected = 0.5 * np.linalg.norm(a**4 * y[0:-4:4][:5] - y[4::4])
    (residual,) = solver.solve(recursion, y, pint.Accuracy(1)).residuals
    assert residual == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_solves_can_be_continued(levels, cycle):
    """Five cycles are two and three: the C-points are all that a warm start needs."""
    grid = non_uniform(30, 2, levels)
    solver, recursion = solver_for(grid, cycle=cycle), dahlquist(grid, "trapezoid", -1.3, 0.8)
    at_once = random_trajectory(solver)
    in_two = at_once.copy()
    history = solver.solve(recursion, at_once, pint.Accuracy(5)).residuals
    first = solver.solve(recursion, in_two, pint.Accuracy(2)).residuals
    copied = solver.allocate()
    copied[0] = in_two[0]
    solver.copy_guess(in_two, copied)
    assert np.count_nonzero(copied) == 1 + 15
    second = solver.solve(recursion, copied, pint.Accuracy(3)).residuals
    assert history == first + second
    np.testing.assert_array_equal(at_once, copied)


@pytest.mark.parametrize("cycles", [1, 2, 7])
def test_without_tolerance_the_cycles_alone_decide(cycles):
    grid = non_uniform(32, 2, 4)
    solver, recursion = solver_for(grid), dahlquist(grid, "trapezoid", -1.3)
    y = recursion.solution(1.0)
    convergence = solver.solve(recursion, y, pint.Accuracy(cycles))
    assert len(convergence.residuals) == cycles
    assert convergence.residual == convergence.residuals[-1]


def test_tolerances_end_a_solve_at_the_first_residual_that_meets_all_of_them():
    """`relative` is the residual's norm over that of the trajectory, both over C-points."""
    grid = non_uniform(64, 2, 4)
    recursion = dahlquist(grid, "backward-euler", -1.3, 0.8)

    def solve(accuracy):
        solver = solver_for(grid)
        y = random_trajectory(solver)
        convergence = solver.solve(recursion, y, accuracy)
        # Solved or not, the F-points are those of the C-points.
        from_c_points = y.copy()
        for k in [k for k in range(64) if (k + 1) % 2]:
            recursion.apply(
                0, range(k, k + 1), from_c_points[k : k + 1], from_c_points[k + 1 : k + 2]
            )
        np.testing.assert_array_equal(y, from_c_points)
        return y, convergence

    y, convergence = solve(pint.Accuracy(8))
    norm, history = np.linalg.norm(y[2::2]), convergence.residuals
    assert not convergence.converged
    assert all(b < a / 2 for a, b in itertools.pairwise(history))
    between = [(a * b) ** 0.5 for a, b in itertools.pairwise(history)]
    for accuracy in (
        pint.Accuracy(8, absolute=between[3]),
        pint.Accuracy(8, relative=between[3] / norm),
        pint.Accuracy(8, absolute=between[3], relative=between[2] / norm),
        pint.Accuracy(8, absolute=between[2], relative=between[3] / norm),
        pint.Accuracy(5, absolute=between[3]),
    ):
        _, convergence = solve(accuracy)
        assert convergence.residuals == history[:5]
        assert convergence.converged
    for accuracy in (
        pint.Accuracy(4, absolute=between[3]),
        pint.Accuracy(4, absolute=between[1], relative=between[3] / norm),
        pint.Accuracy(4, absolute=0.0),
        pint.Accuracy(4, relative=0.0),
    ):
        _, limited = solve(accuracy)
        assert limited.residuals == history[:4]
        assert not limited.converged


def test_a_solve_that_starts_small_enough_takes_one_residual():
    grid = non_uniform(32, 2, 3)
    solver, recursion = solver_for(grid), dahlquist(grid, "trapezoid", -1.3)
    exact = recursion.solution(1.0)
    y = exact.copy()
    convergence = solver.solve(recursion, y, pint.Accuracy(9, absolute=1e-10))
    assert len(convergence.residuals) == 1
    assert convergence.converged
    assert solver.steps_evaluated[1:] == (0, 0)
    np.testing.assert_allclose(y, exact, rtol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_one_level_is_sequential_stepping(reverse):
    grid = non_uniform(20, 2, 1)
    solver = solver_for(grid, reverse=reverse)
    recursion = dahlquist(grid, "trapezoid", -1.3, 0.8)
    rhs = random_trajectory(solver)
    y = solver.allocate()
    y[0] = 2.0
    for solve in (
        lambda: solver.solve(recursion, y, pint.Accuracy(3), rhs),
        lambda: solver.march(recursion, y, rhs),
    ):
        y[1:] = 0.0
        convergence = solve()
        assert convergence.residuals == ()
        assert convergence.converged
        assert convergence.residual == 0.0
        np.testing.assert_array_equal(y, recursion.solution(2.0, rhs))


# First guesses


def test_zero_and_constant_guesses():
    grid = non_uniform(21, 2, 3)
    solver, recursion = solver_for(grid), dahlquist(grid, "trapezoid", -1.3)
    for guess, value in (("zero", 0.0), ("constant", 2.0)):
        y = random_trajectory(solver)
        y[0] = 2.0
        solver.set_guess(recursion, y, guess)
        assert y[0] == 2.0
        assert (y[1:] == value).all()


def coarser(grid, recursion, rhs):
    """Return the problem of level 1: its grid, its recursion, and the sums of rhs."""
    m = grid.coarsening[0]
    intervals = grid.steps // m
    sums = np.zeros((intervals + 1, 1))
    if rhs is not None:
        for i in range(intervals):
            sums[i + 1] = rhs[i * m + 1 : (i + 1) * m + 1].sum()
    t = grid.t[: intervals * m + 1 : m]
    coarse_grid = pint.TimeGrid(t, grid.coarsening[1:] or 2, grid.levels - 1)
    return coarse_grid, Recursion(recursion.factors[1:], recursion.forcings[1:]), sums


def guessed_c_points(grid, recursion, rhs, cycles):
    """Return C-points by the definition: the level below solved, from its own guess."""
    coarse_grid, coarse_recursion, sums = coarser(grid, recursion, rhs)
    solver = solver_for(coarse_grid)
    y = solver.allocate()
    y[0] = 2.0
    if coarse_grid.levels > 1:
        m = coarse_grid.coarsening[0]
        y[m::m] = guessed_c_points(coarse_grid, coarse_recursion, sums, cycles)
        if not cycles:
            for k in [k for k in range(coarse_grid.steps) if (k + 1) % m]:
                one = y[k + 1 : k + 2]
                coarse_recursion.march(0, range(k, k + 1), y[k : k + 1], one, sums[k + 1 : k + 2])
    if cycles or coarse_grid.levels == 1:
        solver.solve(coarse_recursion, y, pint.Accuracy(1), sums)
    return y[1:]


@pytest.mark.parametrize(
    ("shape", "guess", "with_rhs", "reverse"),
    pairwise(GRIDS, ["coarse", "nested"], [False, True], [False, True]),
)
def test_guesses_from_coarse_levels(shape, guess, with_rhs, reverse):
    """The coarsest level by stepping; nested iteration adds a V-cycle on each level between."""
    grid, cycles = non_uniform(*shape), 1 if guess == "nested" else 0
    solver = solver_for(grid, reverse=reverse)
    recursion = dahlquist(grid, "backward-euler", -1.3, 0.8)
    rhs = random_trajectory(solver) if with_rhs else None
    y = random_trajectory(solver)
    y[0] = 2.0
    solver.set_guess(recursion, y, guess, rhs)
    m = grid.coarsening[0]
    expected = guessed_c_points(grid, recursion, rhs, cycles)
    np.testing.assert_allclose(y[m::m], expected, rtol=0, atol=1e-13)


def test_coarse_guesses_are_exact_where_all_levels_agree():
    """With ``y[k+1] = y[k] + g[k+1]`` on every level, sums of g make the coarse march exact."""
    grid = pint.TimeGrid.uniform(1.0, 45, (3, 2), 3)
    recursion = Recursion([np.ones(45), np.ones(15), np.ones(7)])
    solver = solver_for(grid)
    rhs = random_trajectory(solver)
    for guess in ("coarse", "nested"):
        y = solver.allocate()
        y[0] = 2.0
        solver.set_guess(recursion, y, guess, rhs)
        np.testing.assert_allclose(y[3:43:3], recursion.solution(2.0, rhs)[3:43:3], rtol=1e-13)


def test_guesses_of_one_level_are_allowed():
    grid = non_uniform(6, 2, 1)
    for guess in ("zero", "constant", "coarse", "nested"):
        solver, recursion = solver_for(grid), dahlquist(grid, "trapezoid", -1.3)
        y = solver.allocate()
        y[0] = 2.0
        solver.set_guess(recursion, y, guess)
        solver.solve(recursion, y, pint.Accuracy(1))
        np.testing.assert_array_equal(y, recursion.solution(2.0))


# Values that are not finite


@pytest.mark.parametrize(
    ("coarsening", "rate", "bad"),
    [((16,), -40.0, 1), ((2, 16), -24.0, 2), ((2, 2), -12.0, None)],
)
def test_an_unstable_coarse_step_is_located(coarsening, rate, bad):
    """|1 + rate dt| <= 1 on all levels but the coarsest, where it is 25, 30 or 0.9."""
    grid = pint.TimeGrid.uniform(320.0, 8000, coarsening, len(coarsening) + 1)
    solver, recursion = solver_for(grid), dahlquist(grid, "forward-euler", rate)
    y = solver.allocate()
    y[0] = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        solver.solve(recursion, y, pint.Accuracy(1))
    assert solver.bad_level() == bad


def test_nan_of_the_fine_step_is_located():
    grid = pint.TimeGrid.uniform(1.0, 8, 2, 1)
    solver, recursion = solver_for(grid), Recursion([np.full(8, np.nan)])
    y = solver.allocate()
    y[0] = 1.0
    solver.solve(recursion, y, pint.Accuracy(1))
    assert solver.bad_level() == 0


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cycle="W"), "cycle=.*'W'"),
        (dict(c_weight=0.0), "c_weight="),
        (dict(c_weight=2.0), "c_weight="),
        (dict(c_weight=np.nan), "c_weight="),
        (dict(relaxation="C"), "relaxation.*'C'"),
        (dict(relaxation="FC"), "relaxation.*'FC'"),
        (dict(relaxation=""), "relaxation.*''"),
        (dict(relaxation=(1, 0)), "relaxation.*1"),
        (dict(relaxation=("F", "F", "F")), "relaxation.*3 words"),
    ],
)
def test_errors_of_the_solver_name_the_argument(options, message):
    grid = pint.TimeGrid.uniform(1.0, 16, 2, 3)
    with pytest.raises(ValueError, match=message):
        pint.MGRIT(grid, pint.ArraySpace(1), **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (dict(cycles=0), "cycles="),
        (dict(cycles=1.5), "cycles="),
        (dict(absolute=-1.0), "absolute="),
        (dict(relative=np.nan), "relative="),
        (dict(relative=np.inf), "relative="),
    ],
)
def test_errors_of_the_accuracy_name_the_argument(options, name):
    with pytest.raises(ValueError, match=name):
        pint.Accuracy(**options)


def test_error_names_an_unknown_guess():
    grid = pint.TimeGrid.uniform(1.0, 16, 2, 2)
    solver = solver_for(grid)
    with pytest.raises(ValueError, match=r"guess.*'best'"):
        solver.set_guess(dahlquist(grid, "trapezoid", -1.0), solver.allocate(), "best")
