"""Meshes as files describe them: points, cells, and where the numbers of states stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.errors import real_array, shown

CELLS: Mapping[str, tuple[int, int]] = {
    "vertex": (1, 1),
    "line": (3, 2),
    "triangle": (5, 3),
    "quad": (9, 4),
    "tetra": (10, 4),
    "hexahedron": (12, 8),
}
"""VTK's number of each kind of cell, and its number of points."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """The part of a mesh that this rank writes.

    Parameters
    ----------
    points : array of shape (n, 1), (n, 2) or (n, 3)
        Coordinates of the points of the cells below.
    cells : mapping of str to array of int, shape (m, k)
        The numbers of the points of each cell, by the kinds in `CELLS`, in VTK's order.
    own : int, optional
        The points whose numbers this rank's part of a state holds; n by default.
    places : array of int, shape (n,), optional
        For ranks in space: where the numbers of each point stand among those of all ranks, one
        after the other. By default they are this rank's own.

    Raises
    ------
    TypeError, ValueError
        If an argument has another shape, or a cell a point that is not there.
    """

    points: np.ndarray
    cells: Mapping[str, np.ndarray]
    own: int = -1
    places: np.ndarray | None = None

    def __post_init__(self) -> None:
        points = real_array("Mesh(points=...)", self.points)
        if points.ndim != 2 or not 1 <= points.shape[1] <= 3:
            raise ValueError(
                f"`Mesh(points=...)` must have the shape (n, 1), (n, 2) or (n, 3), got "
                f"{points.shape}."
            )
        cells = {}
        for kind, given in self.cells.items():
            numbers = np.asarray(given)
            if kind not in CELLS:
                raise ValueError(f"`Mesh(cells=...)` are {', '.join(CELLS)}, got {shown(kind)}.")
            right = numbers.ndim == 2 and numbers.shape[1] == CELLS[kind][1]
            if not right or numbers.dtype.kind not in "iu":
                raise ValueError(
                    f"`Mesh(cells=...)`: `{kind}` must be integers of shape (m, "
                    f"{CELLS[kind][1]}), got {numbers.dtype} of shape {numbers.shape}."
                )
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(points):
                raise ValueError(
                    f"`Mesh(cells=...)`: `{kind}` must be numbers of points, from 0 to "
                    f"{len(points) - 1}, got {numbers.min()} to {numbers.max()}."
                )
            cells[kind] = numbers.astype(np.int64)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "cells", cells)
        if self.own < 0:
            object.__setattr__(self, "own", len(points))


def at_points(numbers: Any, mesh: Any) -> np.ndarray:
    """Return an array as numbers at a rank's own points, k for each; as it is if it has others."""
    values, own = np.asarray(numbers), getattr(mesh, "own", 0)
    fits = own > 0 and values.size % own == 0
    return values.reshape(own, -1) if fits else values.reshape(-1)


def grid(*axes: Any, space: Any = None) -> Mesh:
    """Return the mesh of states with a number at each point of a grid of 1, 2 or 3 dimensions.

    States are arrays of shape (n1, n2, ...), or vectors of as many numbers in the same order, the
    last direction fastest. Collective on the ranks in space.

    Parameters
    ----------
    axes : arrays of shape (n1,), (n2,), ...
        The coordinates in each direction.
    space : ArraySpace, optional
        Of states that are distributed over ranks: each writes the cells that begin in its part.

    Raises
    ------
    TypeError, ValueError
        If an axis is no vector of numbers, or the parts of all ranks are not the whole grid.
    """
    coordinates = [real_array("grid(axes)", axis) for axis in axes]
    if not 1 <= len(axes) <= 3 or any(axis.ndim != 1 or not len(axis) for axis in coordinates):
        raise ValueError(
            "`pint.io.grid(axes)` must be 1 to 3 vectors of coordinates, got shapes "
            f"{[axis.shape for axis in coordinates]}."
        )
    shape = tuple(map(len, coordinates))
    if space is None or space.comm.size == 1:
        return _product(coordinates, [(0, n) for n in shape], np.arange(np.prod(shape)))
    parts = space.comm.allgather(space.shape)
    lengths = [part[space.axis] for part in parts]
    whole = (*parts[0][: space.axis], sum(lengths), *parts[0][space.axis + 1 :])
    if whole != shape:
        raise ValueError(
            f"`pint.io.grid(axes)` must be coordinates for states of shape {whole}, got {shape}."
        )
    ends = np.cumsum(lengths)
    # The numbers of each rank, in the order of its part
    numbers = np.split(np.arange(np.prod(shape)).reshape(shape), ends[:-1], axis=space.axis)
    places = np.empty(np.prod(shape), dtype=int)
    places[np.concatenate([part.reshape(-1) for part in numbers])] = np.arange(places.size)
    last = ends[space.comm.rank]
    ranges = [(0, n) for n in shape]
    ranges[space.axis] = (last - lengths[space.comm.rank], last)
    return _product(coordinates, ranges, places)


