"""The heat-control problems of `problems.heat` with PETSc states, distributed in space.

The unknowns lie on a DMDA; each step is a KSP solve, its matrix and preconditioner made once for
each step size: a Cholesky factorisation on one rank, conjugate gradients with incomplete Cholesky
factorisation of each rank's block on several, starting from the guess that MGRIT has of the new
state. PETSc options with the prefix ``heat_`` change that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from petsc4py import PETSc

import pint
from pint.comm import reduce
from pint.interface import Fields
from pint.states.petsc import PetscSpace
from problems.heat import Coordinates, Heat, HeatData, rounded


class Mesh:
    """The distributed mesh of a `Heat` problem.

    Parameters
    ----------
    heat : Heat
    comm : communicator
        The ranks in space.

    Attributes
    ----------
    space : PetscSpace
    coordinates : tuple of ndarray, shape (local size,)
        Of this rank's unknowns, in the order of their storage.
    natural : ndarray of int, shape (local size,)
        Their numbers in the order of ``heat.coordinates``.
    """

    def __init__(self, heat: Heat, comm: Any) -> None:
        self.heat = heat
        self.comm = comm
        petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
        self.da = PETSc.DMDA().create(
            [heat.points] * heat.dimension, dof=1, stencil_width=1, comm=petsc_comm
        )
        self.space = PetscSpace(self.da, weight=heat.volume**0.5)
        # A DMDA stores the first direction fastest, `Heat.coordinates` the last.
        owned = [np.arange(first, last) for first, last in self.da.getRanges()]
        index = np.meshgrid(*owned, indexing="ij")
        strides = [heat.points**power for power in reversed(range(heat.dimension))]
        natural = sum(axis * stride for axis, stride in zip(index, strides, strict=True))
        self.natural = np.asarray(natural).ravel(order="F")
        self.coordinates: Coordinates = tuple(x[self.natural] for x in heat.coordinates)

        # The numbers that PETSc gives to the unknowns, in natural order.
        self.numbers = np.empty(heat.size, dtype=PETSc.IntType)
        self.numbers[np.concatenate(comm.allgather(self.natural))] = np.arange(heat.size)

    def matrix(self, matrix: Any, source: Mesh | None = None) -> PETSc.Mat:
        """Return a sparse matrix, given in the order of ``heat.coordinates``, on the mesh.

        It takes values on the mesh `source`, by default this one.
        """
        source = source or self
        rows = matrix.tocsr()[self.natural]
        return PETSc.Mat().createAIJ(
            size=((len(self.natural), self.heat.size), (len(source.natural), source.heat.size)),
            csr=(rows.indptr.astype(PETSc.IntType), source.numbers[rows.indices], rows.data),
            comm=self.da.getComm(),
        )


class PetscHeatStepper(pint.TimeStepper):
    """`problems.heat.HeatStepper` with PETSc vectors.

    Parameters
    ----------
    mesh : Mesh
    data : HeatData
    meshes, coarse_data
        As of `problems.heat.Heat.problem`; meshes with fewer points in each direction than ranks
        in space are left out.
    control_map : pair of (Mesh, sparse matrix), optional
        The mesh of level 0, and the map of its distributed control to the mesh of a coarse level.
    """

    uses_guess = True

    def __init__(
        self,
        mesh: Mesh,
        data: HeatData,
        meshes: Sequence[Heat] = (),
        coarse_data: Callable[[Coordinates], HeatData] | None = None,
        control_map: tuple[Mesh, Any] | None = None,
    ) -> None:
        self._meshes, self._coarse_data, self._map = meshes, coarse_data, control_map
        self._coarse: list[PetscHeatStepper] = []
        self._transfer: pint.Transfer | None = None
        if control_map is not None:
            finest, matrix = control_map
            self._control_map = mesh.matrix(matrix, finest)
            self._control, self._force = self._control_map.createVecs()
        self.mesh = mesh
        self.heat = mesh.heat
        self.data = data
        self.laplacian = mesh.matrix(self.heat.laplacian)
        self.right, self.new = (mesh.da.createGlobalVec() for _ in range(2))
        self._solvers: dict[float, PETSc.KSP] = {}
        last_point = self.heat.size - 1
        self.boundary = np.flatnonzero(mesh.natural == last_point)

    @property
    def space(self) -> PetscSpace:
        return self.mesh.space

    def coarsen(self, level: int) -> PetscHeatStepper:
        while len(self._coarse) < min(level, len(self._meshes)):
            finer = self.coarsen(len(self._coarse))
            self._coarse.append(finer.on(self._meshes[len(self._coarse)], self._coarse_data))
        some = self._coarse[:level]
        return some[-1] if some else self

    def on(
        self, coarse: Heat, make_data: Callable[[Coordinates], HeatData] | None
    ) -> PetscHeatStepper:
        """Return the stepper on the mesh of ``heat.coarser``; this one where there is no such."""
        comm = self.mesh.comm
        if make_data is None or coarse != self.heat.coarser or coarse.points < comm.size:
            return self
        mesh = Mesh(coarse, comm)
        finest, control_map = self._map or (self.mesh, scipy.sparse.identity(self.heat.size))
        down = self.heat.restriction()
        new = PetscHeatStepper(
            mesh, make_data(mesh.coordinates), control_map=(finest, down @ control_map)
        )
        up = self.mesh.matrix(self.heat.interpolation(), mesh)
        new._transfer = pint.Transfer(mesh.matrix(down, self.mesh), up)
        return new

    def transfer(self, level: int) -> pint.Transfer | None:
        fine, coarse = self.coarsen(level - 1), self.coarsen(level)
        return None if coarse is fine else coarse._transfer

    def initial(self, theta: Fields) -> Any:
        initial = theta["u"] if self.heat.control == "initial" else self.data.initial
        self.new.array[:] = initial
        return self.new

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields) -> Any:
        w = self.heat.implicitness
        self.explicit(s.dt, y, self.right)
        source = w * self.data.source(s.t1)
        if w < 1:
            source = source + (1 - w) * self.data.source(s.t0)
        values = self.right.array
        values += s.dt * source
        if self.heat.control == "distributed":
            values += s.dt * self.force(u["u"])
        elif self.heat.control == "neumann":
            values[self.boundary] += s.dt / self.heat.h * u["u"][0]
        self.solve(s.dt, self.right, self.new, s.guess)
        return self.new

    def force(self, control: np.ndarray) -> np.ndarray:
        """Return the distributed control of level 0 on this mesh."""
        if self._map is None:
            return control
        self._control.array[:] = control
        self._control_map.mult(self._control, self._force)
        return self._force.array_r

    def force_transposed(self, slope: np.ndarray) -> np.ndarray:
        """Return the transpose of `force`, applied to values on this mesh."""
        if self._map is None:
            return slope
        self._force.array[:] = slope
        self._control_map.multTranspose(self._force, self._control)
        return self._control.array_r

    def explicit(self, dt: float, y: PETSc.Vec, result: PETSc.Vec) -> None:
        """Put ``(I + (1 - w) dt A) y`` into `result`."""
        w = self.heat.implicitness
        if w == 1:
            y.copy(result)
            return
        self.laplacian.mult(y, result)
        result.aypx((1 - w) * dt, y)

    def solve(
        self, dt: float, right: PETSc.Vec, result: PETSc.Vec, guess: PETSc.Vec | None = None
    ) -> None:
        """Put ``(I - w dt A)^{-1} right`` into `result`; the matrix is symmetric.

        An iterative solver starts from `guess`, or from zero. It stops when the residual is small
        relative to `right`, so that the guess does not change how accurate the result is.
        """
        solver = self._solver(rounded(dt))
        iterative = solver.getType() != PETSc.KSP.Type.PREONLY  # which refuses a guess
        solver.setInitialGuessNonzero(iterative and guess is not None)
        if iterative and guess is not None:
            guess.copy(result)
        solver.solve(right, result)
        if solver.getConvergedReason() < 0:
            raise pint.NumericalError(
                f"the linear solver for step size {dt:.3g} failed with PETSc's reason "
                f"{solver.getConvergedReason()}: choose another one by options `-heat_ksp_type`, "
                "`-heat_pc_type`."
            )

    def _solver(self, dt: float) -> PETSc.KSP:
        if dt not in self._solvers:
            matrix = self.mesh.matrix(self.heat.implicit_matrix(dt))
            solver = PETSc.KSP().create(matrix.getComm())
            solver.setOperators(matrix)
            direct = self.mesh.comm.size == 1
            solver.setType("preonly" if direct else "cg")
            solver.getPC().setType("cholesky" if direct else "bjacobi")
            solver.setTolerances(rtol=1e-15, atol=1e-50, max_it=1000)
            solver.setNormType(
                PETSc.KSP.NormType.NONE if direct else PETSc.KSP.NormType.UNPRECONDITIONED
            )
            solver.setOptionsPrefix("heat_")
            solver.setFromOptions()
            self._solvers[dt] = solver
        return self._solvers[dt]

    def destroy(self) -> None:
        """Free all PETSc objects; the stepper cannot be used afterwards. Collective."""
        for solver in self._solvers.values():
            solver.getOperators()[0].destroy()
            solver.destroy()
        for thing in (self.laplacian, self.right, self.new):
            thing.destroy()
        if self._map is not None:
            for thing in (self._control_map, self._control, self._force):
                thing.destroy()
        if self._transfer is not None:
            self._transfer.restrict.destroy()
            self._transfer.prolong.destroy()
        for coarse in dict.fromkeys(self._coarse):
            if coarse is not self:
                coarse.destroy()
        self.mesh.space.destroy()


class PetscHeatAdjoint(pint.Adjoint):
    """Transposes of `PetscHeatStepper`; all its matrices are symmetric."""

    def __init__(self, stepper: PetscHeatStepper) -> None:
        self.stepper = stepper
        self.solved, self.new = (stepper.mesh.da.createGlobalVec() for _ in range(2))

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        self.stepper.solve(s.dt, lam, self.solved)
        self.stepper.explicit(s.dt, self.solved, self.new)
        return self.new

    def vjp(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        dy, heat = self.step(s, y, u, theta, lam), self.stepper.heat
        if heat.control == "initial":
            return dy, {}, {}
        weighted = s.dt * self.solved.array_r
        if heat.control == "distributed":
            return dy, {"u": self.stepper.force_transposed(weighted)}, {}
        at_boundary = weighted[self.stepper.boundary].sum() / heat.h
        return dy, {"u": reduce(self.stepper.mesh.comm, at_boundary)}, {}

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return {"u": lam0.array_r} if self.stepper.heat.control == "initial" else {}

    def coarsen(self, level: int) -> PetscHeatAdjoint:
        stepper = self.stepper.coarsen(level)
        return self if stepper is self.stepper else PetscHeatAdjoint(stepper)


class PetscHeatTracking(pint.Objective):
    """`problems.heat.HeatTracking` with PETSc vectors."""

    def __init__(self, mesh: Mesh, data: HeatData) -> None:
        self.mesh = mesh
        self.heat = mesh.heat
        self.data = data
        self.slopes = [mesh.da.createGlobalVec() for _ in range(2)]

    def _ends(self, s: pint.Steps, y0: Any, y1: Any) -> list[tuple[float, np.ndarray]]:
        """Return weights and deviations from the target at the beginning and at the end."""
        w, weight = self.heat.implicitness, self.heat.volume * s.dt
        return [
            (weight * (1 - w), y0.array_r - self.data.target(s.t0)),
            (weight * w, y1.array_r - self.data.target(s.t1)),
        ]

    def step_cost(self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        tracking = sum(weight * (off @ off) for weight, off in self._ends(s, y0, y1))
        control = self.heat.alpha * s.dt * (u["u"] @ u["u"])
        if self.heat.control == "distributed":
            return 0.5 * reduce(self.mesh.comm, tracking + self.heat.volume * control)[0]
        return 0.5 * (reduce(self.mesh.comm, tracking)[0] + control)

    def step_cost_derivative(
        self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        for slope, (weight, off) in zip(self.slopes, self._ends(s, y0, y1), strict=True):
            slope.array[:] = weight * off
        volume = self.heat.volume if self.heat.control == "distributed" else 1.0
        return *self.slopes, {"u": volume * self.heat.alpha * s.dt * u["u"]}, {}


class PetscHeatTerminal(pint.Objective):
    """`problems.heat.HeatTerminal` with PETSc vectors."""

    def __init__(self, mesh: Mesh, data: HeatData) -> None:
        self.mesh = mesh
        self.heat = mesh.heat
        self.data = data
        self.slope = mesh.da.createGlobalVec()

    def terminal(self, y: Any, theta: Fields) -> Any:
        off = y.array_r - self.data.target(0.0)
        squares = off @ off + self.heat.alpha * (theta["u"] @ theta["u"])
        return 0.5 * self.heat.volume * reduce(self.mesh.comm, squares)[0]

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        volume = self.heat.volume
        self.slope.array[:] = volume * (y.array_r - self.data.target(0.0))
        return self.slope, {"u": volume * self.heat.alpha * theta["u"]}


def petsc_problem(
    heat: Heat,
    comm: Any,
    make_data: Callable[[Coordinates], HeatData],
    meshes: Sequence[Heat] = (),
) -> tuple[pint.Problem, Mesh]:
    """Return a heat-control problem with PETSc states, and its mesh.

    Parameters
    ----------
    heat : Heat
    comm : communicator
        The space communicator of `pint.split`; the grid has the time communicator.
    make_data : callable
        Makes the data at given coordinates: for example ``partial(zero_target, heat)``.
    meshes : sequence of Heat
        Of coarse levels: ``heat.meshes(grid)`` or ``heat.halvings``.
    """
    mesh = Mesh(heat, comm)
    data = make_data(mesh.coordinates)
    stepper = PetscHeatStepper(mesh, data, meshes, make_data)
    local = len(mesh.natural)
    if heat.control == "neumann":
        field: Any = pint.TimeControl(1)
    elif heat.control == "initial":
        field = pint.SharedControl(local, weight=heat.volume, comm=comm)
    else:
        field = pint.TimeControl(local, weight=heat.volume, comm=comm)
    objective: pint.Objective = (
        PetscHeatTerminal(mesh, data)
        if heat.control == "initial"
        else PetscHeatTracking(mesh, data)
    )
    return pint.Problem(stepper, PetscHeatAdjoint(stepper), objective, controls={"u": field}), mesh
