"""Second derivatives of the terms of constraints: exact where the maximum in them bends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pint.optimise.constrained.calls import value_of, vjp_of

DISTANCE = 1e-5
"""Of the differences of a constraint's derivatives, relative to the largest value (at least 1)."""


def along_path(
    term: Any, rows: np.ndarray, t: np.ndarray, y: Any, u: Any, theta: Any
) -> np.ndarray:
    r"""Return the Hessians of a path constraint's term in y and the blocks of u, shape (B, k, k).

    With the Jacobian J of c and its slope s these are
    :math:`\sum_i ρ_i J_i^T J_i + s_i c_i''`, the first sum over what is active.
    """
    constraint, names = term.constraint, list(u)
    c = value_of(constraint, t, y, u, theta)
    slope = term.slope(c, rows)

    def products(weight: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        blocks = dict(zip(names, parts[1:], strict=True))
        of_y, of_u, _ = vjp_of(constraint, t, parts[0], blocks, theta, weight)
        slopes = [of_y, *(of_u.get(name, 0.0) for name in names)]
        return np.concatenate(
            [
                np.broadcast_to(one, like.shape).reshape(len(t), -1)
                for one, like in zip(slopes, parts, strict=True)
            ],
            axis=1,
        )

    return _hessian(term.curvature(c, rows), slope, products, [y, *u.values()], lead=1)


def at_end(term: Any, c: np.ndarray, y: Any, theta: Any) -> np.ndarray:
    """Return the Hessian of a terminal constraint's term in y and theta."""
    constraint, names = term.constraint, list(theta)

    def products(weight: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        shared = dict(zip(names, parts[1:], strict=True))
        of_y, of_theta = vjp_of(constraint, parts[0], shared, weight)
        slopes = [of_y, *(of_theta.get(name, 0.0) for name in names)]
        return np.concatenate(
            [
                np.broadcast_to(one, like.shape).ravel()
                for one, like in zip(slopes, parts, strict=True)
            ]
        )

    return _hessian(term.curvature(c), term.slope(c), products, [y, *theta.values()], lead=0)


def _hessian(
    curvature: np.ndarray,
    slope: np.ndarray,
    products: Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray],
    parts: Sequence[np.ndarray],
    lead: int,
) -> np.ndarray:
    """Return Hessians from `products` of a weight with the Jacobian at some parts."""
    jacobian = []
    for i in range(slope.shape[-1]):
        weight = np.zeros(slope.shape)
        weight[..., i] = 1.0
        jacobian.append(products(weight, parts))
    J = np.stack(jacobian, axis=-2)
    result = np.einsum("...i,...ij,...ik->...jk", curvature, J, J)
    columns = []
    for number, part in enumerate(parts):
        step = DISTANCE * max(1.0, float(np.abs(part).max(initial=0.0)))
        for place in np.ndindex(part.shape[lead:]):
            ahead, behind = (list(parts), list(parts))
            for moved, sign in ((ahead, 1.0), (behind, -1.0)):
                moved[number] = part.copy()
                moved[number][(..., *place)] += sign * step
            columns.append((products(slope, ahead) - products(slope, behind)) / (2.0 * step))
    bend = np.stack(columns, axis=-1)
    return result + 0.5 * (bend + np.swapaxes(bend, -1, -2))
