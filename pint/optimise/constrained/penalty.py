"""The augmented Lagrangian of Powell, Hestenes and Rockafellar, as an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pint.grid import Steps
from pint.interface import Fields, Objective
from pint.optimise.constrained.calls import value_of, vjp_of
from pint.optimise.constrained.curvature import along_path, at_end
from pint.steppers.constraints import Constraint, PathConstraint, TerminalConstraint
from pint.steppers.runge_kutta import add_fields


class Term:
    r"""What one constraint c adds to the objective.

    .. math:: λ c + \\tfrac{ρ}{2} c^2 \\text{ for } c = 0, \\qquad
       \\frac{\\max(0, λ + ρ c)^2 - λ^2}{2 ρ} \\text{ for } c \\le 0,

    for each number of c; of a path constraint times dt for each step, so that λ is a density in
    time.

    Attributes
    ----------
    constraint : Constraint
    penalty : ndarray of shape (k,)
        ρ of each number.
    multipliers : ndarray
    """

    may_differ = ("multipliers",)

    def __init__(self, constraint: Constraint, steps: int) -> None:
        self.constraint: Any = constraint
        self.penalty = np.ones(constraint.count)
        along = isinstance(constraint, PathConstraint)
        self.multipliers = np.zeros((steps, constraint.count) if along else constraint.count)

    def value(self, c: np.ndarray, rows: Any = ...) -> Any:
        """Return the sum over the numbers of c; `rows` are those of the multipliers."""
        lam, rho = self.multipliers[rows], self.penalty
        if self.constraint.equality:
            return (lam * c + 0.5 * rho * c * c).sum(axis=-1)
        slope = self.slope(c, rows)
        return ((slope * slope - lam * lam) / (2.0 * rho)).sum(axis=-1)

    def slope(self, c: np.ndarray, rows: Any = ...) -> np.ndarray:
        """Return the derivative for c, which is also the next multiplier."""
        slope = self.multipliers[rows] + self.penalty * c
        return slope if self.constraint.equality else np.maximum(slope, 0.0)

    def curvature(self, c: np.ndarray, rows: Any = ...) -> np.ndarray:
        """Return the second derivative for c; that of the active side where it jumps."""
        active = 1.0 if self.constraint.equality else self.slope(c, rows) > 0
        return self.penalty * active


class Augmented(Objective):
    """An objective with the terms of constraints; integrals are given as numbers z.

    Parameters
    ----------
    objective : Objective
    terms : sequence of Term
        Those of integral constraints take the columns of z in order.
    batched : bool
        Whether steps are batches.
    first : int
        The first step of this rank.
    shared : bool
        Whether there are shared fields.
    """

    may_differ = ("first",)

    def __init__(
        self, objective: Objective, terms: Sequence[Term], batched: bool, first: int, shared: bool
    ) -> None:
        self.objective, self.batched, self.first = objective, batched, first
        self.shared = shared
        kinds = (PathConstraint, TerminalConstraint)
        self.path = [term for term in terms if isinstance(term.constraint, PathConstraint)]
        self.end = [term for term in terms if isinstance(term.constraint, TerminalConstraint)]
        self.integrals = [term for term in terms if not isinstance(term.constraint, kinds)]

    @property
    def has_step_cost(self) -> bool:
        return self.objective.has_step_cost or bool(self.path)

    @property
    def has_hessian(self) -> bool:
        # The derivatives of path constraints to shared fields are sums over steps.
        return self.objective.has_hessian and not (self.path and self.shared) and self.batched

    # Along the path

    def points(
        self, constraint: PathConstraint, s: Steps, y0: Any, y1: Any, u: Fields
    ) -> tuple[np.ndarray, Any, Fields]:
        """Return times, states and controls where a path constraint of some steps counts."""
        t, y = (s.t0, y0) if constraint.at == "begin" else (s.t1, y1)
        if self.batched:
            return np.reshape(t, -1), y, u
        return np.array([t]), y[None], {name: np.asarray(block)[None] for name, block in u.items()}

    def rows(self, s: Steps) -> np.ndarray:
        """Return the rows of the multipliers that belong to some steps."""
        return np.reshape(s.index, -1) - self.first

    def step_cost(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        total: Any = 0.0
        if self.objective.has_step_cost:
            total = self.objective.step_cost(s, y0, y1, u, theta)
        for term in self.path:
            at = self.points(term.constraint, s, y0, y1, u)
            values = term.value(value_of(term.constraint, *at, theta), self.rows(s))
            added = np.reshape(s.dt, -1) * values
            total = total + (added if self.batched else added[0])
        return total

    def step_cost_derivative(
        self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields
    ) -> tuple[Any, Any, Fields, Fields]:
        dy0: Any = 0.0
        dy1: Any = 0.0
        du: dict[str, Any] = {}
        dtheta: dict[str, Any] = {}
        if self.objective.has_step_cost:
            dy0, dy1, of_u, of_theta = self.objective.step_cost_derivative(s, y0, y1, u, theta)
            du, dtheta = dict(of_u), dict(of_theta)
        for term in self.path:
            constraint = term.constraint
            at = self.points(constraint, s, y0, y1, u)
            slope = term.slope(value_of(constraint, *at, theta), self.rows(s))
            weight = np.reshape(s.dt, (-1, 1)) * slope
            of_y, of_u, of_theta = vjp_of(constraint, *at, theta, weight)
            if not self.batched:
                of_y = of_y if isinstance(of_y, float) else of_y[0]
                of_u = {name: block[0] for name, block in of_u.items()}
            if constraint.at == "begin":
                dy0 = dy0 + of_y
            else:
                dy1 = dy1 + of_y
            add_fields(du, of_u)
            add_fields(dtheta, of_theta)
        return dy0, dy1, du, dtheta

    def step_cost_hessian(self, s: Steps, y0: Any, y1: Any, u: Fields, theta: Fields) -> Any:
        total = self.objective.step_cost_hessian(s, y0, y1, u, theta)
        n = int(np.prod(np.shape(y0)[1:], dtype=int))
        for term in self.path:
            at = self.points(term.constraint, s, y0, y1, u)
            found = np.reshape(s.dt, (-1, 1, 1)) * along_path(term, self.rows(s), *at, theta)
            first = 0 if term.constraint.at == "begin" else n
            places = np.r_[first : first + n, 2 * n : total.shape[1]]
            total[:, places[:, None], places] += found
        return total

    # At the end

    def terminal(self, y: Any, theta: Fields, z: Any = None) -> float:
        total = self.objective.terminal(y, theta)
        for term in self.end:
            total = total + float(term.value(value_of(term.constraint, y, theta)))
        for term, part in self.parts(z):
            total = total + float(term.value(part))
        return total

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        dy, of_theta = self.objective.terminal_derivative(y, theta)
        dtheta = dict(of_theta)
        for term in self.end:
            slope = term.slope(value_of(term.constraint, y, theta))
            of_y, of_theta = vjp_of(term.constraint, y, theta, slope)
            dy = dy + of_y
            add_fields(dtheta, of_theta)
        return dy, dtheta

    def terminal_hessian(self, y: Any, theta: Fields) -> Any:
        total = self.objective.terminal_hessian(y, theta)
        for term in self.end:
            total = total + at_end(term, value_of(term.constraint, y, theta), y, theta)
        return total

    def parts(self, z: Any) -> list[tuple[Term, np.ndarray]]:
        """Return the terms of integral constraints with their numbers."""
        result, first = [], 0
        for term in self.integrals:
            last = first + term.constraint.count
            result.append((term, z[first:last] - np.asarray(term.constraint.bound)))
            first = last
        return result
