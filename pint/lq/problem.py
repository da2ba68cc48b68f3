"""Linear-quadratic optimal-control problems: their data, checked, and one matrix for each step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from pint.errors import check_kind, integer, number, real_array
from pint.lq.elements import Steps

_ASYMMETRY = 1e-10
"""Largest difference of a Hessian from its transpose, relative to its largest entry."""


@dataclass(frozen=True, eq=False)
class SharedParameters:
    r"""Parameters :math:`\theta` that all steps share, and their part of a `LinearQuadratic`.

    .. math:: \tfrac12 θ^T T θ + t^T θ + θ^T E_N x_N + \sum_n θ^T (E_n x_n + G_n u_n), \quad
        x_{n+1} = A_n x_n + B_n u_n + C_n θ + d_n, \quad x_0 = x̄ + C_0 θ

    Arrays over the steps may lack their first axis, which means that all steps are alike. What
    is left out is zero. `LinearQuadratic` checks the arrays.

    Parameters
    ----------
    T : array_like of shape (p, p)
        The same on all ranks, as are `t`, `C_initial` and `E_end`.
    t : array_like of shape (p,)
    C : array_like of shape (N, n, p) or (n, p)
        In the dynamics.
    C_initial : array_like of shape (n, p)
        In a given initial state.
    E : array_like of shape (N, p, n) or (p, n)
        Cross terms with the states.
    G : array_like of shape (N, p, m) or (p, m)
        Cross terms with the controls.
    E_end : array_like of shape (p, n)
        Cross terms with the last state.
    """

    T: Any
    t: Any = None
    C: Any = None
    C_initial: Any = None
    E: Any = None
    G: Any = None
    E_end: Any = None

    @property
    def count(self) -> int:
        """Number of parameters, p."""
        return len(self.T)


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearQuadratic:
    r"""Minimise a quadratic cost over trajectories of a linear, time-varying equation.

    .. math:: \sum_{n=0}^{N-1} \tfrac12 x_n^T Q_n x_n + u_n^T S_n x_n + \tfrac12 u_n^T R_n u_n
        + q_n^T x_n + r_n^T u_n + \tfrac12 x_N^T Q_N x_N + q_N^T x_N, \quad
        x_{n+1} = A_n x_n + B_n u_n + d_n

    The arrays are checked, and stored as float64 of full shape. Arrays over the steps may lack
    their first axis, which means that all steps are alike. On several ranks each gives its own
    steps, in the order of the ranks, and some may have none. What is left out is zero. Not
    collective.

    Parameters
    ----------
    A, B, Q, R : array_like of shape (N, n, n), (N, n, m), (N, n, n), (N, m, m)
    S : array_like of shape (N, m, n)
        Cross terms.
    q, r, d : array_like of shape (N, n), (N, m), (N, n)
    Q_end, q_end : array_like of shape (n, n), (n,)
        Of the last state; the same on all ranks.
    initial : array_like of shape (n,)
        The first state, the same on all ranks. Left out, the first state is free.
    parameters : SharedParameters
        The same on all ranks, except for what belongs to a rank's steps.
    steps : int
        Number of steps N of this rank; needed where no array has an axis over the steps.

    Raises
    ------
    TypeError
        If something is no array of real numbers.
    ValueError
        If a shape does not fit, a number is not finite, or a Hessian is not symmetric.
    """

    A: Any
    B: Any
    Q: Any
    R: Any
    S: Any = None
    q: Any = None
    r: Any = None
    d: Any = None
    Q_end: Any = None
    q_end: Any = None
    initial: Any = None
    parameters: SharedParameters | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        given = {f.name: _array(self, f.name) for f in fields(self) if f.name not in _NO_ARRAYS}
        sizes = {"n": _last("A", given["A"], "n"), "m": _last("B", given["B"], "m")}
        shared = self.parameters
        if shared is not None:
            check_kind("LinearQuadratic", "parameters", shared, SharedParameters,
                       "`SharedParameters(...)`")  # fmt: skip
            given |= {f"parameters.{f.name}": _array(shared, f.name) for f in fields(shared)}
            sizes["p"] = _last("parameters.T", given["parameters.T"], "p")
            if self.initial is None and shared.C_initial is not None:
                raise ValueError(
                    "`LinearQuadratic(parameters.C_initial=...)` is part of a given initial "
                    "state: give `initial`, too."
                )
        sizes["N"] = self._steps(given)
        full = {name: _full(name, array, sizes) for name, array in given.items()}
        if self.initial is None:
            del full["initial"]
        for name, array in full.items():
            if "." not in name:
                object.__setattr__(self, name, array)
        object.__setattr__(self, "steps", sizes["N"])
        if shared is not None:
            own = {f.name: full[f"parameters.{f.name}"] for f in fields(shared)}
            object.__setattr__(self, "parameters", SharedParameters(**own))

    def _steps(self, given: dict[str, Any]) -> int:
        """Return N, by the option or by the first array with an axis over the steps."""
        if self.steps is not None:
            return integer("LinearQuadratic", "steps", self.steps, 0)
        for name, axes in _AXES.items():
            array = given.get(name)
            if axes[0] == "N" and array is not None and array.ndim == len(axes):
                return len(array)
        raise ValueError(
            "`LinearQuadratic(steps=...)` is needed, since no array has an axis over the steps."
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers in a state, in a control and of the shared parameters: n, m, p."""
        n, m = self.B.shape[1:]
        return n, m, 0 if self.parameters is None else self.parameters.count

    @cached_property
    def matrices(self) -> Steps:
        """The steps as matrices of z = (x, 1, theta) and u."""
        return Steps(self._dynamics(), self._hessians(), self.sizes[0])

    def _dynamics(self) -> np.ndarray:
        n, m, p = self.sizes
        e = n + 1 + p
        F = np.zeros((len(self.A), e, e + m))
        F[:, :n, :n], F[:, :n, n], F[:, :n, e:] = self.A, self.d, self.B
        if self.parameters is not None:
            F[:, :n, n + 1 : e] = self.parameters.C
        F[:, range(n, e), range(n, e)] = 1.0
        return F

    def _hessians(self) -> np.ndarray:
        n, m, p = self.sizes
        x, theta, u = slice(n), slice(n + 1, n + 1 + p), slice(n + 1 + p, None)
        H = np.zeros((len(self.A), n + 1 + p + m, n + 1 + p + m))
        H[:, x, x], H[:, u, u] = self.Q, self.R
        _put(H, u, x, self.S)
        _put(H, n, x, self.q)
        _put(H, n, u, self.r)
        if self.parameters is not None:
            _put(H, theta, x, self.parameters.E)
            _put(H, theta, u, self.parameters.G)
        return H

    @cached_property
    def end(self) -> np.ndarray:
        """The matrix of the terminal cost as a quadratic form of z."""
        n, _, p = self.sizes
        x, theta = slice(n), slice(n + 1, None)
        H = np.zeros((1, n + 1 + p, n + 1 + p))
        H[:, x, x] = self.Q_end
        _put(H, n, x, self.q_end)
        if (shared := self.parameters) is not None:
            H[:, theta, theta] = shared.T
            _put(H, n, theta, shared.t)
            _put(H, theta, x, shared.E_end)
        return H[0]

    @property
    def first(self) -> np.ndarray | None:
        """The matrix that makes the first state of (1, theta); None where it is free."""
        if self.initial is None:
            return None
        shared = self.parameters
        parts = [self.initial[:, None], *([] if shared is None else [shared.C_initial])]
        return np.concatenate(parts, axis=1)


