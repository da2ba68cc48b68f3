r"""Optimal control of ordinary differential equations: seven problems of the literature's kind.

Each is a frozen dataclass whose fields are the parameters; ``PROBLEMS`` has them by name. The
control ``u`` is constant over each step and costs its weight times ``dt u^2`` a step.

======================  =======================================================================
``double-integrator``   y1' = y2, y2' = -y2 + u, y(0) = (0, -1);
                        J = int y1^2 + y2^2 + gamma u^2
``scalar-lqr``          y' = a y + b u, y(0) = y0; J = 1/2 int q y^2 + r u^2 + s/2 y(T)^2
``vector-lqr``          three masses, x' = v, v' = -K x - damping v + (u1, 0, u2),
                        K = tridiag(-1, 2, -1); J = 1/2 int \|y\|^2 + r \|u\|^2 + s \|y(T)\|^2
``oscillator``          y1' = y2, y2' = -y1 - damping y2 + u, y(0) = (1, 0), lightly damped;
                        J = 1/2 int \|y\|^2 + r u^2
``van-der-pol``         y1' = (1 - y2^2) y1 - y2 + u, y2' = y1, y(0) = (0, 1);
                        J = int \|y\|^2 + r u^2
``fishing``             y1' = y1 - y1 y2 - 0.4 y1 u, y2' = -y2 + y1 y2 - 0.2 y2 u,
                        y(0) = (0.5, 0.7), 0 <= u <= 1;
                        J = int (y1 - 1)^2 + (y2 - 1)^2 + beta u^2
``pendulum``            th'' = -9.81 sin th - damping th' + u from rest at th = 0;
                        J = r/2 int u^2 + s ((1 + cos th) + th'^2 / 2)(T)
======================  =======================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

import pint
from pint.interface import Fields
from pint.steppers import ODE, Lagrangian, RunningCost
from pint.steppers import scheme as make_scheme

# Right-hand sides


class LinearODE(ODE):
    """``y' = A y + B u``.

    Parameters
    ----------
    A : array_like, shape (d, d)
    B : array_like, shape (d, k)
    initial_state : array_like, shape (d,)
    """

    def __init__(self, A: Any, B: Any, initial_state: Any) -> None:
        self.A = np.asarray(A, dtype=float)
        self.B = np.asarray(B, dtype=float)
        self.initial_state = np.asarray(initial_state, dtype=float)

    def f(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        return y @ self.A.T + u["u"] @ self.B.T

    def f_vjp(
        self, t: Any, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        return lam @ self.A, {"u": lam @ self.B}, {}

    def jacobian(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        return np.broadcast_to(self.A, (len(y), *self.A.shape))


class VanDerPolODE(ODE):
    """``y1' = (1 - y2^2) y1 - y2 + u``, ``y2' = y1``."""

    initial_state = (0.0, 1.0)

    def f(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        y1, y2 = y[:, 0], y[:, 1]
        return np.stack([(1 - y2**2) * y1 - y2 + u["u"][:, 0], y1], axis=1)

    def f_vjp(
        self, t: Any, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        y1, y2 = y[:, 0], y[:, 1]
        p, q = lam[:, 0], lam[:, 1]
        of_y = np.stack([(1 - y2**2) * p + q, -(2 * y1 * y2 + 1) * p], axis=1)
        return of_y, {"u": lam[:, :1]}, {}


class FishingODE(ODE):
    """Predator and prey, both fished: Lotka-Volterra with the fishing effort u."""

    initial_state = (0.5, 0.7)
    catch = (0.4, 0.2)

    def f(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        prey, predators, effort = y[:, 0], y[:, 1], u["u"][:, 0]
        return np.stack(
            [
                prey * (1 - predators - self.catch[0] * effort),
                predators * (prey - 1 - self.catch[1] * effort),
            ],
            axis=1,
        )

    def f_vjp(
        self, t: Any, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        prey, predators, effort = y[:, 0], y[:, 1], u["u"][:, 0]
        p, q = lam[:, 0], lam[:, 1]
        of_y = [
            (1 - predators - self.catch[0] * effort) * p + predators * q,
            -prey * p + (prey - 1 - self.catch[1] * effort) * q,
        ]
        of_u = -self.catch[0] * prey * p - self.catch[1] * predators * q
        return np.stack(of_y, axis=1), {"u": of_u[:, None]}, {}


class PendulumODE(ODE):
    """``th' = w``, ``w' = -9.81 sin th - damping w + u``; th = 0 hangs, th = pi stands."""

    initial_state = (0.0, 0.0)
    gravity = 9.81

    def __init__(self, damping: float) -> None:
        self.damping = damping

    def f(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        angle, speed = y[:, 0], y[:, 1]
        force = -self.gravity * np.sin(angle) - self.damping * speed + u["u"][:, 0]
        return np.stack([speed, force], axis=1)

    def f_vjp(
        self, t: Any, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        p, q = lam[:, 0], lam[:, 1]
        of_y = np.stack([-self.gravity * np.cos(y[:, 0]) * q, p - self.damping * q], axis=1)
        return of_y, {"u": lam[:, 1:]}, {}


# Costs


class Tracking(Lagrangian):
    """``L = q |y - target|^2 + r |u|^2``, ``psi = s |y - target|^2``."""

    def __init__(self, q: float, r: float, s: float = 0.0, target: float = 0.0) -> None:
        self.q, self.r, self.s, self.target = q, r, s, target

    def value(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        distance = ((y - self.target) ** 2).sum(axis=1)
        return self.q * distance + self.r * (u["u"] ** 2).sum(axis=1)

    def gradient(
        self, t: Any, y: Any, u: Fields, theta: Fields, weight: Any
    ) -> tuple[Any, Fields, Fields]:
        twice = 2 * weight[:, None]
        return self.q * twice * (y - self.target), {"u": self.r * twice * u["u"]}, {}

    def terminal(self, y: Any, theta: Fields) -> Any:
        return self.s * ((y - self.target) ** 2).sum()

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return 2 * self.s * (y - self.target), {}


class SwingUp(Lagrangian):
    """``L = r/2 u^2``, ``psi = s ((1 + cos th) + w^2 / 2)``: zero for the pendulum at rest, up."""

    def __init__(self, r: float, s: float) -> None:
        self.r, self.s = r, s

    def value(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        return 0.5 * self.r * (u["u"] ** 2).sum(axis=1)

    def gradient(
        self, t: Any, y: Any, u: Fields, theta: Fields, weight: Any
    ) -> tuple[Any, Fields, Fields]:
        return np.zeros_like(y), {"u": self.r * weight[:, None] * u["u"]}, {}

    def terminal(self, y: Any, theta: Fields) -> Any:
        return self.s * (1 + np.cos(y[0]) + 0.5 * y[1] ** 2)

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        return self.s * np.stack([-np.sin(y[0]), y[1]]), {}


# Problems


@dataclass(frozen=True)
class ODEProblem(ABC):
    """An optimal-control problem of an ODE on (0, T); fields are its parameters.

    Attributes
    ----------
    T : float
        Final time, dimensionless.
    schemes : mapping of str to str
        Class attribute: the schemes that it is defined for, each with the quadrature of the
        cost; the first is the default.
    steps : int
        Class attribute: a number of steps to begin with.
    controls : int
        Class attribute: number of components of u.
    lower, upper : float or None
        Class attributes: bounds of u.
    signed : tuple of str
        Class attribute: parameters that may be negative.

    Raises
    ------
    ValueError
        If a parameter is not finite, negative where it must not be, or T is not positive.
    """

    schemes: ClassVar[Mapping[str, str]]
    steps: ClassVar[int] = 64
    controls: ClassVar[int] = 1
    lower: ClassVar[float | None] = None
    upper: ClassVar[float | None] = None
    signed: ClassVar[tuple[str, ...]] = ()

    T: float = 1.0

    def __post_init__(self) -> None:
        for name, value in self.parameters().items():
            if not np.isfinite(value):
                raise ValueError(f"`{type(self).__name__}({name}=...)` must be finite, got {value}")
            if name not in self.signed and value < 0:
                raise ValueError(f"`{type(self).__name__}({name}=...)` must be >= 0, got {value}")
        if not self.T > 0:
            raise ValueError(f"`{type(self).__name__}(T=...)` must be positive, got {self.T}")

    @abstractmethod
    def ode(self) -> ODE:
        """Return the state equation."""

    @abstractmethod
    def cost(self) -> Lagrangian:
        """Return running and terminal cost."""

    def first_control(self, t: np.ndarray) -> np.ndarray:
        """Return the control to start from in the middle of each step; by default zero."""
        return np.zeros((len(t), self.controls))

    def parameters(self) -> dict[str, float]:
        """Return the parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def problem(
        self,
        scheme: str | None = None,
        lower: float | None = None,
        upper: float | None = None,
        coarse: Any = None,
        **options: Any,
    ) -> pint.Problem:
        """Return the problem, to be solved on a grid from 0 to T.

        Parameters
        ----------
        scheme : str, optional
            One of `schemes`, by default the first.
        lower, upper : float, optional
            Bounds of all components of u, instead of the problem's own.
        coarse : str or pint.coarse.CoarseStep, optional
            Another step for coarse levels.
        **options
            Of `pint.TimeControl`: metric, restrict.

        Raises
        ------
        ValueError
            If the problem is not defined for the scheme, or bounds cross.
        """
        name = next(iter(self.schemes)) if scheme is None else scheme
        if name not in self.schemes:
            raise ValueError(
                f"`{type(self).__name__}.problem(scheme=...)` must be one of "
                f"{', '.join(self.schemes)}, got {name!r}."
            )
        stepper, adjoint = make_scheme(self.ode(), name, coarse=coarse)
        objective = RunningCost(self.cost(), self.schemes[name])  # type: ignore[arg-type]
        control = pint.TimeControl(
            self.controls,
            self.lower if lower is None else lower,
            self.upper if upper is None else upper,
            **options,
        )
        return pint.Problem(stepper, adjoint, objective, controls={"u": control})

    def start(self, controls: pint.ControlSpace) -> pint.Control:
        """Return the control to start from, projected to the bounds."""
        grid, start = controls.grid, controls.zeros()
        t = grid.t[grid.first : grid.last + 1]
        start["u"][...] = self.first_control((t[1:] + t[:-1]) / 2)
        if "u" in controls.meshes:
            start["u"][...] = controls.meshes["u"].project(start["u"])
        return controls.project(start)


