r"""Problems with constraints, a free final time, or measured data; they need sympy.

========================  =====================================================================
``bryson-denham``         x' = v, v' = u, (x, v) = (0, 1) at 0, (0, -1) at 1, x <= l;
                          J = 1/2 int u^2, at the optimum 4/(9 l) for l <= 1/6
``time-optimal``          x' = v, v' = u, from rest at 0 to rest at d, \|u\| <= 1; J = T, at the
                          optimum 2 sqrt(d)
``parameter-estimation``  A -> B -> C: a' = -k1 a, b' = k1 a - k2 b, (a, b) = (1, 0) at 0; J is the
                          sum of the squares of distances from 20 noisy data, over 2 sigma^2
========================  =====================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

import pint
from pint.steppers import SCHEMES, Constraint

Backend = Literal["numpy", "compiled", "auto"]


class ConstrainedProblem(ABC):
    """A problem and its constraints; subclasses are dataclasses whose fields are parameters.

    Attributes
    ----------
    steps : int
        Of the default grid.
    T : float
        Last time of the grid.
    schemes : mapping of str to str
        Quadrature of the running cost by scheme.
    """

    steps: ClassVar[int] = 60
    T: ClassVar[float] = 1.0
    schemes: ClassVar[Mapping[str, str]] = dict.fromkeys(SCHEMES, "trapezoid")

    @classmethod
    def parameters(cls) -> dict[str, float]:
        """Return the parameters and their defaults by name."""
        return {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type, misc]

    @abstractmethod
    def ode(self) -> Any:
        """Return equation and cost as a `SympyODE`."""

    def constraints(self) -> list[Constraint]:
        """Return the constraints, in the order of the history's columns."""
        return []

    def bounds(self, lower: float | None, upper: float | None) -> dict[str, Any]:
        """Return the bounds by field; those of the control may be given."""
        return {"u": (lower, upper)}

    def problem(
        self,
        scheme: str | None = None,
        lower: float | None = None,
        upper: float | None = None,
        *,
        coarse: Any = None,
        backend: Backend = "numpy",
        steps: int | None = None,
    ) -> pint.Problem:
        """Return the problem without its constraints.

        Parameters
        ----------
        scheme : str, optional
            One of `pint.steppers.scheme`, by default ``"rk4"``.
        lower, upper : float, optional
            Bounds of the control.
        coarse, backend, steps
            As in `pint.steppers.symbolic.SympyODE.problem`.
        """
        problem: pint.Problem = self.ode().problem(
            scheme or "rk4",
            controls=self.bounds(lower, upper),
            coarse=coarse,
            backend=backend,
            steps=steps,
        )
        return problem

    def start(self, controls: pint.ControlSpace) -> pint.Control:
        """Return the control to start from."""
        return controls.zeros()


@dataclass(frozen=True)
class BrysonDenham(ConstrainedProblem):
    """Turn a mass around at a wall: J* = 4/(9 l) for l <= 1/6.

    A. E. Bryson, Y.-C. Ho, Applied Optimal Control, Hemisphere, 1975, section 3.11.
    """

    l: float = 1.0 / 9.0  # noqa: E741  (its name in the literature)

    def ode(self) -> Any:
        import sympy

        from pint.steppers.symbolic import SympyODE

        x, v, u = sympy.symbols("x v u")
        return SympyODE([x, v], [v, u], {"u": u}, running_cost=u**2 / 2, initial_state=[0, 1])

    def constraints(self) -> list[Constraint]:
        import sympy

        ode, (x, v) = self.ode(), sympy.symbols("x v")
        return [ode.terminal_constraint([x, v + 1]), ode.path_constraint(x - self.l)]


