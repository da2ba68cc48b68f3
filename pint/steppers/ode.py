"""Ordinary differential equations y' = f(t, y, u, theta), to be advanced by a scheme."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pint.interface import Fields
from pint.states import StateSpace, space_like


class ODE(ABC):
    r"""The right-hand side f of ``y' = f(t, y, u, theta)`` and its derivatives.

    All methods work on batches: states have shape (B, \*shape), blocks of u (B, \*field shape),
    times (B,). The control is constant over a step.

    Attributes
    ----------
    initial_state : array_like
        y_0, where it does not depend on theta; it has the shape of a state.
    """

    initial_state: Any

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

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        """Return f_y, shape (B, d, d), states being vectors of length d; for implicit schemes.

        By default it calls `f_vjp` with d unit vectors for each state: define it if that is slow.
        """
        count, d = y.shape
        each = {name: np.repeat(values, d, axis=0) for name, values in u.items()}
        states, units = np.repeat(y, d, axis=0), np.tile(np.eye(d), (count, 1))
        rows = self.f_vjp(np.repeat(t, d), states, each, theta, units)[0]
        matrix: np.ndarray = np.reshape(rows, (count, d, d))
        return matrix

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