@dataclass(frozen=True)
class DoubleIntegrator(ODEProblem):
    """``min int |y|^2 + gamma u^2``, ``y1' = y2``, ``y2' = -y2 + u``."""

    schemes = {"forward-euler": "right"}  # noqa: RUF012  (a class attribute of the base class)
    steps = 20

    gamma: float = 0.005

    def ode(self) -> ODE:
        return LinearODE([[0, 1], [0, -1]], [[0], [1]], [0, -1])

    def cost(self) -> Lagrangian:
        return Tracking(1.0, self.gamma)


@dataclass(frozen=True)
class ScalarLQR(ODEProblem):
    """``min 1/2 int q y^2 + r u^2 + s/2 y(T)^2``, ``y' = a y + b u``, ``y(0) = y0``."""

    schemes = {  # noqa: RUF012
        "crank-nicolson": "trapezoid",
        "forward-euler": "left",
        "backward-euler": "right",
    }
    signed = ("a", "b", "y0")

    a: float = -1.0
    b: float = 1.0
    q: float = 1.0
    r: float = 0.1
    s: float = 0.5
    y0: float = 1.0

    def ode(self) -> ODE:
        return LinearODE([[self.a]], [[self.b]], [self.y0])

    def cost(self) -> Lagrangian:
        return Tracking(self.q / 2, self.r / 2, self.s / 2)


