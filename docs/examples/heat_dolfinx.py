"""Heat control with matrices of dolfinx, distributed in space; runs where dolfinx >= 0.7 is."""

import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.mesh
import ufl
from mpi4py import MPI

import pint
from pint.comm import split
from pint.petsc import ImplicitAdjoint, ImplicitStep, LinearEquation


class ToOne(pint.Objective):
    """``dt / 2 (|y1 - 1|^2 + alpha |u|^2)`` in the norm of the mass matrix."""

    def __init__(self, mass, alpha):
        self.mass, self.alpha = mass, alpha
        self.off, self.of_y, self.u, self.of_u = (mass.createVecRight() for _ in range(4))
        self.none = mass.createVecRight()

    def apart(self, y1, u):
        y1.copy(self.off)
        self.off.shift(-1.0)
        self.u.array[:] = u["u"]
        self.mass.mult(self.off, self.of_y)
        self.mass.mult(self.u, self.of_u)

    def step_cost(self, s, y0, y1, u, theta):
        self.apart(y1, u)
        return 0.5 * s.dt * (self.off.dot(self.of_y) + self.alpha * self.u.dot(self.of_u))

    def step_cost_derivative(self, s, y0, y1, u, theta):
        self.apart(y1, u)
        self.of_y.scale(s.dt)
        return self.none, self.of_y, {"u": self.alpha * s.dt * self.of_u.array_r}, {}


def minimised(space_ranks=1, cells=32, steps=32, nu=0.1, alpha=1e-3):
    """Return the optimum of ``y_t = nu Laplace(y) + u`` on a square, dy/dn = 0, y(0) = 0."""
    in_time, in_space = split(pint.world(), space_ranks)
    comm = in_space if in_space.size > 1 else MPI.COMM_SELF
    mesh = dolfinx.mesh.create_unit_square(comm, cells, cells)
    V = dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
    y, v = ufl.TrialFunction(V), ufl.TestFunction(V)

    def assembled(form):
        matrix = dolfinx.fem.petsc.assemble_matrix(dolfinx.fem.form(form))
        matrix.assemble()
        return matrix

    stiffness = assembled(-nu * ufl.inner(ufl.grad(y), ufl.grad(v)) * ufl.dx)
    mass = assembled(ufl.inner(y, v) * ufl.dx)
    equation = LinearEquation(stiffness, mass, controls={"u": mass})
    equation.state_metric = mass
    stepper = ImplicitStep(equation, "implicit-euler")
    u = pint.TimeControl(mass.getLocalSize()[0], metric=mass, comm=in_space)
    problem = pint.Problem(stepper, ImplicitAdjoint(stepper), ToOne(mass, alpha), {"u": u})
    grid = pint.TimeGrid.uniform(1.0, steps, coarsening=4, levels=2, comm=in_time)
    return pint.minimize(pint.ReducedFunctional(problem, grid), method=pint.ReducedSpace())


if __name__ == "__main__":
    print(minimised().objective)
