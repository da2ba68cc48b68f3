"""Equations of evolution in finite elements: an ODE with a mass matrix, and tracking costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse

from pint.errors import check_choice
from pint.interface import Fields
from pint.steppers import ODE, Lagrangian
from problems.finite_elements.elements import Elements

Function = Callable[[np.ndarray, np.ndarray], Any]
"""Of times, shape (B, 1), and coordinates, shape (dimension, points): values, (B, points)."""


class Reaction(ABC):
    """A nonlinear term g(y, grad y), known by its values at points."""

    @abstractmethod
    def value(self, y: np.ndarray, gradient: Sequence[np.ndarray]) -> np.ndarray:
        """Return g; `gradient` are the partial derivatives of y, all of one shape."""

    @abstractmethod
    def derivatives(
        self, y: np.ndarray, gradient: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        """Return the derivatives of g to y and to each partial derivative, if g has them."""


class Transport(Reaction):
    """``y (y_x + ...)``, the sum over all directions: that of Burgers' equation."""

    def value(self, y: np.ndarray, gradient: Sequence[np.ndarray]) -> np.ndarray:
        product: np.ndarray = y * sum(gradient)
        return product

    def derivatives(
        self, y: np.ndarray, gradient: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        return np.asarray(sum(gradient)), [y] * len(gradient)


class DoubleWell(Reaction):
    """``y^3 - y``: that of the Allen-Cahn equation."""

    def value(self, y: np.ndarray, gradient: Sequence[np.ndarray]) -> np.ndarray:
        return y**3 - y

    def derivatives(
        self, y: np.ndarray, gradient: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        return 3 * y**2 - 1, ()


class SemiDiscrete(ODE):
    r"""``(y', v) = -(D grad y, grad v) - (b . grad y + g(y, grad y), v) + (f + u, v)`` for all v.

    That is ``M y' = f`` for the unknowns of y. With ``stabilisation="supg"``, for P1, all terms but
    the diffusion are tested with ``v + tau b . grad v``, M as well, which is not symmetric then;
    with ``"upwind"`` the diffusion ``tau (b . grad y, b . grad v)`` is added, in one dimension
    upwinding with exponential fitting. ``tau = h / (2 |b|) (coth P - 1 / P)``,
    ``P = |b| h / (2 D)``.

    Parameters
    ----------
    elements : Elements
    diffusion : float
        D.
    initial : array, shape (size,)
        y at the first time.
    velocity : sequence of float, optional
        b, one number for each direction.
    reaction : Reaction, optional
        g.
    source : Function, optional
        f.
    flux : Function, optional
        ``D dy/dn`` on the boundary, zero by default; `control_on` adds the control to it.
    control_on : 'domain' or 'boundary'
        Whether u is in the equation, its unknowns those of the state, or a flux through the
        boundary, its unknowns those on it.
    stabilisation : 'none', 'supg' or 'upwind'

    Attributes
    ----------
    stiffness : sparse matrix, shape (size, size)
        Of diffusion and advection; `linear_entries` are those of its negative.
    load : sparse matrix, shape (size, quadrature points)
        Tests a function by its values.
    assembly : list of sparse matrix
        They make entries of derivatives of the reaction, to y and to its partial derivatives.
    sources : list of (Function, ndarray, sparse matrix)
        Source and flux, the quadrature points, and the matrix that tests their values there.
    control_matrix, control_mass : sparse matrix
        Takes the control to the right-hand side; its mass matrix, which is its metric.
    control_numbers : ndarray of int
        The unknowns of the state at which the control has its own.
    control_points : ndarray, shape (dimension, unknowns of the control)

    Raises
    ------
    ValueError
        If a choice is unknown, stabilisation is for P2 or without a velocity, or a flux is
        prescribed where functions are zero.
    """

    def __init__(
        self,
        elements: Elements,
        diffusion: float,
        initial: np.ndarray,
        *,
        velocity: Sequence[float] = (),
        reaction: Reaction | None = None,
        source: Function | None = None,
        flux: Function | None = None,
        control_on: Literal["domain", "boundary"] = "domain",
        stabilisation: Literal["none", "supg", "upwind"] = "none",
    ) -> None:
        check_choice("SemiDiscrete", "control_on", control_on, ("domain", "boundary"))
        check_choice("SemiDiscrete", "stabilisation", stabilisation, ("none", "supg", "upwind"))
        if stabilisation != "none" and (elements.degree > 1 or not np.any(velocity)):
            raise ValueError(
                f"`SemiDiscrete(stabilisation={stabilisation!r})` is for P1 with a velocity."
            )
        if elements.dirichlet and (control_on == "boundary" or flux is not None):
            raise ValueError(
                "`SemiDiscrete(control_on=..., flux=...)`: a flux needs "
                "`Elements(dirichlet=False)`."
            )
        self.elements, self.reaction, self.control_on = elements, reaction, control_on
        self.initial_state = np.asarray(initial, dtype=float)
        self._make_matrices(diffusion, np.asarray(velocity, dtype=float), stabilisation)
        self.sources: list[tuple[Function, np.ndarray, Any]] = []
        if source is not None:
            self.sources.append((source, elements.places, self.load))
        self._make_control(flux)

    def _make_matrices(self, diffusion: float, velocity: np.ndarray, stabilisation: str) -> None:
        of = self.elements
        along: Any = sum(b * part for b, part in zip(velocity, of.gradients, strict=False))
        test = of.values
        stiffness = sum(of.matrix(part, part, diffusion) for part in of.gradients)
        if stabilisation != "none":
            tau = _tau(of.widths, float(np.linalg.norm(velocity)), diffusion)
            if stabilisation == "supg":
                test = (of.values + scipy.sparse.diags(tau) @ along).tocsr()
            else:
                stiffness = stiffness + of.matrix(along, along, tau)
        if velocity.any():
            stiffness = stiffness + of.matrix(test, along)
        # Sums leave zeros out, which the matrices of all problems are to have alike.
        entries = _in_pattern(of, stiffness)
        self.stiffness, self.linear_entries = of.filled(entries), -entries
        self._stiffness_transposed = self.stiffness.T.tocsr()
        self.mass_matrix, self.sparsity = of.matrix(test, of.values), of.pattern
        self.state_metric = of.mass
        self.load = (test.T @ scipy.sparse.diags(of.weights)).tocsr()
        self.assembly: list[Any] = []
        if self.reaction is not None:
            self._tested = self.load.T.tocsr()
            parts, weights = (of.values, *of.gradients), scipy.sparse.diags(of.weights)
            self.assembly = [(of.assembly(test, part) @ weights).tocsr() for part in parts]
            self._transposed = [part.T.tocsr() for part in parts]

    def _make_control(self, flux: Function | None) -> None:
        of = self.elements
        self.control_numbers, self.control_mass = np.arange(of.size), of.mass
        self.control_matrix = self.mass_matrix
        if self.control_on == "boundary" or flux is not None:
            boundary = of.boundary
        if flux is not None:
            load = (boundary.values.T @ scipy.sparse.diags(boundary.weights)).tocsr()
            self.sources.append((flux, boundary.places, load))
        if self.control_on == "boundary":
            self.control_numbers, self.control_mass = boundary.numbers, boundary.mass
            self.control_matrix = boundary.load
        self.control_points = of.points[:, self.control_numbers]
        self._control_transposed = self.control_matrix.T.tocsr()

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        result: np.ndarray = _each(self.control_matrix, u["u"]) - _each(self.stiffness, y)
        for source, places, load in self.sources:
            result += _each(load, source(t[:, None], places))
        if self.reaction is not None:
            result -= _each(self.load, self.reaction.value(*self._at_points(y)))
        return result

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        dy = -_each(self._stiffness_transposed, lam)
        if self.reaction is not None:
            tested = _each(self._tested, lam)
            of_y, of_gradient = self.reaction.derivatives(*self._at_points(y))
            for transposed, slope in zip(self._transposed, (of_y, *of_gradient), strict=False):
                dy = dy - _each(transposed, slope * tested)
        return dy, {"u": _each(self._control_transposed, lam)}, {}

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        if self.reaction is None:
            return self.linear_entries[None]
        of_y, of_gradient = self.reaction.derivatives(*self._at_points(y))
        entries = self.linear_entries[None]
        for assembly, slope in zip(self.assembly, (of_y, *of_gradient), strict=False):
            entries = entries - _each(assembly, slope)
        return entries

    def _at_points(self, y: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return values and partial derivatives of a batch of states at quadrature points."""
        of = self.elements
        return _each(of.values, y), [_each(part, y) for part in of.gradients]


class Tracking(Lagrangian):
    """``L = |y - y_d|^2 / 2 + alpha |u|^2 / 2``, in the norms of mass matrices.

    Parameters
    ----------
    equation : SemiDiscrete
    target : Function
        y_d, of which the values at the nodes count.
    alpha : float
    """

    def __init__(self, equation: SemiDiscrete, target: Function, alpha: float) -> None:
        self.target, self.alpha = target, alpha
        self.mass, self.control_mass = equation.elements.mass, equation.control_mass
        self.points = equation.elements.points

    def _weighted(self, t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the deviation from the target, and the mass matrix times it."""
        deviation = y - self.target(t[:, None], self.points)
        return deviation, _each(self.mass, deviation)

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        deviation, weighted = self._weighted(t, y)
        control = u["u"] * _each(self.control_mass, u["u"])
        total: np.ndarray = (deviation * weighted).sum(axis=1)
        return 0.5 * total + 0.5 * self.alpha * control.sum(axis=1)

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        _, weighted = self._weighted(t, y)
        of_control = self.alpha * _each(self.control_mass, u["u"])
        return weight[:, None] * weighted, {"u": weight[:, None] * of_control}, {}


def _each(matrix: Any, vectors: np.ndarray) -> np.ndarray:
    """Return a sparse matrix times each vector of a batch."""
    product: np.ndarray = (matrix @ vectors.T).T
    return product


def _tau(widths: np.ndarray, speed: float, diffusion: float) -> np.ndarray:
    """Return the time scale of stabilisation in cells of given diameters."""
    peclet = speed * widths / (2 * diffusion)
    # coth P - 1 / P is P / 3 for small P, where the difference would be rounding.
    fitting = np.where(peclet < 1e-3, peclet / 3, 1 / np.tanh(peclet) - 1 / peclet)
    scale: np.ndarray = widths / (2 * speed) * fitting
    return scale


def _in_pattern(elements: Elements, matrix: Any) -> np.ndarray:
    """Return the entries of a matrix in the order of the pattern; those it has not are zero."""
    # A product with ones would leave out zeros that are stored.
    own, entries = elements.pattern.tocoo(), matrix.tocoo()
    keys = own.row.astype(np.int64) * elements.size + own.col
    place = np.searchsorted(keys, entries.row.astype(np.int64) * elements.size + entries.col)
    found = np.zeros(len(keys))
    found[place] = entries.data
    return found