@dataclass(frozen=True)
class VectorLQR(ODEProblem):
    """Three masses in a row, pushed at both ends: ``min 1/2 int |y|^2 + r |u|^2 + s |y(T)|^2``."""

    schemes = {"implicit-midpoint": "trapezoid"}  # noqa: RUF012
    controls = 2

    T: float = 4.0
    r: float = 0.1
    s: float = 1.0
    damping: float = 0.1

    def ode(self) -> ODE:
        stiffness = 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)
        A = np.block([[np.zeros((3, 3)), np.eye(3)], [-stiffness, -self.damping * np.eye(3)]])
        B = np.zeros((6, 2))
        B[3, 0] = B[5, 1] = 1.0
        return LinearODE(A, B, [1, 0, -1, 0, 0.5, 0])

    def cost(self) -> Lagrangian:
        return Tracking(0.5, self.r / 2, self.s)


@dataclass(frozen=True)
class Oscillator(ODEProblem):
    """``min 1/2 int |y|^2 + r u^2`` for ``y1' = y2``, ``y2' = -y1 - damping y2 + u``."""

    schemes = {"implicit-midpoint": "trapezoid"}  # noqa: RUF012
    steps = 128

    T: float = 20.0
    r: float = 1.0
    damping: float = 0.05

    def ode(self) -> ODE:
        return LinearODE([[0, 1], [-1, -self.damping]], [[0], [1]], [1, 0])

    def cost(self) -> Lagrangian:
        return Tracking(0.5, self.r / 2)


