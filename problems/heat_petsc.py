"""The heat-control problems of `problems.heat` with PETSc states, distributed in space.

The unknowns lie on a DMDA; steps are those of `pint.petsc.ImplicitStep`: a Cholesky factorisation
on one rank, conjugate gradients with incomplete factorisations of each rank's block on several,
starting from the guess that MGRIT has of the new state. PETSc options with the prefix ``heat_``
change that.
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
from pint.petsc import ImplicitAdjoint, ImplicitStep, LinearEquation
from problems.heat import Coordinates, Heat, HeatData

ITERATIVE = {
    "ksp_type": "cg",
    "pc_type": "bjacobi",
    "ksp_norm_type": "unpreconditioned",
    "ksp_rtol": 1e-15,
}
"""Options of the linear solver on several ranks in space; its residuals are near rounding."""


class Mesh:
    """The distributed mesh of a `Heat` problem.

    Parameters
    ----------
    heat : Heat
    comm : communicator
        The ranks in space.

    Attributes
    ----------
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


def heat_equation(
    mesh: Mesh, data: HeatData, control_map: tuple[Mesh, Any] | None = None
) -> LinearEquation:
    """Return the equation on a mesh. Collective.

    Parameters
    ----------
    mesh : Mesh
    data : HeatData
    control_map : pair of (Mesh, sparse matrix), optional
        The mesh of level 0, and the map of its distributed control to this mesh.
    """
    heat, laplacian = mesh.heat, mesh.matrix(mesh.heat.laplacian)
    laplacian.setOption(PETSc.Mat.Option.SYMMETRIC, True)
    controls: dict[str, Any] = {}
    if heat.control == "neumann":
        at_boundary = mesh.natural == heat.size - 1
        controls["u"] = at_boundary[:, None] / heat.h
    elif heat.control == "distributed":
        controls["u"] = 1.0 if control_map is None else mesh.matrix(control_map[1], control_map[0])
    return LinearEquation(
        laplacian,
        controls=controls,
        source=data.source,
        initial_state=np.broadcast_to(data.initial, len(mesh.natural)),
        initial_field="u" if heat.control == "initial" else None,
        template=mesh.da,
        weight=heat.volume**0.5,
    )


def coarse_equations(
    mesh: Mesh, meshes: Sequence[Heat], make_data: Callable[[Coordinates], HeatData]
) -> list[tuple[LinearEquation, pint.Transfer] | None]:
    """Return equations and transfers for `ImplicitStep(coarse=...)`. Collective.

    Meshes with fewer points in each direction than ranks in space are left out.
    """
    finest, control_map = mesh, scipy.sparse.identity(mesh.heat.size)
    found: list[tuple[LinearEquation, pint.Transfer] | None] = []
    for coarse in meshes:
        if coarse != mesh.heat.coarser or coarse.points < mesh.comm.size:
            found.append(None)
            continue
        down, up = mesh.heat.restriction(), mesh.heat.interpolation()
        control_map = down @ control_map
        fine, mesh = mesh, Mesh(coarse, mesh.comm)
        equation = heat_equation(mesh, make_data(mesh.coordinates), (finest, control_map))
        found.append((equation, pint.Transfer(mesh.matrix(down, fine), fine.matrix(up, mesh))))
    return found


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
    stepper = ImplicitStep(
        heat_equation(mesh, data),
        heat.scheme,
        prefix="heat_",
        options=ITERATIVE if comm.size > 1 else {"pc_type": "cholesky"},
        coarse=coarse_equations(mesh, meshes, make_data),
    )
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
    return pint.Problem(stepper, ImplicitAdjoint(stepper), objective, controls={"u": field}), mesh
