"""Integrals over time as further states, so that constraints on them are terminal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.interface import Adjoint, Fields, Objective, TimeStepper
from pint.optimise.constrained.calls import value_of, vjp_of
from pint.optimise.constrained.penalty import Augmented
from pint.optimise.result import AllAtOnce
from pint.states import ArraySpace, StateSpace
from pint.steppers.constraints import IntegralConstraint
from pint.steppers.runge_kutta import add_fields
from pint.steppers.running_cost import NODES, between


class Layout:
    """Where the states of a problem and the integrals are in the extended states.

    Parameters
    ----------
    shape : tuple of int
        Of the problem's states, which come first, as a row of numbers.
    integrals : sequence of IntegralConstraint
    batched : bool
        Whether steps are batches.
    """

    def __init__(
        self, shape: tuple[int, ...], integrals: Sequence[IntegralConstraint], batched: bool
    ) -> None:
        self.shape, self.integrals, self.batched = shape, tuple(integrals), batched
        self.count = int(np.prod(shape, dtype=int))
        self.size = self.count + sum(one.count for one in integrals)

    def state(self, extended: np.ndarray) -> np.ndarray:
        """Return the problem's states, a view where possible."""
        return extended[..., : self.count].reshape((*extended.shape[:-1], *self.shape))

    def joined(self, y: Any, z: Any) -> np.ndarray:
        """Return extended states."""
        lead = np.shape(y)[: np.ndim(y) - len(self.shape)]
        return np.concatenate([np.reshape(y, (*lead, self.count)), z], axis=-1)

    def without_integrals(self, details: AllAtOnce) -> AllAtOnce:
        """Return what Gauss-Newton knows of the problem's own states."""
        gains, n = details.gains, self.count
        return replace(
            details,
            gains=None if gains is None else gains[..., :n],
            multipliers=details.multipliers[..., :n],
        )

    def inner(self, s: Steps) -> Steps:
        """Return the steps as the problem's stepper knows them."""
        return s if s.guess is None else s._replace(guess=self.state(s.guess))

    def increments(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> np.ndarray:
        """Return what each step adds to the integrals."""
        t0, dt, (begin, end), u = self._batches(s, y0, y1, u)
        columns = []
        for one in self.integrals:
            total: Any = 0.0
            for place, weight in NODES[one.quadrature]:
                value = value_of(one, t0 + place * dt, between(begin, end, place), u, theta)
                total = total + weight * dt[:, None] * value
            columns.append(total)
        rows = np.concatenate(columns, axis=1)
        return rows if self.batched else rows[0]

    def increments_vjp(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
        """Return the derivatives of ``lam' increments`` to y0, y1, u and theta."""
        t0, dt, (begin, end), u = self._batches(s, y0, y1, u)
        lam = lam if self.batched else lam[None]
        of0, of1 = np.zeros(begin.shape), np.zeros(begin.shape)
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        first = 0
        for one in self.integrals:
            part = lam[:, first : first + one.count]
            first += one.count
            for place, weight in NODES[one.quadrature]:
                of_y, of_u, of_theta = vjp_of(
                    one,
                    t0 + place * dt,
                    between(begin, end, place),
                    u,
                    theta,
                    weight * dt[:, None] * part,
                )
                of0 += (1.0 - place) * of_y
                of1 += place * of_y
                add_fields(du, of_u)
                add_fields(dtheta, of_theta)
        if self.batched:
            return of0, of1, du, dtheta
        return of0[0], of1[0], {name: block[0] for name, block in du.items()}, dtheta

    def _batches(self, s: Steps, y0: Any, y1: Any, u: Fields) -> tuple[Any, Any, Any, Fields]:
        t0, dt = np.reshape(s.t0, -1), np.reshape(s.dt, -1)
        if self.batched:
            return t0, dt, (y0, y1), u
        return t0, dt, (y0[None], y1[None]), {n: np.asarray(b)[None] for n, b in u.items()}


class ExtendedStepper(TimeStepper):
    """The steps of a stepper, and the integrals so far."""

    def __init__(self, stepper: TimeStepper, layout: Layout) -> None:
        self.stepper, self.layout = stepper, layout
        self.batched, self.uses_guess = stepper.batched, stepper.uses_guess
        self.kept_shape, self.kept_type = stepper.kept_shape, stepper.kept_type

    @property
    def space(self) -> StateSpace:
        return ArraySpace((self.layout.size,))

    def initial(self, theta: Fields) -> Any:
        y = np.broadcast_to(self.stepper.initial(theta), self.layout.shape)
        return self.layout.joined(y, np.zeros(self.layout.size - self.layout.count))

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields) -> Any:
        layout = self.layout
        begin = layout.state(y)
        end = self.stepper.step(layout.inner(s), begin, u, theta)
        return layout.joined(
            end, y[..., layout.count :] + layout.increments(s, begin, end, u, theta)
        )

    def coarsen(self, level: int) -> TimeStepper:
        level = self.coarsest(level)
        return ExtendedStepper(self.stepper.coarsen(level), self.layout) if level else self

    def coarsest(self, level: int) -> int:
        """Return the last level up to `level` with the states of level 0.

        Functions of constraints know no others, so that coarser levels have the steps of this one.
        """
        others = (one for one in range(1, level + 1) if self.stepper.transfer(one) is not None)
        return next(others, level + 1) - 1


class ExtendedAdjoint(Adjoint):
    """The transposes of an `ExtendedStepper`."""

    def __init__(self, adjoint: Adjoint, stepper: ExtendedStepper) -> None:
        self.adjoint, self.stepper = adjoint, stepper

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any
    ) -> tuple[Any, Fields, Fields]:
        layout, inner = self.stepper.layout, self.stepper.layout.inner(s)
        begin, of_z = layout.state(y), lam[..., layout.count :]
        # What a step keeps does not hold its result.
        end = self.stepper.stepper.step(inner._replace(kept=None), begin, u, theta)
        of0, of1, du, dtheta = layout.increments_vjp(s, begin, end, u, theta, of_z)
        dy, of_u, of_theta = self.adjoint.vjp(inner, begin, u, theta, layout.state(lam) + of1)
        add_fields(du, of_u)
        add_fields(dtheta, of_theta)
        return layout.joined(dy + of0, of_z), du, dtheta

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.adjoint.initial_vjp(theta, self.stepper.layout.state(lam0))

    def coarsen(self, level: int) -> Adjoint:
        coarse = self.stepper.coarsen(level)
        assert isinstance(coarse, ExtendedStepper)
        level = self.stepper.coarsest(level)
        return ExtendedAdjoint(self.adjoint.coarsen(level), coarse) if level else self


