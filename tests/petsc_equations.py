"""A nonlinear equation on PETSc vectors with everything that one can have, and its dense twin."""

import numpy as np

import pint

SIZE = 11


class Dense:
    """``M y' = A y - p_0 y^3 + w y + sin t + B v + c w + D q`` with dense matrices, for reference.

    v is distributed in space, w a number for each step, p = (p_0, p_1) and q are shared; y is
    given at both ends: ``p_1 t + w^2`` and ``cos t``.
    """

    boundary = np.array([0, SIZE - 1])

    def __init__(self, mass="matrix"):
        random = np.random.default_rng(3)
        h, one = 1 / (SIZE - 1), np.ones(SIZE - 1)
        stencil = np.diag(one, 1) + np.diag(one, -1)
        self.A = 0.1 * (stencil - 2 * np.eye(SIZE)) / h + 0.4 * (np.diag(one, 1) - np.diag(one, -1))
        self.M = h * (stencil + 4 * np.eye(SIZE)) / 6
        if mass == "lumped":
            self.M = np.diag(self.M.sum(axis=1))
        elif mass is None:
            self.M = np.eye(SIZE)
        self.B = np.diag(np.linspace(0.2, 0.5, SIZE)) + 0.1 * np.diag(one, 1)
        self.c = np.cos(np.arange(SIZE))
        self.D = random.standard_normal((SIZE, 2))
        self.start = np.sin(np.linspace(0, np.pi / 2, SIZE))

    def f(self, t, y, v, w, p, q):
        return self.A @ y - p[0] * y**3 + w * y + np.sin(t) + self.B @ v + self.c * w + self.D @ q

    def boundary_values(self, t, w, p):
        return np.array([p[1] * t + w**2, np.cos(t)])


def problem_of(comm, step_of, adjoint_of, mass="matrix"):
    """Return the problem with PETSc states, divided among the ranks of `comm`.

    `step_of` makes a step of an equation, `adjoint_of` the adjoint of a step.
    """
    from petsc4py import PETSc

    from pint.petsc import Equation

    dense, petsc_comm = Dense(mass), PETSc.COMM_SELF if comm.size == 1 else comm
    template = PETSc.Vec().createMPI((PETSc.DECIDE, SIZE), comm=petsc_comm)
    own = slice(*template.getOwnershipRange())

    def matrix_of(values):
        first, last = own.start, own.stop
        rows = np.repeat(np.arange(last - first), 3)
        columns = (np.arange(first, last)[:, None] + [-1, 0, 1]).ravel()
        inside = (columns >= 0) & (columns < SIZE)
        rows, columns = rows[inside], columns[inside]
        starts = np.searchsorted(rows, np.arange(last - first + 1)).astype(PETSc.IntType)
        entries = values[own][rows, columns]
        sizes = ((last - first, SIZE),) * 2
        csr = (starts, columns.astype(PETSc.IntType), entries)
        return PETSc.Mat().createAIJ(size=sizes, csr=csr, comm=petsc_comm)

    class Reaction(Equation):
        def __init__(self):
            self.template = template
            self._A = matrix_of(dense.A)
            self.mass = matrix_of(dense.M) if mass == "matrix" else None
            if mass == "lumped":
                self.mass = template.duplicate()
                self.mass.array[:] = np.diag(dense.M)[own]
            self.controls = {"v": matrix_of(dense.B), "q": dense.D[own]}
            self.boundary = [place - own.start for place in dense.boundary if _is_in(place, own)]
            self._ends = [
                number for number, place in enumerate(dense.boundary) if _is_in(place, own)
            ]
            self.initial_state = dense.start[own]
            self.diagonal = template.duplicate()

        def matrix(self):
            return self._A.duplicate(copy=True)

        def f(self, t, y, u, theta, out):
            self._A.mult(y, out)
            values, w = y.array_r, u["w"][0]
            out.array[:] += w * values - theta["p"][0] * values**3 + np.sin(t) + dense.c[own] * w

        def jacobian(self, t, y, u, theta, matrix):
            self._A.copy(matrix, PETSc.Mat.Structure.SAME)
            self.diagonal.array[:] = u["w"][0] - 3 * theta["p"][0] * y.array_r**2
            matrix.setDiagonal(self.diagonal, PETSc.InsertMode.ADD_VALUES)

        def f_vjp(self, t, y, u, theta, lam):
            mine = [
                (y.array_r + dense.c[own]) @ lam.array_r,
                -(y.array_r**3) @ lam.array_r,
            ]
            of_w, of_p = comm.allreduce(np.array(mine)) if comm.size > 1 else mine
            return {"w": np.array([of_w])}, {"p": np.array([of_p, 0.0])}

        def boundary_values(self, t, u, theta):
            return dense.boundary_values(t, u["w"][0], theta["p"])[self._ends]

        def boundary_vjp(self, t, u, theta, lam):
            first = lam[self._ends.index(0)] if 0 in self._ends else 0.0
            if comm.size > 1:
                first = comm.allreduce(first)
            return {"w": np.array([2 * u["w"][0] * first])}, {"p": np.array([0.0, t * first])}

    class Square(pint.Objective):
        slope = template.duplicate()

        def terminal(self, y, theta):
            return 0.5 * y.dot(y)

        def terminal_derivative(self, y, theta):
            y.copy(self.slope)
            return self.slope, {}

    step = step_of(Reaction())
    local = own.stop - own.start
    controls = {
        "v": pint.TimeControl(local, comm=comm),
        "w": pint.TimeControl(1),
        "p": pint.SharedControl(2),
        "q": pint.SharedControl(2),
    }
    return pint.Problem(step, adjoint_of(step), Square(), controls)


def _is_in(place, own):
    return own.start <= place < own.stop
