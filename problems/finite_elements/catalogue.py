r"""Control problems in finite elements, each with an optimum that is known in closed form.

All minimise ``1/2 int |y - y_d|^2 + alpha |u|^2 dt``, norms of L2, over (0, T), T = 1 by default.

=================  ==============================================================================
``burgers``        y_t + y y_x = nu y_xx + f + u on (0, 1), y = 0 at both ends
``allen-cahn``     y_t = epsilon^2 Laplace(y) - (y^3 - y) + f + u on (0, 1)^d, dy/dn = 0
``heat-boundary``  y_t = nu Laplace(y) + f on an L-shape, nu dy/dn = u + g
``advection``      y_t + b . grad y = nu Laplace(y) + f + u on (0, 1)^d, y = 0 on the boundary
=================  ==============================================================================

With `manufactured` data the optimum is ``y = cos(pi t / 2T) phi(x)`` and
``u = -(1 - t/T) phi(x)``, because the adjoint is ``alpha (1 - t/T) phi(x)``; phi is the product of
``sin(pi x)`` or ``cos(pi x)`` over all directions. `Optimum` has f, y_d and g for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse

import pint
from pint.errors import check_choice
from pint.steppers import RunningCost
from pint.steppers import scheme as make_scheme
from problems.finite_elements.elements import Elements, interval, l_shape, square
from problems.finite_elements.equation import (
    DoubleWell,
    Reaction,
    SemiDiscrete,
    Tracking,
    Transport,
)
from problems.finite_elements.optimum import Data, Optimum

QUADRATURES: dict[str, Any] = {
    "implicit-euler": "right",
    "midpoint": "midpoint",
    "crank-nicolson": "trapezoid",
    "sdirk2": "trapezoid",
}
"""Schemes of `pint.scheme`, each with a rule of the same order that integrates the cost."""


@dataclass(frozen=True)
class FiniteElementProblem(ABC):
    """Parameters of a control problem.

    Attributes
    ----------
    cells : int
        Of a side of length 1: h is 1 / cells, times the root of 2 for triangles.
    degree : 1 or 2
        Of the elements.
    alpha : float
        Weight of the control.
    T : float
        Final time.
    nodes : sequence of float, optional
        Of a mesh of (0, 1) that is not uniform; `cells` then does not count.
    """

    cells: int = 16
    degree: int = 1
    alpha: float = 1e-2
    T: float = 1.0
    nodes: tuple[float, ...] | None = None

    dirichlet: ClassVar[bool] = True
    control_on: ClassVar[Literal["domain", "boundary"]] = "domain"

    @property
    @abstractmethod
    def diffusion(self) -> float:
        """Factor of the Laplacian."""

    @property
    def dimension(self) -> int:
        """Of space."""
        return 1

    @property
    def velocity(self) -> Sequence[float]:
        """b, one number for each direction; by default there is no such term."""
        return ()

    @property
    def reaction(self) -> Reaction | None:
        """The nonlinear term; by default none."""
        return None

    @property
    def stabilised(self) -> Literal["none", "supg", "upwind"]:
        """How the advection is stabilised; by default not at all."""
        return "none"

    @abstractmethod
    def data(self) -> Data:
        """Return the data of an example without a known optimum."""

    def mesh(self) -> Any:
        """Return the mesh."""
        if self.nodes is not None:
            return interval(self.nodes)
        return interval(self.cells) if self.dimension == 1 else square(self.cells)

    def equation(self, data: Data) -> SemiDiscrete:
        """Return the equation on the mesh."""
        elements = Elements(self.mesh(), self.degree, self.dirichlet)
        return SemiDiscrete(
            elements,
            self.diffusion,
            np.ravel(data.initial(np.zeros((1, 1)), elements.points)),
            velocity=self.velocity,
            reaction=self.reaction,
            source=data.source,
            flux=data.flux,
            control_on=self.control_on,
            stabilisation=self.stabilised,
        )

    def problem(
        self,
        data: Data | None = None,
        scheme: str = "crank-nicolson",
        lumped: bool = False,
        lower: Any = None,
        upper: Any = None,
    ) -> pint.Problem:
        """Return the control problem; the metric of its control ``u`` is the mass matrix.

        Parameters
        ----------
        data : Data, optional
            By default those of `data`.
        scheme : 'implicit-euler', 'midpoint', 'crank-nicolson' or 'sdirk2'
        lumped : bool
            Whether the metric is the lumped mass matrix, for P1; with bounds it must be.
        lower, upper : array_like, optional
            Bounds of the control.

        Raises
        ------
        ValueError
            If the scheme is unknown, or the metric does not fit degree or bounds.
        """
        check_choice("problem", "scheme", scheme, list(QUADRATURES))
        data = self.data() if data is None else data
        equation = self.equation(data)
        stepper, adjoint = make_scheme(equation, scheme)
        cost = RunningCost(Tracking(equation, data.target, self.alpha), QUADRATURES[scheme])
        metric = equation.control_mass
        if lumped:
            metric = lumped_mass(metric)
        field = pint.TimeControl(metric.shape[0], lower, upper, metric=metric)
        return pint.Problem(stepper, adjoint, cost, {"u": field})

    def manufactured(self) -> Optimum:
        """Return the known optimum and its data."""
        return Optimum(self)


def lumped_mass(matrix: Any) -> Any:
    """Return the diagonal matrix of the sums of rows; ValueError unless these are positive."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    if not (sums > 0).all():
        raise ValueError("`problem(lumped=True)` is for P1: sums of rows of P2 are not positive.")
    return scipy.sparse.diags(sums).tocsr()