class ExtendedObjective(Objective):
    """An augmented objective of extended states."""

    def __init__(self, augmented: Augmented, layout: Layout) -> None:
        self.augmented, self.layout = augmented, layout

    @property
    def has_step_cost(self) -> bool:
        return self.augmented.has_step_cost

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        state = self.layout.state
        return self.augmented.step_cost(s, state(y0), state(y1), u, theta)

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        state = self.layout.state
        begin, end = state(y0), state(y1)
        of0, of1, du, dtheta = self.augmented.step_cost_derivative(s, begin, end, u, theta)
        return self._extended(of0, y0), self._extended(of1, y1), du, dtheta

    def terminal(self, y: Any, theta: Fields) -> float:
        layout = self.layout
        return self.augmented.terminal(layout.state(y), theta, y[layout.count :])

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        layout = self.layout
        dy, dtheta = self.augmented.terminal_derivative(layout.state(y), theta)
        result = self._extended(dy, y)
        parts = self.augmented.parts(y[layout.count :])
        result[layout.count :] = np.concatenate([term.slope(c) for term, c in parts])
        return result, dtheta

    @property
    def has_hessian(self) -> bool:
        return self.augmented.has_hessian

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        layout = self.layout
        found = self.augmented.step_cost_hessian(s, layout.state(y0), layout.state(y1), u, theta)
        n, more = layout.count, layout.size - layout.count
        places = np.r_[:n, n + more : 2 * n + more, 2 * (n + more) : found.shape[1] + 2 * more]
        size = found.shape[1] + 2 * more
        result = np.zeros((len(found), size, size))
        result[:, places[:, None], places] = found
        return result

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        layout = self.layout
        found = self.augmented.terminal_hessian(layout.state(y), theta)
        n, more = layout.count, layout.size - layout.count
        places = np.r_[:n, n + more : len(found) + more]
        result = np.zeros((len(found) + more, len(found) + more))
        result[places[:, None], places] = found
        curved = [term.curvature(c) for term, c in self.augmented.parts(y[layout.count :])]
        integrals = range(n, n + more)
        result[integrals, integrals] = np.concatenate(curved)
        return result

    def _extended(self, of_y: Any, like: np.ndarray) -> np.ndarray:
        """Return derivatives with respect to extended states."""
        result = np.zeros(like.shape)
        self.layout.state(result)[...] = of_y
        return result
