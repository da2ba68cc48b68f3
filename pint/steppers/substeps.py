"""Many short steps as one."""

from __future__ import annotations

from typing import Any

from pint.errors import integer
from pint.grid import Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import StateSpace
from pint.steppers.runge_kutta import add_fields


class Substeps(TimeStepper):
    """A step that takes k equal steps of another stepper, all with the same control.

    Parameters
    ----------
    stepper : TimeStepper
    count : int
        The number k, >= 1.

    Raises
    ------
    ValueError
        If `count` is not an integer >= 1.
    """

    def __init__(self, stepper: TimeStepper, count: int) -> None:
        self.stepper = stepper
        self.count = integer("Substeps", "count", count, 1)
        self.batched = stepper.batched

    @property
    def space(self) -> StateSpace:
        return self.stepper.space

    def initial(self, theta: Fields) -> Any:
        return self.stepper.initial(theta)

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        for one in self.parts(s):
            y = self.stepper.step(one, y, u, theta)
        return y

    def parts(self, s: Steps) -> list[Steps]:
        """Return the steps that a step, or each step of a batch, consists of."""
        count, dt = self.count, (s.t1 - s.t0) / self.count
        size = None if s.size is None else s.size / count
        edges = [s.t0, *(s.t0 + j * dt for j in range(1, count)), s.t1]
        return [
            s._replace(t0=edges[j], t1=edges[j + 1], size=size, kept=None, guess=None)
            for j in range(count)
        ]


class SubstepsAdjoint(Adjoint):
    """The transposes of a `Substeps`, by those of its steps, whose states are computed again.

    Parameters
    ----------
    stepper : Substeps
    adjoint : Adjoint
        Of the stepper in it.
    """

    def __init__(self, stepper: Substeps, adjoint: Adjoint) -> None:
        self.stepper, self.adjoint = stepper, adjoint

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        parts, states = self.stepper.parts(s), [y]
        for one in parts[:-1]:
            states.append(self.stepper.stepper.step(one, states[-1], u, theta))
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        for one, state in zip(reversed(parts), reversed(states), strict=True):
            lam, of_u, of_theta = self.adjoint.vjp(one, state, u, theta, lam)
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return lam, du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.adjoint.initial_vjp(theta, lam0)
