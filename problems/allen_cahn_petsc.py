"""The controlled Allen-Cahn equation on the unit square, distributed in space by PETSc.

``y_t = epsilon Laplace(y) + (y - y^3) / epsilon + u``, without flux through the boundary, begins at
``y(x, 0) = 0.4 cos(2 pi x) cos(pi y)``. The cost drives y(T) to a target that is 1 in the disk of
radius 0.3 and -1 outside: half the integral of the square of the difference, and alpha / 2 times
that of the square of the control.

Unknowns are the cells of a DMDA. The step is a `pint.petsc.ImplicitStep`: this file has the
right-hand side, its Jacobian and the cost, and nothing of time stepping or of the adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from petsc4py import PETSc

import pint
from pint.comm import reduce
from pint.interface import Fields
from pint.petsc import Equation, ImplicitAdjoint, ImplicitStep


@dataclass(frozen=True)
class AllenCahn:
    """The problem.

    Attributes
    ----------
    cells : int
        In each direction.
    epsilon : float
        Width of the interfaces, in units of the side of the square.
    alpha : float
        Weight of the control, in units of time.
    """

    cells: int = 32
    epsilon: float = 0.1
    alpha: float = 1e-2

    @property
    def volume(self) -> float:
        """The area of a cell."""
        return self.cells**-2.0


class AllenCahnEquation(Equation):
    """The equation on a DMDA.

    Parameters
    ----------
    problem : AllenCahn
    comm : communicator
        The ranks in space.

    Attributes
    ----------
    x, y : ndarray, shape (local size,)
        The midpoints of this rank's cells.
    """

    def __init__(self, problem: AllenCahn, comm: Any) -> None:
        self.problem = problem
        petsc_comm = PETSc.COMM_SELF if comm.size == 1 else comm
        self.template = PETSc.DMDA().create(
            [problem.cells] * 2, dof=1, stencil_width=1, comm=petsc_comm
        )
        self.weight = problem.volume**0.5
        self.controls = {"u": 1.0}
        # A DMDA stores the first direction fastest.
        places = [(np.arange(*ends) + 0.5) / problem.cells for ends in self.template.getRanges()]
        self.x, self.y = (axis.ravel(order="F") for axis in np.meshgrid(*places, indexing="ij"))
        self.initial_state = 0.4 * np.cos(2 * np.pi * self.x) * np.cos(np.pi * self.y)
        self._laplacian = self._assembled()
        self._diagonal = self.template.createGlobalVec()

    def _assembled(self) -> PETSc.Mat:
        """Return epsilon times the five-point Laplacian without flux through the boundary."""
        cells, matrix = self.problem.cells, self.template.createMatrix()
        (i_first, i_last), (j_first, j_last) = self.template.getRanges()
        i, j = np.meshgrid(np.arange(i_first, i_last), np.arange(j_first, j_last), indexing="ij")
        numbers = self._numbers(i, j)
        for i_step, j_step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near = (i + i_step >= 0) & (i + i_step < cells) & (j + j_step >= 0)
            near &= j + j_step < cells
            rows = numbers[near]
            columns = self._numbers(i + i_step, j + j_step)[near]
            values = np.full(len(rows), self.problem.epsilon * cells**2)
            starts = np.arange(len(rows) + 1, dtype=PETSc.IntType)
            for numbered, signed in ((columns, values), (rows, -values)):
                matrix.setValuesIJV(
                    starts, numbered, signed, PETSc.InsertMode.ADD_VALUES, rowmap=rows
                )
        matrix.assemble()
        return matrix

    def _numbers(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the numbers of cells in PETSc's order."""
        cells = self.problem.cells
        natural = np.clip(i, 0, cells - 1) + cells * np.clip(j, 0, cells - 1)
        flat = natural.astype(PETSc.IntType).ravel()
        return np.asarray(self.template.getAO().app2petsc(flat)).reshape(i.shape)

    def f(self, t: float, y: Any, u: Fields, theta: Fields, out: Any) -> None:
        self._laplacian.mult(y, out)
        values = y.array_r
        out.array[:] += (values - values**3) / self.problem.epsilon

    def jacobian(self, t: float, y: Any, u: Fields, theta: Fields, matrix: Any) -> None:
        self._laplacian.copy(matrix, PETSc.Mat.Structure.SAME)
        self._diagonal.array[:] = (1.0 - 3.0 * y.array_r**2) / self.problem.epsilon
        matrix.setDiagonal(self._diagonal, PETSc.InsertMode.ADD_VALUES)

    def destroy(self) -> None:
        """Free the PETSc objects. Collective."""
        self._laplacian.destroy()
        self._diagonal.destroy()
        self.template.destroy()


class Disk(pint.Objective):
    """The cost: the distance to the disk at the end, and the control."""

    def __init__(self, equation: AllenCahnEquation, comm: Any) -> None:
        problem = equation.problem
        inside = (equation.x - 0.5) ** 2 + (equation.y - 0.5) ** 2 < 0.3**2
        self.target = np.where(inside, 1.0, -1.0)
        self._volume, self._alpha, self._comm = problem.volume, problem.alpha, comm
        self._slope = equation.template.createGlobalVec()

    def terminal(self, y: Any, theta: Fields) -> Any:
        off = y.array_r - self.target
        return 0.5 * self._volume * reduce(self._comm, off @ off)[0]

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        self._slope.array[:] = self._volume * (y.array_r - self.target)
        return self._slope, {}

    def step_cost(self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        squares = reduce(self._comm, u["u"] @ u["u"])[0]
        return 0.5 * self._alpha * self._volume * s.dt * squares

    def step_cost_derivative(
        self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        return 0.0, 0.0, {"u": self._alpha * self._volume * s.dt * u["u"]}, {}


def allen_cahn_problem(
    problem: AllenCahn, comm: Any, scheme: str = "crank-nicolson", **options: Any
) -> pint.Problem:
    """Return the control problem; `options` are those of `pint.petsc.ImplicitStep`. Collective.

    Parameters
    ----------
    problem : AllenCahn
    comm : communicator
        The ranks in space, from `pint.split`.
    scheme : str
    """
    equation = AllenCahnEquation(problem, comm)
    step = ImplicitStep(equation, scheme, prefix="allen_cahn_", **options)
    control = pint.TimeControl(len(equation.x), weight=problem.volume, comm=comm)
    return pint.Problem(step, ImplicitAdjoint(step), Disk(equation, comm), controls={"u": control})