def dmda(da: Any, *axes: Any) -> Mesh:
    """Return the mesh of the vectors of a PETSc DMDA. Collective on its ranks.

    Parameters
    ----------
    da : PETSc.DMDA
    axes : arrays of shape (n1,), (n2,), ..., optional
        The coordinates in each direction; by default those that the DMDA has, else 0, 1, ...

    Raises
    ------
    ValueError
        If the axes are not as long as the mesh.
    """
    sizes = tuple(da.getSizes())
    given = da.getCoordinates() if not axes else None
    coordinates = [np.arange(n) for n in sizes] if not axes else list(axes)
    coordinates = [real_array("dmda(axes)", axis) for axis in coordinates]
    if tuple(axis.shape for axis in coordinates) != tuple((n,) for n in sizes):
        raise ValueError(
            f"`pint.io.dmda(axes)` must be vectors of {', '.join(map(str, sizes))} coordinates, "
            f"got shapes {[axis.shape for axis in coordinates]}."
        )
    # The first direction is the fastest one in PETSc, the last one here.
    natural = np.arange(np.prod(sizes)).reshape(sizes[::-1]).T.reshape(-1)
    places = np.asarray(da.getAO().app2petsc(natural.astype(np.int32)), dtype=int)
    mesh = _product(coordinates, da.getRanges(), places)
    if given is None:
        return mesh
    parts = da.getComm().tompi4py().allgather(given.getArray(readonly=True).copy())
    points = np.concatenate(parts).reshape(-1, len(sizes))[mesh.places]
    return Mesh(points, mesh.cells, mesh.own, mesh.places)


def scikit_fem(mesh: Any) -> Mesh:
    """Return a mesh of scikit-fem, for states with a number at each vertex.

    For other elements give ``Result.write_vtk(fields=...)`` functions from a state to numbers at
    the vertices, such as ``lambda y: y[basis.nodal_dofs[0]]``.

    Parameters
    ----------
    mesh : skfem.Mesh
        Of lines, triangles, quadrilaterals or tetrahedra.

    Raises
    ------
    TypeError
        If it has other cells, or is none.
    """
    kinds = {"MeshLine": "line", "MeshTri": "triangle", "MeshQuad": "quad", "MeshTet": "tetra"}
    name = type(mesh).__name__
    found = [kind for start, kind in kinds.items() if name.startswith(start)]
    if not found or not hasattr(mesh, "p"):
        raise TypeError(
            f"`pint.io.scikit_fem(mesh)` must be one of {', '.join(kinds)}, got {name}."
        )
    corners = CELLS[found[0]][1]
    count = int(mesh.t[:corners].max()) + 1  # curved meshes have more points than vertices
    return Mesh(mesh.p.T[:count], {found[0]: mesh.t[:corners].T})


def _product(
    coordinates: Sequence[np.ndarray], ranges: Sequence[tuple[int, int]], places: np.ndarray
) -> Mesh:
    """Return the cells of a grid that begin in a box, and the points around them.

    `places` are those of the numbers at all points of the grid.
    """
    shape, dimension = tuple(map(len, coordinates)), len(coordinates)
    own = int(np.prod([last - first for first, last in ranges]))
    # One point more than the box has, where there is one
    spans = [
        np.arange(first, min(last + 1, n) if first < last else first)
        for (first, last), n in zip(ranges, shape, strict=True)
    ]
    index = [axis.reshape(-1) for axis in np.meshgrid(*spans, indexing="ij")]
    points = np.stack([axis[i] for axis, i in zip(coordinates, index, strict=True)], axis=1)
    numbers = np.arange(len(points)).reshape(tuple(map(len, spans)))
    # A direction of one point has no extent: the cells have fewer dimensions.
    corners: list[tuple[int, ...]] = [()]
    for axis in range(dimension):
        corners = [
            (*corner, end) for corner in corners for end in ((0, 1) if shape[axis] > 1 else (0,))
        ]
    cells = [
        numbers[
            tuple(
                slice(end, numbers.shape[axis] - (1 - end) if shape[axis] > 1 else None)
                for axis, end in enumerate(corner)
            )
        ].reshape(-1)
        for corner in corners
    ]
    kind = {1: "vertex", 2: "line", 4: "quad", 8: "hexahedron"}[len(cells)]
    # VTK goes around faces.
    order = {1: [0], 2: [0, 1], 4: [0, 2, 3, 1], 8: [0, 4, 6, 2, 1, 5, 7, 3]}[len(cells)]
    table = np.stack([cells[i] for i in order], axis=1)
    return Mesh(points, {kind: table}, own, places.reshape(shape)[np.ix_(*spans)].reshape(-1))
