"""Optima that are known in closed form, and how far a result is from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from problems.finite_elements.equation import Function, SemiDiscrete, Transport

if TYPE_CHECKING:
    from problems.finite_elements.catalogue import FiniteElementProblem


@dataclass(frozen=True)
class Data:
    """What belongs to a problem beside its equation.

    Attributes
    ----------
    initial : Function
        At time 0.
    target : Function
    source, flux : Function, optional
        f, and g on the boundary.
    """

    initial: Function
    target: Function
    source: Function | None = None
    flux: Function | None = None


class Optimum:
    """The known optimum of a problem with the data that make it one.

    Parameters
    ----------
    of : FiniteElementProblem

    Attributes
    ----------
    data : Data
    """

    def __init__(self, of: FiniteElementProblem) -> None:
        self.of = of
        on_boundary = of.control_on == "boundary"
        self.data = Data(self.state, self.target, self.source, self._flux if on_boundary else None)

    def state(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return y."""
        product: np.ndarray = np.cos(self._rate * t) * self._shape(x)
        return product

    def control(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return u."""
        product: np.ndarray = -(1 - t / self.of.T) * self._shape(x)
        return product

    def source(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return f: what the equation leaves of the state, less the control."""
        shape, y = self._shape(x), self.state(t, x)
        gradient = [np.cos(self._rate * t) * part for part in self._gradient(x)]
        source = -self._rate * np.sin(self._rate * t) * shape + self._decay * y
        source = source + sum(b * g for b, g in zip(self.of.velocity, gradient, strict=False))
        if self.of.reaction is not None:
            source = source + self.of.reaction.value(y, gradient)
        if self.of.control_on == "domain":
            source = source - self.control(t, x)
        return np.asarray(source)

    def target(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return y_d: y and what the adjoint equation leaves of the adjoint, with other sign."""
        of, shape, y = self.of, self._shape(x), self.state(t, x)
        remaining, gradient = 1 - t / of.T, self._gradient(x)
        adjoint = -self._decay * shape
        adjoint = adjoint + sum(b * g for b, g in zip(of.velocity, gradient, strict=False))
        adjoint = remaining * adjoint - shape / of.T
        if isinstance(of.reaction, Transport):  # its transpose is -y (p_x + ...)
            adjoint = adjoint + remaining * y * sum(gradient)
        elif of.reaction is not None:
            slope, _ = of.reaction.derivatives(y, ())
            adjoint = adjoint - remaining * slope * shape
        return np.asarray(y + of.alpha * adjoint)

    def _flux(self, t: np.ndarray, x: np.ndarray) -> np.ndarray:
        return -self.control(t, x)  # the normal derivative of the state is zero

    def errors(
        self, equation: SemiDiscrete, t: np.ndarray, control: np.ndarray, states: np.ndarray
    ) -> tuple[float, float]:
        """Return the errors of control and states, functions at quadrature points.

        That of the control in the norm of L2 in time, at the middle of each step, and space; that
        of the states the largest norm of L2 at a point in time.

        Parameters
        ----------
        equation : SemiDiscrete
        t : ndarray, shape (N + 1,)
        control : ndarray, shape (N, unknowns)
            The blocks of all steps, as of `Control.gather`.
        states : ndarray, shape (N + 1, unknowns)
            As of `Result.states`.
        """
        of, middles = equation.elements, 0.5 * (t[1:] + t[:-1])
        values, weights, places = of.values, of.weights, of.places
        of_states = (values @ states.T).T - self.state(t[:, None], places)
        largest = (of_states**2 @ weights).max()
        if self.of.control_on == "boundary":
            boundary = of.boundary
            values = boundary.values[:, boundary.numbers]
            weights, places = boundary.weights, boundary.places
        of_control = (values @ control.T).T - self.control(middles[:, None], places)
        return float((np.diff(t) @ of_control**2 @ weights) ** 0.5), float(largest**0.5)

    @property
    def _rate(self) -> float:
        return np.pi / (2 * self.of.T)

    @property
    def _decay(self) -> float:
        """Minus the diffusion of phi, over phi."""
        return self.of.diffusion * self.of.dimension * np.pi**2

    def _shape(self, x: np.ndarray) -> np.ndarray:
        wave = np.sin if self.of.dirichlet else np.cos
        product: np.ndarray = wave(np.pi * x).prod(axis=0)
        return product

    def _gradient(self, x: np.ndarray) -> list[np.ndarray]:
        waves, slopes = np.sin(np.pi * x), np.pi * np.cos(np.pi * x)
        if not self.of.dirichlet:
            waves, slopes = np.cos(np.pi * x), -np.pi * np.sin(np.pi * x)
        axes = range(len(x))
        return [
            slopes[axis] * np.prod([waves[other] for other in axes if other != axis], axis=0)
            for axis in axes
        ]
