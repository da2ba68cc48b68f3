"""The solution of a linear-quadratic problem."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pint.errors import NumericalError


class NotPositiveDefiniteError(NumericalError):
    """A linear-quadratic problem has no unique minimum; raised identically on every rank.

    Attributes
    ----------
    step : int or None
        The step, of all ranks', whose R + B^T P B is not positive definite; None if it is the
        Hessian of a free first state or of the shared parameters.
    pivot : float
        The smallest eigenvalue or pivot of that matrix; not positive, or nearly zero.
    """

    def __init__(self, message: str, step: int | None, pivot: float) -> None:
        super().__init__(message)
        self.step, self.pivot = step, pivot


@dataclass(frozen=True, eq=False)
class Solution:
    r"""States, controls and value function of a `LinearQuadratic`; each rank has its own steps.

    Arrays over the points have a rank's first point, too, which is the last of the rank before.
    With z = (x, 1, theta), value functions and feedback are matrices of z; the properties are
    their parts.

    Attributes
    ----------
    z : numpy.ndarray of shape (N + 1, e)
    u : numpy.ndarray of shape (N, m)
        The optimal controls.
    values : numpy.ndarray of shape (N + 1, e, e)
        The least cost from a point on is ``z @ values[n] @ z / 2``.
    feedback : numpy.ndarray of shape (N, m, e)
        The optimal control in any state is ``feedback[n] @ z``.
    states : int
        Numbers in a state, n.
    objective : float
        The least cost, of all ranks' steps.
    smallest_pivot : float
        The smallest one of the Cholesky factorisations of all ranks' R + B^T P B. It is positive:
        the reduced Hessian is positive definite.
    """

    z: np.ndarray
    u: np.ndarray
    values: np.ndarray
    feedback: np.ndarray
    states: int
    objective: float
    smallest_pivot: float

    @property
    def x(self) -> np.ndarray:
        """The optimal states, shape (N + 1, n)."""
        return self.z[:, : self.states]

    @property
    def theta(self) -> np.ndarray:
        """The optimal shared parameters, shape (p,)."""
        return self.z[0, self.states + 1 :]

    @cached_property
    def multipliers(self) -> np.ndarray:
        r"""The derivatives of the least cost with respect to the states, shape (N + 1, n).

        :math:`λ_n = Q_n x_n + S_n^T u_n + q_n + E_n^T θ + A_n^T λ_{n+1}`. Those of points 1 to N
        belong to the dynamics, that of point 0 to a given first state; it is zero if that is free.
        """
        return np.einsum("kij,kj->ki", self.values[:, : self.states], self.z)

    @property
    def K(self) -> np.ndarray:  # noqa: N802  (as in the formulas)
        """Gains: the optimal control in any state is ``K[n] @ x + k[n]``. Shape (N, m, n)."""
        return self.feedback[:, :, : self.states]

    @cached_property
    def k(self) -> np.ndarray:
        """The part of the optimal control that does not depend on the state, shape (N, m)."""
        return self._at_optimum(self.feedback)

    @property
    def P(self) -> np.ndarray:  # noqa: N802
        """Hessians of the value function, ``x @ P[n] @ x / 2 + p[n] @ x`` and a constant."""
        return self.values[:, : self.states, : self.states]

    @cached_property
    def p(self) -> np.ndarray:
        """Linear terms of the value function at the optimal parameters, shape (N + 1, n)."""
        return self._at_optimum(self.values[:, : self.states])

    def _at_optimum(self, matrices: np.ndarray) -> np.ndarray:
        """Return the part of matrices of z that does not depend on x."""
        return matrices[:, :, self.states :] @ self.z[0, self.states :]
