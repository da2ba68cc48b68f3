"""The heat equation with its controls, its steps and its costs, apart from data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import scipy.linalg.lapack
import scipy.sparse
import scipy.sparse.linalg

import pint
from pint.interface import Fields
from problems.meshes import interpolation, laplacian

Kind = Literal["distributed", "initial", "neumann"]
Scheme = Literal["implicit-euler", "crank-nicolson"]
Coordinates = tuple[np.ndarray, ...]
Function = Callable[[Any], np.ndarray]
"""Values at all mesh points, shape (points^d,) or (B, points^d), at a time or times (B, 1)."""


@dataclass(frozen=True)
class Heat:
    """A heat-control problem, apart from its data y_0, f, y_d.

    Parameters
    ----------
    control : 'distributed', 'initial' or 'neumann'
    points : int
        Unknowns n in each direction.
    dimension : 1 or 2
        Of space; 1 for Neumann control.
    scheme : 'implicit-euler' or 'crank-nicolson'
    nu : float
        Diffusivity, > 0, length^2 / time.
    alpha : float
        Weight of the control's cost, > 0.

    Raises
    ------
    ValueError
        If a parameter is unknown or out of range.
    """

    control: Kind = "distributed"
    points: int = 31
    dimension: int = 1
    scheme: Scheme = "implicit-euler"
    nu: float = 0.1
    alpha: float = 1e-2

    def __post_init__(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "control": ("distributed", "initial", "neumann"),
            "scheme": ("implicit-euler", "crank-nicolson"),
            "dimension": (1, 2),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`Heat({name}=...)` must be one of {allowed}, got {getattr(self, name)!r}."
                )
        if self.control == "neumann" and self.dimension != 1:
            raise ValueError("`Heat(dimension=...)` must be 1 for Neumann control.")
        if self.points < 1:
            raise ValueError(f"`Heat(points=...)` must be at least 1, got {self.points}.")
        for name in ("nu", "alpha"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"`Heat({name}=...)` must be positive, got {getattr(self, name)}.")

    @property
    def h(self) -> float:
        """Mesh width."""
        return 1.0 / (self.points if self.control == "neumann" else self.points + 1)

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return int(self.points**self.dimension)

    @property
    def volume(self) -> float:
        """Weight h^d of a point in integrals over space."""
        return float(self.h**self.dimension)

    @property
    def implicitness(self) -> float:
        """1 for implicit Euler, 1/2 for Crank-Nicolson."""
        return 1.0 if self.scheme == "implicit-euler" else 0.5

    @property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """Coordinates of the unknowns, one array of shape (size,) for each direction."""
        shift = 0.5 if self.control == "neumann" else 1.0
        x = (np.arange(self.points) + shift) * self.h
        if self.dimension == 1:
            return (x,)
        return tuple(grid.ravel() for grid in np.meshgrid(x, x, indexing="ij"))

    @property
    def laplacian(self) -> scipy.sparse.csc_matrix:
        """``nu`` times the difference Laplacian, symmetric; with its boundary conditions."""
        stencil = laplacian(self.points, self.dimension, self.control == "neumann")
        return stencil * (self.nu / self.h**2)

    def implicit_matrix(self, dt: float) -> scipy.sparse.csc_matrix:
        """Return ``I - w dt A``, w the implicitness."""
        identity = scipy.sparse.identity(self.size)
        return (identity - self.implicitness * dt * self.laplacian).tocsc()

    @property
    def coarser(self) -> Heat | None:
        """The problem with twice the mesh width; None if its mesh would have less than 3 points."""
        shift = 0 if self.control == "neumann" else 1
        points = (self.points - shift) // 2
        fits = points >= 3 and self.points == 2 * points + shift
        return replace(self, points=points) if fits else None

    @property
    def halvings(self) -> tuple[Heat, ...]:
        """The problems with twice the mesh width, four times, ..., as long as there is one."""
        coarse = self.coarser
        return () if coarse is None else (coarse, *coarse.halvings)

    def meshes(self, grid: pint.TimeGrid) -> tuple[Heat, ...]:
        """Return the problem for each coarse level of a grid: halved where steps damp enough.

        A level has twice the mesh width of the finer one if ``2 nu dt >= h^2`` there. Relaxation
        then damps what the coarser mesh does not show, so that cycles converge as with one mesh.
        """
        mesh, found = self, []
        for stride in grid.strides[:-1]:
            dt = stride * (grid.t[-1] - grid.t[0]) / grid.steps
            if mesh.coarser is not None and 2 * self.nu * dt >= mesh.h**2:
                mesh = mesh.coarser
            found.append(mesh)
        return tuple(found)

    def interpolation(self) -> scipy.sparse.csr_matrix:
        """Return the matrix of linear interpolation from the mesh of `coarser` to this one."""
        return interpolation(self.points, self.dimension, self.control == "neumann")

    def restriction(self) -> scipy.sparse.csr_matrix:
        """Return the matrix of means from this mesh to that of `coarser`: full weighting."""
        return (self.interpolation().T / 2**self.dimension).tocsr()

    @property
    def field(self) -> pint.TimeControl | pint.SharedControl:
        """The control; its inner product is that of L^2."""
        if self.control == "initial":
            return pint.SharedControl(self.size, weight=self.volume)
        size, weight = (1, 1.0) if self.control == "neumann" else (self.size, self.volume)
        return pint.TimeControl(size, weight=weight)

    def problem(
        self,
        data: HeatData,
        coarse_data: Callable[[Coordinates], HeatData] | None = None,
        meshes: Sequence[Heat] | None = None,
    ) -> pint.Problem:
        """Return the problem with numpy states, all intervals of a batch solved together.

        Parameters
        ----------
        data : HeatData
        coarse_data : callable, optional
            Makes data at the coordinates of other meshes, for example
            ``partial(zero_target, heat)``. Coarse levels then have coarser meshes.
        meshes : sequence of Heat, optional
            Of the coarse levels, the last one of all that follow: those of `meshes`, or by default
            `halvings`, one for each level.

        Raises
        ------
        ValueError
            If a mesh is neither that of the level before nor its `coarser`.
        """
        meshes = self.halvings if meshes is None else tuple(meshes)
        for fine, coarse in pairwise((self, *meshes)):
            if coarse not in (fine, fine.coarser):
                raise ValueError(
                    "`Heat.problem(meshes=...)` must each be that of the level before or its "
                    f"`coarser`, got {coarse.points} points below {fine.points}."
                )
        stepper = HeatStepper(self, data, () if coarse_data is None else meshes, coarse_data)
        objective: pint.Objective = (
            HeatTerminal(self, data) if self.control == "initial" else HeatTracking(self, data)
        )
        return pint.Problem(stepper, HeatAdjoint(stepper), objective, controls={"u": self.field})


@dataclass(frozen=True)
class HeatData:
    """Initial state, right-hand side and target; a control's exact value where it is known.

    Attributes
    ----------
    initial : ndarray, shape (size,)
        y(x, 0); not used with initial control.
    source, target : Function
        f and y_d.
    exact_state, exact_control : Function, optional
        Of the optimum of the continuous problem.
    """

    initial: np.ndarray
    source: Function
    target: Function
    exact_state: Function | None = None
    exact_control: Function | None = None


class HeatStepper(pint.TimeStepper):
    """``(I - w dt A) y_{n+1} = (I + (1 - w) dt A) y_n + dt (f + B u_n)``, w the implicitness.

    f is taken at t_{n+1}, or is the mean of both ends with Crank-Nicolson. A is factorised once
    for each step size.

    Parameters
    ----------
    heat : Heat
    data : HeatData
    meshes, coarse_data
        Of coarse levels, as of `Heat.problem`.
    control_map : sparse matrix, optional
        From the distributed control of level 0 to the mesh of a coarse level.
    """

    batched = True

    def __init__(
        self,
        heat: Heat,
        data: HeatData,
        meshes: Sequence[Heat] = (),
        coarse_data: Callable[[Coordinates], HeatData] | None = None,
        control_map: Any = None,
    ) -> None:
        self.heat = heat
        self.data = data
        self._meshes, self._coarse_data, self._control_map = meshes, coarse_data, control_map
        self._coarse: list[HeatStepper] = []
        self.laplacian = heat.laplacian
        self.initial_state = data.initial
        self._solvers: dict[float, Callable[[np.ndarray], np.ndarray]] = {}

    @property
    def space(self) -> pint.ArraySpace:
        return pint.ArraySpace(self.heat.size, weight=self.heat.volume**0.5)

    def coarsen(self, level: int) -> HeatStepper:
        while len(self._coarse) < min(level, len(self._meshes)):
            finer = self.coarsen(len(self._coarse))
            self._coarse.append(finer.on(self._meshes[len(self._coarse)], self._coarse_data))
        some = self._coarse[:level]
        return some[-1] if some else self

    def on(self, coarse: Heat, make_data: Callable[[Coordinates], HeatData] | None) -> HeatStepper:
        """Return the stepper on the mesh of ``heat.coarser``; this one on its own mesh."""
        if coarse == self.heat or make_data is None:
            return self
        control_map = self.heat.restriction()
        if self._control_map is not None:
            control_map = control_map @ self._control_map
        return HeatStepper(coarse, make_data(coarse.coordinates), control_map=control_map)

    def transfer(self, level: int) -> pint.Transfer | None:
        fine = self.coarsen(level - 1)
        if self.coarsen(level) is fine:
            return None
        return pint.Transfer(fine.heat.restriction(), fine.heat.interpolation())

    def initial(self, theta: Fields) -> Any:
        return theta["u"] if self.heat.control == "initial" else self.data.initial

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields) -> Any:
        w = self.heat.implicitness
        source = self.data.source(s.t1)
        if w < 1:
            source = w * source + (1 - w) * self.data.source(s.t0)
        right = s.dt * source + self.explicit(s.dt, y)
        self.add_control(s, u, right)
        return self.solve(s.dt, right)

    def control_slope(self, s: pint.Steps, solution: np.ndarray) -> Fields:
        """Return ``dt B^T`` applied to each row, by field."""
        if self.heat.control == "distributed":
            slope = s.dt * solution
            at_control = slope if self._control_map is None else (self._control_map.T @ slope.T).T
            return {"u": at_control}
        if self.heat.control == "neumann":
            return {"u": s.dt * solution[:, -1:] / self.heat.h}
        return {}

    def explicit(self, dt: Any, y: np.ndarray) -> np.ndarray:
        """Return ``(I + (1 - w) dt A) y``; with implicit Euler that is `y`, not a copy."""
        w = self.heat.implicitness
        if w == 1:
            return y
        return y + (1 - w) * dt * (self.laplacian @ y.T).T

    def add_control(self, s: pint.Steps, u: Fields, right: np.ndarray) -> None:
        """Add ``dt B u`` in place."""
        if self.heat.control == "distributed":
            u_here = u["u"] if self._control_map is None else (self._control_map @ u["u"].T).T
            right += s.dt * u_here
        elif self.heat.control == "neumann":
            right[:, -1:] += s.dt / self.heat.h * u["u"]

    def solve(self, dt: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return ``(I - w dt A)^{-1}`` applied to each row; the matrix is symmetric."""
        sizes = dt.ravel()
        if (np.abs(sizes - sizes[0]) <= 1e-13 * sizes[0]).all():
            return self._solver(rounded(sizes[0]))(right)
        distinct, which = np.unique(sizes, return_inverse=True)
        sizes = np.array([rounded(size) for size in distinct])[which.ravel()]
        new = np.empty_like(right)
        for size in np.unique(sizes):
            rows = sizes == size
            new[rows] = self._solver(size)(right[rows])
        return new

    def _solver(self, dt: float) -> Callable[[np.ndarray], np.ndarray]:
        if dt not in self._solvers:
            matrix = self.heat.implicit_matrix(dt)
            if self.heat.points == 1:
                self._solvers[dt] = lambda right: right / matrix[0, 0]
            elif self.heat.dimension == 1:
                # L D L^T of a tridiagonal matrix: a third of the time of a banded Cholesky solve.
                diagonal, below, _ = scipy.linalg.lapack.dpttrf(
                    matrix.diagonal(), matrix.diagonal(1)
                )
                self._solvers[dt] = lambda right: (
                    scipy.linalg.lapack.dpttrs(diagonal, below, right.T)[0].T
                )
            else:
                factors = scipy.sparse.linalg.splu(matrix)
                self._solvers[dt] = lambda right: factors.solve(right.T).T
        return self._solvers[dt]


