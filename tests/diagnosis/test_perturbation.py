"""Cycles on errors of the C-points against the matrices of the exact error propagation."""

import numpy as np
import pytest
from diagnosis_cases import dahlquist, functional, heat, oscillator

import pint
from pint.diagnosis import diagnose
from pint.equations import March
from pint.mgrit.cycle import Smoother
from pint.mgrit.perturbation import Perturbation
from problems.heat import Heat, zero_target


def near(new, equation, depth=0, levels=2):
    state, control = new.state.new(), new.control(u=0.1)
    new.state.solve(state, control, March())
    if equation == "state":
        return Perturbation(
            new.state.solver, new.state.propagator(control), depth, state.points, levels
        )
    return Perturbation(new.adjoint.solver, new.adjoint.propagator(state), depth, None, levels)


def propagation(fine, coarse, count, intervals):
    """Return ``(I - B L)^{-1} (A - B) L (A L)^count`` for matrices A, B of one interval."""
    shift = np.eye(intervals, k=-1)
    size, units = len(fine), np.eye(intervals * len(fine))
    step = np.kron(shift, fine - coarse)
    whole = np.linalg.solve(units - np.kron(shift, coarse), step)
    return whole @ np.linalg.matrix_power(np.kron(shift, fine), count), size


def implicit_euler(ode, dt):
    return np.linalg.inv(np.eye(len(ode.matrix)) - dt * ode.matrix)


@pytest.mark.parametrize("storage", ["all", "C"])
@pytest.mark.parametrize("relaxation", ["F", "FCF", "FCFCF"])
@pytest.mark.parametrize("equation", ["state", "adjoint"])
@pytest.mark.parametrize("make", [dahlquist, oscillator, heat])
def test_two_levels(make, equation, relaxation, storage):
    ode, N, m = make(), 24, 4
    new = functional(ode, N=N, m=m, relaxation="FCF", storage=storage)
    one, count = near(new, equation), relaxation.count("C")
    fine = np.linalg.matrix_power(implicit_euler(ode, 1 / N), m)
    coarse = implicit_euler(ode, m / N)
    if equation == "adjoint":
        fine, coarse = fine.T, coarse.T
    expected, size = propagation(fine, coarse, count, N // m)
    error = one.random()
    assert one.norm(error) == pytest.approx(1.0)
    after, _ = one.cycled(error, Smoother((count,)))
    # Blocks ascend in time, and sweeps backward number points from the end.
    flip = -1 if equation == "adjoint" else 1
    matrix_result = (expected @ error[::flip].ravel()).reshape(-1, size)
    np.testing.assert_allclose(after[::flip], matrix_result, atol=1e-7)


@pytest.mark.parametrize("equation", ["state", "adjoint"])
def test_two_coarse_levels_and_all_levels(equation):
    ode, N = oscillator(), 48
    new = functional(ode, T=4.0, N=N, m=[2, 3], levels=3, relaxation="F")
    fine, middle, coarse = (
        np.linalg.matrix_power(implicit_euler(ode, 4.0 / N * stride), power)
        for stride, power in ((1, 2), (2, 3), (6, 1))
    )
    if equation == "adjoint":
        fine, middle, coarse = fine.T, middle.T, coarse.T
    flip = -1 if equation == "adjoint" else 1
    expected, _ = propagation(middle, coarse, 1, N // 6)
    one = near(new, equation, depth=1)
    error = one.random()
    after, _ = one.cycled(error, Smoother((0, 1)))
    np.testing.assert_allclose(after[::flip].ravel(), expected @ error[::flip].ravel(), atol=1e-7)
    # The V-cycle against the nonlinear solver: its problem is linear, too.
    whole = near(new, equation, levels=3)
    small = whole.random(seed=3)
    first, _ = whole.cycled(small, Smoother((0, 0)))
    half, _ = whole.cycled(0.5 * small, Smoother((0, 0)))
    np.testing.assert_allclose(first, 2 * half, atol=1e-6)


def test_growth_over_an_interval():
    N, m, rate = 24, 4, -2.0
    one = near(functional(dahlquist(rate), N=N, m=m), "adjoint")
    fine, coarse = (1 - rate / N) ** -m, 1 / (1 - rate * m / N)
    assert one.growth(one.random()) == pytest.approx((fine, coarse, abs(fine - coarse)), rel=1e-9)


@pytest.mark.parametrize("relaxation", ["F", "FCF", "FCFCF"])
@pytest.mark.parametrize("equation", ["state", "adjoint"])
def test_levels_in_two_spaces(equation, relaxation):
    problem, N, m = Heat(points=7), 24, 4
    data = zero_target(problem)
    grid = pint.TimeGrid.uniform(1.0, N, m, 2)
    new = pint.ReducedFunctional(
        problem.problem(data, lambda places: zero_target(problem, places)), grid
    )
    one, count, intervals = near(new, equation), relaxation.count("C"), N // m
    fine, coarse = (
        np.linalg.inv(mesh.implicit_matrix(dt).toarray())
        for mesh, dt in ((problem, 1 / N), (problem.coarser, m / N))
    )
    down, up = problem.restriction().toarray(), problem.interpolation().toarray()
    if equation == "adjoint":
        down, up = up.T, down.T
    shift, units = np.eye(intervals, k=-1), np.eye(intervals)
    before = np.kron(shift, np.linalg.matrix_power(fine, m))
    solved = np.linalg.solve(np.eye(intervals * 3) - np.kron(shift, coarse), np.kron(units, down))
    expected = np.eye(len(before)) - np.kron(units, up) @ solved @ (np.eye(len(before)) - before)
    expected = expected @ np.linalg.matrix_power(before, count)
    error = one.random()
    after, _ = one.cycled(error, Smoother((count,)))
    flip = -1 if equation == "adjoint" else 1
    np.testing.assert_allclose(after[::flip].ravel(), expected @ error[::flip].ravel(), atol=1e-7)
    by_fine, by_coarse, mismatch = one.growth(error)
    begins = error[::flip][:-1].reshape(-1, 7)
    steps = [np.linalg.matrix_power(fine, m), up @ coarse @ down]
    sizes = [np.linalg.norm(begins @ step.T) for step in (*steps, steps[0] - steps[1])]
    np.testing.assert_allclose(
        [by_fine, by_coarse, mismatch], np.array(sizes) / np.linalg.norm(begins), rtol=1e-6
    )


def test_a_diagnosis_of_levels_in_two_spaces():
    """F-relaxation leaves what the restriction takes to zero."""
    problem = Heat(points=15)
    new = pint.ReducedFunctional(
        problem.problem(zero_target(problem), lambda places: zero_target(problem, places)),
        pint.TimeGrid.uniform(1.0, 32, 2, 2),
    )
    found = {(one.relaxation, one.equation): one for one in diagnose(new, new.control()).factors}
    for equation in ("state", "adjoint"):
        assert found["F", equation].value == pytest.approx(1.0, abs=0.02)
        assert found["FCF", equation].value < 0.3
        assert found["FCF", equation].theory is None