@dataclass(frozen=True)
class VanDerPol(ODEProblem):
    """``min int |y|^2 + r u^2`` for the van der Pol oscillator."""

    schemes = {"rk4": "trapezoid"}  # noqa: RUF012

    T: float = 10.0
    r: float = 1.0

    def ode(self) -> ODE:
        return VanDerPolODE()

    def cost(self) -> Lagrangian:
        return Tracking(1.0, self.r)


@dataclass(frozen=True)
class Fishing(ODEProblem):
    """``min int |y - (1, 1)|^2 + beta u^2``, ``0 <= u <= 1``, for Lotka-Volterra with fishing."""

    schemes = {"rk4": "trapezoid"}  # noqa: RUF012
    steps = 96
    lower = 0.0
    upper = 1.0

    T: float = 12.0
    beta: float = 0.0

    def ode(self) -> ODE:
        return FishingODE()

    def cost(self) -> Lagrangian:
        return Tracking(1.0, self.beta, target=1.0)


@dataclass(frozen=True)
class Pendulum(ODEProblem):
    """Swing a pendulum up: ``min r/2 int u^2 + s ((1 + cos th) + th'^2 / 2)(T)``.

    u = 0 is a saddle point, so the first control swings: ``sin(3.13 t)``.
    """

    schemes = {"rk4": "trapezoid"}  # noqa: RUF012
    steps = 96

    T: float = 4.0
    r: float = 0.1
    s: float = 20.0
    damping: float = 0.1

    def ode(self) -> ODE:
        return PendulumODE(self.damping)

    def cost(self) -> Lagrangian:
        return SwingUp(self.r, self.s)

    def first_control(self, t: np.ndarray) -> np.ndarray:
        return np.sin(3.13 * t)[:, None]


PROBLEMS: Mapping[str, type[ODEProblem]] = {
    "double-integrator": DoubleIntegrator,
    "scalar-lqr": ScalarLQR,
    "vector-lqr": VectorLQR,
    "oscillator": Oscillator,
    "van-der-pol": VanDerPol,
    "fishing": Fishing,
    "pendulum": Pendulum,
}
"""The problems by name."""