_NO_ARRAYS = ("parameters", "steps")

_AXES = {
    "A": "Nnn", "B": "Nnm", "Q": "Nnn", "R": "Nmm", "S": "Nmn", "q": "Nn", "r": "Nm", "d": "Nn",
    "Q_end": "nn", "q_end": "n", "initial": "n", "parameters.T": "pp", "parameters.t": "p",
    "parameters.C": "Nnp", "parameters.C_initial": "np", "parameters.E": "Npn",
    "parameters.G": "Npm", "parameters.E_end": "pn",
}  # fmt: skip
_HESSIANS = ("Q", "R", "Q_end", "parameters.T")


def _array(owner: Any, name: str) -> np.ndarray | None:
    """Return an argument as an array, None if it was left out."""
    value = getattr(owner, name)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value
    return None if value is None else real_array(f"{type(owner).__name__}({name}=...)", value)


def _last(name: str, array: np.ndarray | None, letter: str) -> int:
    """Return the length of the last axis, which says how many numbers something has."""
    if array is None or array.ndim < 2 or array.shape[-1] == 0:
        got = None if array is None else array.shape
        raise ValueError(
            f"`LinearQuadratic({name}=...)` must be matrices with {letter} >= 1 columns, "
            f"got the shape {got}."
        )
    return int(array.shape[-1])


