"""Matrices that map the blocks of a control field to the right-hand side of an equation."""

from __future__ import annotations

from typing import Any

import numpy as np
from petsc4py import PETSc

from pint.comm import reduce
from pint.errors import shown


class ControlMatrix:
    """The product ``B u`` with a block of a control field, and its transpose.

    Parameters
    ----------
    matrix : PETSc.Mat, PETSc.Vec, ndarray or number
        A Mat for a field that is distributed over the ranks in space, its columns divided as the
        field is. A Vec or a number, the diagonal of B, for a field that is divided as states are.
        An array of shape (local rows, columns), this rank's rows of B, for a field that every
        rank in space has whole.
    vector : PETSc.Vec
        Like the states.
    comm : communicator
        The ranks in space.

    Raises
    ------
    TypeError
        If `matrix` is something else.
    ValueError
        If it has no row for each number of a state.
    """

    def __init__(self, name: str, matrix: Any, vector: PETSc.Vec, comm: Any) -> None:
        self.name, self.matrix, self.comm = name, matrix, comm
        self.local = vector.getLocalSize()
        what = f"`controls[{name!r}]` of an equation"
        if isinstance(matrix, PETSc.Mat):
            rows, self.columns = (size[0] for size in matrix.getSizes())
        elif isinstance(matrix, PETSc.Vec):
            rows = self.columns = matrix.getLocalSize()
        elif isinstance(matrix, np.ndarray) and matrix.ndim == 2:
            rows, self.columns = matrix.shape
        elif isinstance(matrix, (int, float)) and not isinstance(matrix, bool):
            rows = self.columns = self.local
        else:
            raise TypeError(
                f"{what} must be a PETSc.Mat, a PETSc.Vec (a diagonal), a number, or an array of "
                f"this rank's rows, got {shown(matrix)}."
            )
        if rows != self.local:
            raise ValueError(
                f"{what} must have a row for each number of a state, on this rank {self.local}, "
                f"got {rows}."
            )
        self._block: Any = None
        if isinstance(matrix, PETSc.Mat):
            self._block, self._force = matrix.createVecs()

    def add(self, factor: float, block: np.ndarray, out: PETSc.Vec) -> None:
        """Add ``factor B u`` to a vector, in place."""
        flat = np.ravel(block)
        if flat.size != self.columns:
            raise ValueError(
                f"`controls[{self.name!r}]` of an equation has {self.columns} columns on this "
                f"rank, but a block of the field has {flat.size} numbers."
            )
        if self._block is None:
            out.array[:] += self._product(factor, flat)
            return
        self._block.array[:] = flat
        self.matrix.mult(self._block, self._force)
        out.axpy(factor, self._force)

    def transposed(self, factor: float, lam: PETSc.Vec, shape: tuple[int, ...]) -> np.ndarray:
        """Return ``factor B^T lam`` in the shape of a block."""
        if self._block is not None:
            self.matrix.multTranspose(lam, self._block)
            return np.reshape(factor * self._block.array_r, shape)
        if isinstance(self.matrix, np.ndarray):
            found = reduce(self.comm, factor * (lam.array_r @ self.matrix))
        else:
            found = self._product(factor, lam.array_r)
        return np.reshape(found, shape)

    def _product(self, factor: float, values: np.ndarray) -> np.ndarray:
        if isinstance(self.matrix, np.ndarray):
            return factor * (self.matrix @ values)
        diagonal = self.matrix.array_r if isinstance(self.matrix, PETSc.Vec) else self.matrix
        product: np.ndarray = factor * diagonal * values
        return product

    def destroy(self) -> None:
        """Free the vectors, not the matrix. Collective."""
        if self._block is not None:
            self._block.destroy()
            self._force.destroy()
