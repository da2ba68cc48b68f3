"""Lagrange elements on a mesh, by scikit-fem: all that is assembled is assembled here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from pint.errors import shown

try:
    import skfem
except ImportError as error:
    raise ImportError(
        "`problems.finite_elements` needs scikit-fem: install pint-control[fem]."
    ) from error

KINDS = {
    (skfem.MeshLine, 1): skfem.ElementLineP1,
    (skfem.MeshLine, 2): skfem.ElementLineP2,
    (skfem.MeshTri, 1): skfem.ElementTriP1,
    (skfem.MeshTri, 2): skfem.ElementTriP2,
}


def interval(nodes: int | Sequence[float]) -> Any:
    """Return the mesh of (0, 1) with so many equal cells, or of given nodes."""
    return skfem.MeshLine(np.linspace(0, 1, nodes + 1) if isinstance(nodes, int) else nodes)


def square(cells: int) -> Any:
    """Return the mesh of (0, 1)^2 with `cells` x `cells` squares, each of two triangles."""
    nodes = np.linspace(0, 1, cells + 1)
    return skfem.MeshTri.init_tensor(nodes, nodes)


def l_shape(cells: int) -> Any:
    """Return that of (-1, 1)^2 without its quarter (0, 1) x (-1, 0), of squares of 1 / `cells`."""
    nodes = np.linspace(-1, 1, 2 * cells + 1)
    mesh = skfem.MeshTri.init_tensor(nodes, nodes)
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    return mesh.remove_elements(np.flatnonzero((x > 0) & (y < 0)))


@dataclass(frozen=True)
class Boundary:
    """The boundary of a mesh: values at quadrature points on it.

    Attributes
    ----------
    numbers : ndarray of int
        Of the unknowns on the boundary.
    values : sparse matrix, shape (quadrature points, unknowns)
        Takes unknowns to values.
    weights : ndarray, shape (quadrature points,)
    places : ndarray, shape (dimension, quadrature points)
    """

    numbers: np.ndarray
    values: Any
    weights: np.ndarray
    places: np.ndarray

    @property
    def mass(self) -> Any:
        """The mass matrix of the boundary, of the unknowns on it."""
        on_it = self.values[:, self.numbers]
        return (on_it.T @ scipy.sparse.diags(self.weights) @ on_it).tocsr()

    @property
    def load(self) -> Any:
        """The matrix that tests a flux, its unknowns being those on the boundary."""
        flux = self.values[:, self.numbers]
        return (self.values.T @ scipy.sparse.diags(self.weights) @ flux).tocsr()


class Elements:
    """Lagrange elements P1 or P2: functions, their gradients, and matrices of bilinear forms.

    Integrals are sums over quadrature points: a function is given by its values there, which a
    sparse matrix makes of the unknowns. No loop runs over cells.

    Parameters
    ----------
    mesh : skfem.MeshLine or skfem.MeshTri
    degree : 1 or 2
    dirichlet : bool
        Whether functions are zero on the boundary. The unknowns there are left out.

    Attributes
    ----------
    size : int
        Unknowns.
    points : ndarray, shape (dimension, size)
        Where they are values of the function.
    weights, widths : ndarray, shape (quadrature points,)
        Weights of the quadrature, exact for degree ``4 degree``; diameters of the cells.
    places : ndarray, shape (dimension, quadrature points)
    values : sparse matrix, shape (quadrature points, size)
    gradients : tuple of sparse matrix
        Partial derivatives likewise.
    at_vertices : ndarray of int, shape (vertices,)
        The unknown at each vertex of the mesh, -1 where functions are zero.
    pattern : sparse matrix, shape (size, size)
        Ones where matrices of bilinear forms have entries, row by row.
    """

    def __init__(self, mesh: Any, degree: int = 1, dirichlet: bool = False) -> None:
        if degree not in (1, 2):
            raise ValueError(f"`Elements(degree=...)` must be 1 or 2, got {shown(degree)}.")
        kind = next((k for k, d in KINDS if isinstance(mesh, k) and d == degree), None)
        if kind is None:
            raise TypeError(
                "`Elements(mesh=...)` must be a skfem.MeshLine or a skfem.MeshTri, got "
                f"{type(mesh).__name__}."
            )
        self.mesh, self.degree, self.dirichlet = mesh, degree, dirichlet
        self._element = KINDS[kind, degree]()
        basis = skfem.Basis(mesh, self._element, intorder=4 * degree)
        on_boundary = np.unique(basis.get_dofs().flatten())
        kept = np.ones(basis.N, dtype=bool)
        kept[on_boundary] = not dirichlet
        self._kept, self.size = kept, int(kept.sum())
        numbers = np.where(kept, np.cumsum(kept) - 1, -1)
        self.at_vertices = numbers[basis.nodal_dofs[0]]
        self.points = basis.doflocs[:, kept]
        self.weights = basis.dx.ravel()
        self.places = np.asarray(basis.global_coordinates()).reshape(mesh.dim(), -1)
        self.widths = np.repeat(_diameters(mesh), basis.dx.shape[1])
        self.values, self.gradients = _at_points(basis, kept)
        self.pattern = (abs(self.values).T @ abs(self.values)).tocsr()
        self.pattern.sort_indices()
        self.pattern.data[:] = 1.0

    @property
    def boundary(self) -> Boundary:
        """The boundary, where functions are not zero on it."""
        basis = skfem.FacetBasis(self.mesh, self._element, intorder=4 * self.degree)
        numbers = np.unique(basis.get_dofs().flatten())
        places = np.asarray(basis.global_coordinates()).reshape(self.mesh.dim(), -1)
        values, _ = _at_points(basis, self._kept)
        return Boundary(numbers, values, basis.dx.ravel(), places)

    @property
    def mass(self) -> Any:
        """The mass matrix."""
        return self.matrix(self.values, self.values)

    def matrix(self, test: Any, trial: Any, factor: Any = 1.0) -> Any:
        """Return ``int factor trial_j test_i``, a matrix with the entries of `pattern`.

        `test` and `trial` are `values`, `gradients` or sums of them; `factor` is a number, or has
        its value at each quadrature point.
        """
        weights = np.broadcast_to(factor * self.weights, self.weights.shape)
        return self.filled(self.assembly(test, trial) @ weights)

    def filled(self, entries: np.ndarray) -> Any:
        """Return the matrix with these numbers as the entries of `pattern`."""
        parts = (entries, self.pattern.indices, self.pattern.indptr)
        return scipy.sparse.csr_matrix(parts, shape=self.pattern.shape)

    def assembly(self, test: Any, trial: Any) -> Any:
        """Return the matrix that makes entries of products ``weight factor`` at all points.

        It has a row for each entry of `pattern`, and a column for each quadrature point.
        """
        (points, rows, of_test), (others, columns, of_trial) = _by_point(test), _by_point(trial)
        starts = np.searchsorted(others, np.arange(len(self.weights) + 1))
        counts = np.diff(starts)[points]
        # Each entry of a row of `test` meets all those of the same row of `trial`.
        first = np.repeat(np.arange(len(points)), counts)
        within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        second = starts[points[first]] + within
        keys = rows[first].astype(np.int64) * self.size + columns[second]
        own = self.pattern.tocoo()
        entry = np.searchsorted(own.row.astype(np.int64) * self.size + own.col, keys)
        product = of_test[first] * of_trial[second]
        shape = (self.pattern.nnz, len(self.weights))
        return scipy.sparse.csr_matrix((product, (entry, points[first])), shape=shape)


def _by_point(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return quadrature points, unknowns and numbers of the entries, in the points' order."""
    entries = matrix.tocsr().tocoo()
    return entries.row, entries.col, entries.data


def _at_points(basis: Any, kept: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
    """Return the matrices that take unknowns to values and to gradients at quadrature points."""
    shape = (basis.dx.size, len(kept))
    points = np.arange(basis.dx.size).reshape(basis.dx.shape)
    functions = [local[0] for local in basis.basis]
    values = [np.asarray(function) for function in functions]
    columns = [np.broadcast_to(dofs[:, None], points.shape) for dofs in basis.element_dofs]

    def matrix(parts: list[np.ndarray]) -> Any:
        data = np.concatenate([np.broadcast_to(part, points.shape).ravel() for part in parts])
        rows, numbers = np.tile(points.ravel(), len(parts)), np.concatenate(columns).ravel()
        return scipy.sparse.csr_matrix((data, (rows, numbers)), shape=shape)[:, kept]

    gradients = [
        matrix([function.grad[axis] for function in functions])
        for axis in range(functions[0].grad.shape[0])
    ]
    return matrix(values), tuple(gradients)


def _diameters(mesh: Any) -> np.ndarray:
    """Return the longest edge of each cell."""
    corners = mesh.p[:, mesh.t]
    edges = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=0)
    longest: np.ndarray = edges.max(axis=(0, 1))
    return longest