def _full(name: str, array: np.ndarray | None, sizes: dict[str, int]) -> np.ndarray:
    """Return an array in its full shape, checked."""
    axes = _AXES[name]
    shape = tuple(sizes[letter] for letter in axes)
    if array is None:
        return np.broadcast_to(0.0, shape)
    if array.shape not in (shape, shape[1:] if axes[0] == "N" else shape):
        letters = ", ".join(axes)
        raise ValueError(
            f"`LinearQuadratic({name}=...)` must have the shape ({letters}) = {shape}"
            f"{' or that of one step' if axes[0] == 'N' else ''}, got {array.shape}."
        )
    # A sum is not finite if a number is not; it is much faster to compute.
    if not np.isfinite(array.sum()) and not (finite := np.isfinite(array)).all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"`LinearQuadratic({name}=...)` must be finite, got {array[place]} at {list(place)}."
        )
    if name in _HESSIANS:
        array = _symmetric(name, array)
    return np.broadcast_to(array, shape)


def _symmetric(name: str, array: np.ndarray) -> np.ndarray:
    """Return symmetric matrices, rounding errors taken out of them."""
    transposed = np.swapaxes(array, -1, -2)
    if np.array_equal(array, transposed):
        return array
    asymmetry, size = (np.abs(a).max(axis=(-1, -2)) for a in (array - transposed, array))
    if (wrong := np.atleast_1d(asymmetry > _ASYMMETRY * size)).any():
        at = f" in step {int(np.argmax(wrong))}" if array.ndim == 3 else ""
        raise ValueError(
            f"`LinearQuadratic({name}=...)` must be symmetric, got a matrix that differs from "
            f"its transpose by {np.max(asymmetry):.3g}{at}."
        )
    return (array + transposed) / 2


def _put(matrices: np.ndarray, rows: Any, columns: slice, block: np.ndarray) -> None:
    """Write a block and its transpose into symmetric matrices, in place."""
    matrices[:, rows, columns] = block
    matrices[:, columns, rows] = np.swapaxes(block, -1, -2) if isinstance(rows, slice) else block


def regularised(steps: Steps, levenberg: Any, metric: Any) -> Steps:
    """Return steps with ``levenberg * metric`` added to the diagonals of R.

    Raises
    ------
    ValueError
        If a number is not finite or negative, or the metric has another shape than (N, m) or (m,).
    """
    number("solve", "levenberg", levenberg)
    N, e, z = steps.F.shape
    m = z - e
    weights = np.ones(m) if metric is None else real_array("solve(metric=...)", metric)
    if weights.shape not in ((m,), (N, m)) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"`solve(metric=...)` must be finite numbers >= 0 of the shape ({m},) or ({N}, {m}), "
            f"got an array of the shape {weights.shape}."
        )
    if levenberg == 0:
        return steps
    diagonal, H = np.arange(e, z), steps.H.copy()
    H[:, diagonal, diagonal] += levenberg * weights
    return steps._replace(H=H)
