import numpy as np
import pytest


@pytest.mark.petsc
def test_petsc_solves_a_linear_system_on_the_mpi_of_mpi4py():
    # Imported here, so that a missing PETSc fails this test and not the collection of all.
    from mpi4py import MPI
    from petsc4py import PETSc

    assert PETSc.COMM_WORLD.size == MPI.COMM_WORLD.size

    matrix = PETSc.Mat().createAIJ((3, 3), nnz=3, comm=PETSc.COMM_SELF)
    matrix.setValues(range(3), range(3), [2, -1, 0, -1, 2, -1, 0, -1, 2])
    matrix.assemble()
    rhs = PETSc.Vec().createWithArray([1.0, 2.0, 3.0], comm=PETSc.COMM_SELF)
    solution = rhs.duplicate()

    solver = PETSc.KSP().create(PETSc.COMM_SELF)
    solver.setOperators(matrix)
    solver.setType("cg")
    solver.setTolerances(rtol=1e-14)
    solver.solve(rhs, solution)

    np.testing.assert_allclose(solution.array, [2.5, 4.0, 3.5], rtol=1e-12)
    for handle in (solver, solution, rhs, matrix):
        handle.destroy()
