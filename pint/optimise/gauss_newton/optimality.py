"""How far an iterate is from the optimality conditions, in norms of densities in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pint.comm import reduce
from pint.controls import Control
from pint.controls.projection import clipped_gradient
from pint.equations import Value
from pint.optimise.gauss_newton.barrier import Side
from pint.optimise.gauss_newton.model import Linearised
from pint.optimise.gauss_newton.shooting import Shooting


@dataclass(frozen=True, eq=False)
class Guess:
    """States, controls and multipliers of an iteration; each rank has its own steps.

    Attributes
    ----------
    y : ndarray of shape (N + 1, n)
    control : Control
    lam : ndarray of shape (N + 1, n)
        Of the linear-quadratic problem.
    sides : (Side, Side)
        Of the bounds.
    defects : tuple
        As `model.defects_of` returns them.
    value : Value
        The objective there.
    """

    y: np.ndarray
    control: Control
    lam: np.ndarray
    sides: tuple[Side, Side]
    defects: tuple[np.ndarray, np.ndarray]
    value: Value

    @property
    def objective(self) -> float:
        """J at states and control."""
        return self.value.objective


class Optimality:
    """The derivatives of the Lagrangian at an iterate. Methods are collective.

    Parameters
    ----------
    shooting : Shooting
    guess : Guess
    lin : Linearised
    """

    def __init__(self, shooting: Shooting, guess: Guess, lin: Linearised) -> None:
        self.shooting, self.guess, self.lin = shooting, guess, lin
        self.space, self.comm = shooting.space, shooting.comm
        s = shooting
        of_y, of_u, of_theta = s.transposed(
            guess.y[:-1], guess.control, guess.lam[1:] + lin.cost.y1
        )
        if s.parameters:
            first = guess.lam[0] if s.first else np.zeros(s.states)
            parts = np.concatenate([of_theta + lin.cost.theta, first])
            whole = np.asarray(reduce(self.comm, parts))
            of_theta = whole[: s.parameters] + lin.end_theta
            of_theta = of_theta + lin.start.T @ whole[s.parameters :]
        self._of_y = of_y + lin.cost.y0 - guess.lam[:-1]
        self._end = lin.end - guess.lam[-1] if s.last else np.zeros(s.states)
        dual = s.vector(of_u + lin.cost.u, of_theta) + lin.regularisers
        self.gradient = self.space.riesz(Control(self.space, dual))

    def kkt(self) -> float:
        """Return the KKT residual: zero at an optimum, for any barrier."""
        ones = np.ones(self.shooting.states)
        # The control only approaches its bounds.
        outside = self.space.norm(clipped_gradient(self.guess.control, self.gradient))
        return max(outside, self._in_states(ones), self._defect(ones))

    def with_barrier(self, mu: float) -> float:
        """Return the error of the problem with the barrier, a density of the objective."""
        s, guess, space = self.shooting, self.guess, self.space
        scales = s.scales(guess.y, guess.control)[: s.states]
        most = np.asarray(reduce(self.comm, np.abs(guess.lam).max(axis=0, initial=0.0), "max"))
        lower, upper = guess.sides
        parts = [widths(s, guess) * (self.gradient.vector - lower.multiplier + upper.multiplier)]
        for side in guess.sides:
            distance = np.where(side.present, side.distance, 0.0)
            parts.append(np.where(side.present, distance * side.multiplier - mu, 0.0))
        norms = [space.norm(Control(space, part)) for part in parts]
        norms += [self._in_states(scales), self._defect(most)]
        return max(norms) / math.sqrt(s.grid.t[-1] - s.grid.t[0])

    def _in_states(self, scales: np.ndarray) -> float:
        """Return the norm of the derivative in the states, each number times its scale."""
        own = float(((self._of_y * scales) ** 2 / self.shooting.grid.dt[:, None]).sum())
        own += float(np.sum((self._end * scales) ** 2))
        return math.sqrt(float(reduce(self.comm, own)[0]))

    def _defect(self, scales: np.ndarray) -> float:
        """Return the norm of the defects, each number times its scale."""
        defects, initial = self.guess.defects
        own = float(((defects * scales) ** 2 / self.shooting.grid.dt[:, None]).sum())
        return math.sqrt(float(reduce(self.comm, own)[0])) + float(np.linalg.norm(initial * scales))


def widths(shooting: Shooting, guess: Guess) -> np.ndarray:
    """Return the sizes of controls: the width between two bounds, else that of the values."""
    s, space = shooting, shooting.space
    lower, upper = guess.sides
    with np.errstate(invalid="ignore"):
        width = np.where(lower.present & upper.present, space.upper - space.lower, np.inf)
    typical = np.broadcast_to(s.typical[s.states :], (s.steps, s.inputs))
    values = s.vector(typical, np.maximum(np.abs(s.shared(guess.control.vector)), 1.0))
    return np.where(np.isfinite(width), width, values)