def rounded(dt: float) -> float:
    """Return a step size without its last digits.

    Differences of the times of a uniform grid differ by rounding; each would get factors of its
    own.
    """
    return float(f"{dt:.12e}")


class HeatAdjoint(pint.Adjoint):
    """Transposes of `HeatStepper`; all its matrices are symmetric."""

    def __init__(self, stepper: HeatStepper) -> None:
        self.stepper = stepper

    def step(self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any) -> Any:
        return self.stepper.explicit(s.dt, self.stepper.solve(s.dt, lam))

    def vjp(
        self, s: pint.Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        solution = self.stepper.solve(s.dt, lam)
        return self.stepper.explicit(s.dt, solution), self.stepper.control_slope(s, solution), {}

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return {"u": lam0} if self.stepper.heat.control == "initial" else {}

    def coarsen(self, level: int) -> HeatAdjoint:
        return HeatAdjoint(self.stepper.coarsen(level))


class HeatTracking(pint.Objective):
    """Tracking and control cost in time, by the quadrature that belongs to the scheme."""

    def __init__(self, heat: Heat, data: HeatData) -> None:
        self.heat = heat
        self.data = data

    def _ends(self, s: pint.Steps, y0: Any, y1: Any) -> Sequence[tuple[Any, Any]]:
        """Return weights and deviations from the target at the ends of the steps."""
        w = self.heat.implicitness
        weight = self.heat.volume * s.dt
        ends = [(weight * w, y1 - self.data.target(s.t1))]
        if w < 1:
            ends.append((weight * (1 - w), y0 - self.data.target(s.t0)))
        return ends

    def step_cost(self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        tracking = sum((weight * off**2).sum(axis=1) for weight, off in self._ends(s, y0, y1))
        volume = self.heat.volume if self.heat.control == "distributed" else 1.0
        control = volume * self.heat.alpha * (s.dt * u["u"] ** 2).sum(axis=1)
        return 0.5 * (tracking + control)

    def step_cost_derivative(
        self, s: pint.Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        slopes = [weight * off for weight, off in self._ends(s, y0, y1)]
        volume = self.heat.volume if self.heat.control == "distributed" else 1.0
        du = {"u": volume * self.heat.alpha * s.dt * u["u"]}
        return (slopes[1] if len(slopes) > 1 else 0.0), slopes[0], du, {}


class HeatTerminal(pint.Objective):
    """Tracking of the last state, and the cost of the initial control."""

    def __init__(self, heat: Heat, data: HeatData) -> None:
        self.heat = heat
        self.data = data

    def terminal(self, y: Any, theta: Fields) -> Any:
        off = y - self.data.target(0.0)
        return 0.5 * self.heat.volume * ((off**2).sum() + self.heat.alpha * (theta["u"] ** 2).sum())

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        volume = self.heat.volume
        return volume * (y - self.data.target(0.0)), {"u": volume * self.heat.alpha * theta["u"]}
