"""Ordinary differential equations y' = f(t, y, u, theta), to be advanced by a scheme."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pint.interface import Fields
from pint.states import StateSpace, space_like


class ODE(ABC):
    r"""The right-hand side f of ``M y' = f(t, y, u, theta)`` and its derivatives.

    All methods work on batches: states have shape (B, \*shape), blocks of u (B, \*field shape),
    times (B,). The control is constant over a step.

    Attributes
    ----------
    initial_state : array_like
        y_0, where it does not depend on theta; it has the shape of a state.
    bands : (int, int), optional
        Of a banded f_y: the numbers of diagonals below and above the main one. See `jacobian`.
    sparsity : sparse matrix, optional
        Of a sparse f_y: its pattern. See `jacobian`.
    mass_matrix : array or sparse matrix of shape (d, d), optional
        M, constant, for implicit schemes; by default the identity.
    state_metric : array or sparse matrix of shape (d, d), optional
        Of the norm of states, by which residuals are measured: see `pint.ArraySpace`. By default
        the Euclidean norm.
    """

    initial_state: Any
    bands: tuple[int, int] | None = None
    sparsity: Any = None
    mass_matrix: Any = None
    state_metric: Any = None

    @property
    def space(self) -> StateSpace:
        """The space of the states; by default arrays of shape and precision of `initial_state`."""
        return space_like(self)

    @abstractmethod
    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        """Return f, shape of `y`. Never changes its arguments."""

    @abstractmethod
    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        """Return ``f_y^T lam``, ``f_u^T lam`` and ``f_theta^T lam``, the last two by field name.

        The first two have a leading axis of length B; the last is summed over the batch. A field
        left out has derivative zero.
        """

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> Any:
        """Return f_y of B states, vectors of length d; for implicit schemes.

        One of

        - an array of shape (B, d, d);
        - with ``bands = (lower, upper)``, an array of shape (B, lower + upper + 1, d) in the layout
          of `scipy.linalg.solve_banded`: ``f_y[i, j]`` at ``[:, upper + i - j, j]``;
        - with `sparsity`, an array of shape (B, entries): numbers in the order of its entries;
        - a sparse matrix of shape (d, d) if it is the same for all B states, or a list of B.

        With `bands` or `sparsity` the first axis may have length 1, if f_y is the same for all.
        As long as it stays the same, its factors are kept by step size.

        By default it calls `f_vjp` with d unit vectors for each state, with `bands` for as many
        sums of them as there are diagonals: define it if that is slow.
        """
        (count, d), bands = y.shape, self.bands
        period = d if bands is None else min(sum(bands) + 1, d)
        # Rows that are so far apart have no column in common.
        seeds = (np.arange(d) % period == np.arange(period)[:, None]).astype(float)
        each = {name: np.repeat(values, period, axis=0) for name, values in u.items()}
        states, seeds = np.repeat(y, period, axis=0), np.tile(seeds, (count, 1))
        sums = self.f_vjp(np.repeat(t, period), states, each, theta, seeds)[0]
        sums = np.reshape(sums, (count, period, d))
        if bands is None:
            return sums
        place, column = np.indices((sum(bands) + 1, d))
        return sums[:, (column + place - bands[1]) % period, column]

    def initial(self, theta: Fields) -> Any:
        """Return y_0(theta); by default `initial_state`."""
        return np.asarray(self.initial_state, dtype=float)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        """Return ``(dy_0/dtheta)^T lam0`` by field name; by default nothing depends on theta."""
        return {}


def vector_shape(owner: str, ode: ODE) -> tuple[int]:
    """Return the shape of the states; ValueError, for an implicit scheme, if they are no vectors.

    Parameters
    ----------
    owner : str
        The scheme, for the message.
    ode : ODE
    """
    shape = space_like(ode).shape
    if len(shape) != 1:
        raise ValueError(
            f"`{owner}(ode=...)`: implicit schemes need states that are vectors; the initial "
            f"state of {type(ode).__name__} has shape {shape}."
        )
    return shape


def check_without_mass(owner: str, ode: ODE) -> None:
    """Raise ValueError if `ode` has a mass matrix, which `owner` does not know."""
    if ode.mass_matrix is not None:
        raise ValueError(
            f"{owner}: `{type(ode).__name__}` has a `mass_matrix`, which is for `Theta` and "
            "`SDIRK` in numpy: take one of them, or solve with the matrix in `f` and `f_vjp`."
        )
