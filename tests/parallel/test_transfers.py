"""Levels with other states on many ranks: the numbers of one rank."""

import numpy as np
import pytest
from mesh_problems import reaction_problem
from parallel.cases import (
    SMALL,
    assert_same_control,
    assert_same_residuals,
    assert_same_trajectory,
    each_split,
    random_case,
)
from registry import random_control

import pint
from pint.comm import reduce, split
from pint.equations import Cycles, Lagged
from problems.meshes import interpolation

CASES = [*SMALL[1:], *(random_case(seed, largest=24) for seed in (301, 302, 305, 306, 309))]


def functional(case, comm):
    seed = case.seed
    points = ((15, 7, 3), (7, 7, 3), (15, 15, 7, 3))[seed % 3]
    return pint.ReducedFunctional(
        reaction_problem(points, batched=seed % 2 == 0),
        case.grid(comm),
        accuracy=pint.Accuracy(2),
        relaxation=("FCF", "FCFCF")[seed // 2 % 2],
        cycle=("V", "F")[seed // 3 % 2],
        guess=("nested", "coarse", "constant")[seed % 3],
    )


@pytest.mark.layout
@pytest.mark.parametrize("case", CASES, ids=str)
def test_solves_and_derivatives(world, case):
    each = [functional(case, comm) for comm in (world, pint.SerialComm())]
    found = []
    for one in each:
        control = random_control(one.controls, case.seed)
        state, adjoint = one.state.new(), one.adjoint.new()
        for how in (
            (Cycles(one.accuracy), Lagged(2)) if case.levels > 1 else (Cycles(one.accuracy),)
        ):
            one.state.solve(state, control, how)
            one.adjoint.solve(adjoint, state, how)
            control = 0.9 * control
        found.append((state, adjoint, one.derivative_of(state, adjoint)))
    ours = each[0]
    for mine, theirs in zip(found[0][:2], found[1][:2], strict=True):
        assert_same_trajectory(ours.grid, mine.points, theirs.points)
        assert_same_residuals(
            mine.convergence.residuals, theirs.convergence.residuals, theirs.points
        )
    assert_same_control(found[0][2], found[1][2])
    if case.levels > 1:
        size = ours.state.solver.levels[1].space.shape
        assert found[0][0].tau.shape[1:] == size


@pytest.mark.layout
def test_c_points_alone(world):
    values = []
    for comm in (world, pint.SerialComm()):
        grid = pint.TimeGrid.uniform(1.0, 24, (4, 2), 3, comm)
        one = pint.ReducedFunctional(reaction_problem((15, 7, 3)), grid, storage="C")
        values.append((one, *one.value_and_gradient(random_control(one.controls))))
    assert values[0][1] == pytest.approx(values[1][1], rel=1e-12)
    assert_same_control(values[0][2], values[1][2])


@pytest.mark.layout
def test_an_optimum(world):
    results = []
    for comm in (world, pint.SerialComm()):
        grid = pint.TimeGrid.uniform(1.0, 24, 2, 3, comm)
        one = pint.ReducedFunctional(reaction_problem((7, 3)), grid)
        start = one.controls.control(theta=np.ones(1))
        results.append(pint.minimize(one, start, pint.OneShot(2, iterations=6)))
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-10)


class Columns(pint.TimeStepper):
    """``(I - dt L) y_{n+1} = y_n + dt u_n`` for columns, of which each rank in space has some."""

    batched = True

    def __init__(self, columns, comm, size=7, lift=None):
        self._columns, self._comm, self._size = columns, comm, size
        self._lift = np.eye(size) if lift is None else lift
        self.initial_state = np.outer(np.ones(size), 1.0 + columns)
        self._laplacian = 0.05 * (size + 1) ** 2 * (np.eye(size, k=1) + np.eye(size, k=-1))
        self._laplacian -= 0.1 * (size + 1) ** 2 * np.eye(size)

    may_differ = ("initial_state",)

    @property
    def space(self):
        return pint.ArraySpace((self._size, len(self._columns)), comm=self._comm, axis=1)

    def solve(self, dt, right):
        return np.linalg.solve(np.eye(self._size) - dt * self._laplacian, right)

    def step(self, s, y, u, theta):
        return self.solve(s.dt, y + s.dt * (self._lift @ u["u"][:, :, None]))

    def coarsen(self, level):
        return Columns(self._columns, self._comm, 3, interpolation(7, 1, False).toarray().T / 2)

    def transfer(self, level):
        if level > 1:
            return None
        P = interpolation(7, 1, False).toarray()
        return pint.Transfer(
            (lambda y: P.T @ y / 2, lambda y: P @ y / 2), (P.__matmul__, P.T.__matmul__)
        )


class ColumnsAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self._stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        dy = self._stepper.solve(s.dt, lam)
        return dy, {"u": (s.dt * (self._stepper._lift.T @ dy)).sum(axis=-1)}, {}

    def coarsen(self, level):
        return ColumnsAdjoint(self._stepper.coarsen(level))


class SumOfSquares(pint.Objective):
    def __init__(self, comm):
        self._comm = comm

    def terminal(self, y, theta):
        return 0.5 * float(reduce(self._comm, (y**2).sum())[0])

    def terminal_derivative(self, y, theta):
        return y, {}


@each_split
def test_states_divided_among_ranks_in_space(world, space_size):
    slopes = []
    for comms in (split(world, space_size), (pint.SerialComm(), pint.SerialComm())):
        columns = np.array_split(np.arange(5), comms[1].size)[comms[1].rank]
        stepper = Columns(columns, comms[1])
        controls = {"u": pint.TimeControl(7)}
        problem = pint.Problem(
            stepper, ColumnsAdjoint(stepper), SumOfSquares(comms[1]), controls, comm=comms[1]
        )
        grid = pint.TimeGrid.uniform(1.0, 12, 2, 3, comms[0])
        one = pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(2), unconverged="ignore")
        slopes.append((one.value(random_control(one.controls)), one))
    (value, ours), (expected, serial) = slopes
    assert value == pytest.approx(expected, rel=1e-12)
    assert_same_control(*(one.derivative(random_control(one.controls)) for one in (ours, serial)))