@dataclass(frozen=True)
class Burgers(FiniteElementProblem):
    """Viscous Burgers equation: a bump that the control is to hold in place."""

    nu: float = 0.02

    @property
    def diffusion(self) -> float:
        return self.nu

    @property
    def reaction(self) -> Reaction:
        return Transport()

    def data(self) -> Data:
        return Data(_bump, _bump)


@dataclass(frozen=True)
class AllenCahn(FiniteElementProblem):
    """Allen-Cahn equation: an interface that the control is to move through half the domain."""

    epsilon: float = 0.1
    dim: int = 1

    dirichlet: ClassVar[bool] = False

    @property
    def dimension(self) -> int:
        return self.dim

    @property
    def diffusion(self) -> float:
        return self.epsilon**2

    @property
    def reaction(self) -> Reaction:
        return DoubleWell()

    def data(self) -> Data:
        def interface(t: np.ndarray, x: np.ndarray) -> np.ndarray:
            place = 0.25 + 0.5 * t / self.T
            return np.tanh((x[0] - place) / (np.sqrt(2) * self.epsilon))

        return Data(interface, interface)


@dataclass(frozen=True)
class HeatBoundary(FiniteElementProblem):
    """Heat equation on an L-shape, heated through its boundary to the temperature 1."""

    nu: float = 0.5

    dirichlet: ClassVar[bool] = False
    control_on: ClassVar[Literal["domain", "boundary"]] = "boundary"

    @property
    def dimension(self) -> int:
        return 2

    @property
    def diffusion(self) -> float:
        return self.nu

    def mesh(self) -> Any:
        return l_shape(self.cells)

    def data(self) -> Data:
        return Data(_zero, _one)


@dataclass(frozen=True)
class Advection(FiniteElementProblem):
    """Advection and diffusion: a bump that the control is to hold against the stream."""

    nu: float = 0.01
    speed: float = 1.0
    dim: int = 1
    stabilisation: Literal["none", "supg", "upwind"] = "supg"

    @property
    def dimension(self) -> int:
        return self.dim

    @property
    def diffusion(self) -> float:
        return self.nu

    @property
    def velocity(self) -> Sequence[float]:
        return [self.speed] * self.dim

    @property
    def stabilised(self) -> Literal["none", "supg", "upwind"]:
        return self.stabilisation

    def data(self) -> Data:
        return Data(_bump, _bump)


PROBLEMS: dict[str, type[FiniteElementProblem]] = {
    "burgers": Burgers,
    "allen-cahn": AllenCahn,
    "heat-boundary": HeatBoundary,
    "advection": Advection,
}


def _bump(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.ones_like(t) * np.sin(np.pi * x).prod(axis=0)


def _zero(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.zeros((len(t), x.shape[1]))


def _one(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.ones((len(t), x.shape[1]))