@dataclass(frozen=True)
class TimeOptimal(ConstrainedProblem):
    """From rest to rest over a distance in the least time: T* = 2 sqrt(d)."""

    d: float = 1.0

    def __post_init__(self) -> None:
        if not self.d > 0:
            raise ValueError(f"`d` must be positive, got {self.d}")

    def ode(self) -> Any:
        import sympy

        from pint.steppers.symbolic import SympyODE

        x, v, u, T = sympy.symbols("x v u T")
        return SympyODE(
            [x, v], [v, u], {"u": u}, parameters={"T": T}, terminal_cost=T,
            initial_state=[0, 0], final_time=T,
        )  # fmt: skip

    def bounds(self, lower: float | None, upper: float | None) -> dict[str, Any]:
        sides = (-1.0 if lower is None else lower, 1.0 if upper is None else upper)
        return {"u": sides, "T": pint.FinalTime(1e-2)}

    def constraints(self) -> list[Constraint]:
        import sympy

        x, v = sympy.symbols("x v")
        return [self.ode().terminal_constraint([x - self.d, v])]

    def start(self, controls: pint.ControlSpace) -> pint.Control:
        return controls.control(T=1.0, u=0.1)


@dataclass(frozen=True)
class ParameterEstimation(ConstrainedProblem):
    """Rate constants of A -> B -> C from noisy concentrations at 20 times.

    The data are the closed-form solution at `k1` and `k2` with normal errors of standard
    deviation `sigma`, by `seed`.
    """

    T = 4.0
    steps = 80

    k1: float = 1.5
    k2: float = 0.6
    sigma: float = 0.02
    seed: float = 0

    def __post_init__(self) -> None:
        if not (self.k1 > 0 and self.k2 > 0 and self.k1 != self.k2):
            raise ValueError("`k1` and `k2` must be positive and different")
        if not self.sigma > 0 or self.seed != int(self.seed) or self.seed < 0:
            raise ValueError("`sigma` must be positive, `seed` a whole number from 0")

    def ode(self) -> Any:
        import sympy

        from pint.steppers.symbolic import SympyODE

        a, b, k1, k2 = sympy.symbols("a b k1 k2")
        return SympyODE(
            [a, b], [-k1 * a, k1 * a - k2 * b], parameters={"k1": k1, "k2": k2},
            initial_state=[1, 0],
        )  # fmt: skip

    def bounds(self, lower: float | None, upper: float | None) -> dict[str, Any]:
        if (lower, upper) != (None, None):
            raise ValueError("parameter-estimation has no control to bound")
        return {"k1": (1e-3, None), "k2": (1e-3, None)}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the times, shape (20,), and the measured (a, b), shape (20, 2)."""
        t = np.linspace(0.0, self.T, 21)[1:]
        a, rest = np.exp(-self.k1 * t), np.exp(-self.k2 * t)
        exact = np.stack([a, self.k1 / (self.k2 - self.k1) * (a - rest)], axis=1)
        return t, exact + self.sigma * np.random.default_rng(int(self.seed)).normal(size=(20, 2))

    def problem(
        self,
        scheme: str | None = None,
        lower: float | None = None,
        upper: float | None = None,
        *,
        coarse: Any = None,
        backend: Backend = "numpy",
        steps: int | None = None,
    ) -> pint.Problem:
        """Return the problem as the others do; `steps` must be a multiple of 20."""
        steps = steps or self.steps
        if steps % 20:
            raise ValueError(
                f"parameter-estimation measures at 20 times: take a multiple of 20 steps, "
                f"not {steps}"
            )
        problem = super().problem(scheme, lower, upper, coarse=coarse, backend=backend, steps=steps)
        data = pint.MeasuredData(pint.TimeGrid.uniform(self.T, steps), *self.data(), self.sigma)
        return pint.Problem(problem.stepper, problem.adjoint, data, problem.controls)

    def start(self, controls: pint.ControlSpace) -> pint.Control:
        return controls.control(k1=1.0, k2=1.0)


CONSTRAINED: Mapping[str, type[ConstrainedProblem]] = {
    "bryson-denham": BrysonDenham,
    "time-optimal": TimeOptimal,
    "parameter-estimation": ParameterEstimation,
}
"""The problems by name."""
