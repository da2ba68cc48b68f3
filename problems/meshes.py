"""Matrices on uniform meshes of (0, 1)^d: differences, interpolation from twice the width."""

from __future__ import annotations

import numpy as np
import scipy.sparse


def interpolation(points: int, dimension: int, midpoints: bool) -> scipy.sparse.csr_matrix:
    """Return the matrix of linear interpolation from the mesh of twice the width.

    Parameters
    ----------
    points : int
        Unknowns in each direction of the finer mesh: 2 n + 1 interior points, the values at the
        boundary being zero, or 2 n midpoints of cells.
    dimension : 1 or 2
    midpoints : bool
        Whether the unknowns are midpoints of cells; outside the outermost ones their values
        continue as constants.
    """
    coarse = np.arange(points // 2)
    line = scipy.sparse.lil_matrix((points, len(coarse)))
    if midpoints:
        line[2 * coarse, coarse] = line[2 * coarse + 1, coarse] = 0.75
        line[2 * coarse[1:], coarse[:-1]] = line[2 * coarse[:-1] + 1, coarse[1:]] = 0.25
        line[0, 0] = line[points - 1, coarse[-1]] = 1.0
    else:
        line[2 * coarse + 1, coarse] = 1.0
        line[2 * coarse, coarse] = line[2 * coarse + 2, coarse] = 0.5
    return (scipy.sparse.kron(line, line) if dimension == 2 else line).tocsr()


def laplacian(points: int, dimension: int, midpoints: bool) -> scipy.sparse.csc_matrix:
    """Return the sums of second differences, symmetric; arguments as of `interpolation`."""
    diagonal = np.full(points, -2.0)
    if midpoints:
        diagonal[0] = diagonal[-1] = -1.0 if points > 1 else 0.0
    beside = np.ones(points - 1)
    line = scipy.sparse.diags([beside, diagonal, beside], [-1, 0, 1])
    if dimension == 1:
        return line.tocsc()
    unit = scipy.sparse.identity(points)
    return (scipy.sparse.kron(line, unit) + scipy.sparse.kron(unit, line)).tocsc()
