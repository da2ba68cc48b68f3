"""Interpolation between PETSc meshes as a transfer, on every split of the ranks."""

import numpy as np
import pytest
from parallel.cases import each_split

import pint
from pint.comm import split
from pint.verify import check_problem

pytestmark = pytest.mark.petsc


class OnNodes(pint.TimeStepper):
    """``y_{n+1} = exp(-dt) y_n + dt (x + u_n)`` at the nodes of a DMDA, x the first coordinate."""

    def __init__(self, meshes, level=0):
        from petsc4py import PETSc

        from pint.states.petsc import PetscSpace

        self._meshes, self.level = meshes, level
        self._mesh = meshes[min(level, len(meshes) - 1)]
        self._new = self._mesh.createGlobalVec()
        self._space = PetscSpace(self._mesh)
        assert PETSc.ScalarType is np.float64
        self._x = self._mesh.getCoordinates().array_r[:: len(self._mesh.getSizes())].copy()

    @property
    def space(self):
        return self._space

    def coarsen(self, level):
        return OnNodes(self._meshes, level)

    def transfer(self, level):
        from pint.states.petsc import interpolation

        return interpolation(*self._meshes[level - 1 : level + 1])

    def initial(self, theta):
        self._new.array[:] = 1.0 + self._x
        return self._new

    def step(self, s, y, u, theta):
        self._new.array[:] = np.exp(-s.dt) * y.array_r + s.dt * (self._x + u["u"][0])
        return self._new


class OnNodesAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper
        self._new = stepper._new.duplicate()

    def vjp(self, s, y, u, theta, lam):
        self._new.array[:] = np.exp(-s.dt) * lam.array_r
        return self._new, {"u": np.array([s.dt * lam.sum()])}, {}

    def coarsen(self, level):
        return OnNodesAdjoint(self.stepper.coarsen(level))


class Squares(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * y.dot(y)

    def terminal_derivative(self, y, theta):
        return y.copy(), {}


def functional_of(comms, dimension, levels):
    from petsc4py import PETSc

    comm = PETSc.COMM_SELF if comms[1].size == 1 else comms[1]
    meshes = [PETSc.DMDA().create([5] * dimension, stencil_width=1, comm=comm)]
    while len(meshes) < levels:
        meshes.insert(0, meshes[0].refine())
    for mesh in meshes:
        mesh.setUniformCoordinates(0, 1, 0, 1)
    stepper = OnNodes(meshes[:levels])
    controls = {"u": pint.TimeControl(1)}
    problem = pint.Problem(stepper, OnNodesAdjoint(stepper), Squares(), controls)
    grid = pint.TimeGrid.uniform(1.0, 12, 2, levels, comms[0])
    return pint.ReducedFunctional(problem, grid, accuracy=pint.Accuracy(30, relative=1e-14))


@each_split
@pytest.mark.parametrize("dimension", [1, 2])
def test_interpolation_of_a_mesh(dimension, space_size, world):
    comms = split(world, space_size)
    functional = functional_of(comms, dimension, 3)
    control = functional.controls.control(u=np.linspace(0, 1, 12)[:, None])
    level = functional.state.solver.levels[1]
    fine, coarse = level.transfer.fine.allocate(1), level.space.allocate(1)
    fine[...] = 1.0
    level.transfer.restrict(fine, coarse)
    np.testing.assert_allclose(coarse, 1.0, rtol=1e-14)
    level.transfer.prolong(coarse, fine)
    np.testing.assert_allclose(fine, 1.0, rtol=1e-14)
    value, gradient = functional.value_and_gradient(control)
    # The states are known: y_N = exp(-1) (1 + x) + sum_n exp(-(1 - t_n)) dt (x + u_n).
    n, dt = 17, 1 / 12
    decays = np.exp(-(1 - np.arange(1, 13) * dt))
    x = np.linspace(0, 1, n)[:, None]
    last = np.exp(-1) * (1 + x[:, 0]) + (decays * dt * (x + control.gather()["u"][:, 0])).sum(
        axis=1
    )
    many = n ** (dimension - 1)
    assert value == pytest.approx(0.5 * many * (last**2).sum(), rel=1e-12)
    expected = decays * last.sum() * many
    np.testing.assert_allclose(gradient.gather()["u"][:, 0], expected, rtol=1e-11)


@each_split
def test_check_problem_tests_the_matrices(space_size, world):
    functional = functional_of(split(world, space_size), 1, 2)
    report = check_problem(functional.problem, functional.grid)
    report.require()
    assert sum(one.method == "OnNodes.transfer" for one in report.checks) == 6
    transfer = functional.problem.stepper.transfer(1)
    spaces = functional.calls.spaces
    with pytest.raises(ValueError, match=r"restrict=.*rows.*exchanged"):
        pint.Transfer(transfer.prolong, transfer.restrict).between(*spaces, False, "x")
    with pytest.raises(TypeError, match="pair of functions"):
        pint.Transfer(np.eye(3), transfer.prolong).between(*spaces, False, "x")
