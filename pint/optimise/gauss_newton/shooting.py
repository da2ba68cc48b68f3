"""Multiple shooting with one interval a step: states and controls are unknown together.

The states need not satisfy the state equation: ``Phi_n(y_n, u_n, theta) - y_{n+1}`` is the defect
of step n. Everything here is an operation on all steps of a rank at once; no part is sequential.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.comm import reduce
from pint.controls import Control, Smoothness, Tikhonov
from pint.equations import Value
from pint.equations.results import add, at_rows, rows_after
from pint.equations.sweeps import write_jacobians
from pint.reduced_functional import ReducedFunctional

SMALL, LARGE = 1e-4, 0.25
"""Distances of differences, relative to the largest value; the first one is for differences of
order four."""

Move = Callable[[float], tuple[Any, Control]]


@dataclass(frozen=True, eq=False)
class Slopes:
    """First derivatives of the cost, a rank's steps; without the factor of an outer function.

    Attributes
    ----------
    y0, y1 : ndarray of shape (N, n)
        Of each step cost, with respect to the states where the step begins and ends.
    u : ndarray of shape (N, m)
    theta : ndarray of shape (p,)
        The sum over this rank's steps.
    """

    y0: np.ndarray
    y1: np.ndarray
    u: np.ndarray
    theta: np.ndarray


class Shooting:
    """The problem as a function of states and controls, in matrices. Not a copy of anything.

    Attributes
    ----------
    states, inputs, parameters : int
        Numbers of a state, of a block of all time-dependent fields, of all shared fields.
    first, last : bool
        Whether this rank owns point 0, and the last point.
    typical : ndarray of shape (n + m,)
        Typical sizes of the numbers of state and control.
    """

    def __init__(self, functional: ReducedFunctional) -> None:
        self.functional, self.calls = functional, functional.calls
        self.space, self.comm, self.grid = functional.controls, functional.comm, functional.grid
        self.shape = functional.space.shape
        self.states = int(np.prod(self.shape, dtype=int))
        self._columns = {
            name: int(np.prod(field.shape, dtype=int))
            for name, field in self.space.time_fields.items()
        }
        self.inputs = sum(self._columns.values())
        self.parameters = sum(
            int(np.prod(f.shape, dtype=int)) for f in self.space.shared_fields.values()
        )
        self.steps = self.grid.local_steps
        self.first, self.last = self.comm.rank == 0, self.comm.rank == self.grid.last_rank
        self.typical = np.ones(self.states + self.inputs)
        self._chunk = functional.cost.chunk
        self._has_hessian = self.calls.batched and self.calls.problem.objective.has_hessian

    # Controls as matrices

    def matrix(self, vector: np.ndarray) -> np.ndarray:
        """Return the part of a vector of the space that belongs to steps, shape (N, m)."""
        parts = [
            vector[self.space.places[name][0]].reshape(self.steps, columns)
            for name, columns in self._columns.items()
        ]
        return np.concatenate([np.empty((self.steps, 0)), *parts], axis=1)

    def shared(self, vector: np.ndarray) -> np.ndarray:
        """Return the shared part of a vector of the space, shape (p,)."""
        parts = [vector[self.space.places[name][0]] for name in self.space.shared_fields]
        return np.concatenate([np.empty(0), *parts])

    def vector(self, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Return the vector of the space with the parts that `matrix` and `shared` return."""
        vector, column = np.empty(self.space.size), 0
        for name, columns in self._columns.items():
            place = vector[self.space.places[name][0]].reshape(self.steps, columns)
            place[...] = u[:, column : column + columns]
            column += columns
        column = 0
        for name in self.space.shared_fields:
            place = vector[self.space.places[name][0]]
            place[...] = theta[column : column + place.size]
            column += place.size
        return vector

    # Values

    def next_states(self, y: np.ndarray, control: Control) -> np.ndarray:
        """Return ``Phi_n(y_n, u_n, theta)`` of all steps, shape (N, n)."""
        out = self.functional.space.allocate(self.steps)
        for rows, starts, u in self._pieces(control):
            block = self._block(y[rows])
            self.calls.step(0, starts, u, control.shared, block, out[rows])
        self.functional.state.solver.levels[0].steps_evaluated += self.steps
        return np.asarray(out).reshape(self.steps, self.states)

    def initial(self, control: Control) -> np.ndarray:
        """Return ``y_0(theta)``."""
        like = self.functional.space.allocate(1)[0]
        return np.array(
            np.broadcast_to(self.calls.initial(control.shared, like), self.shape)
        ).ravel()

    def value(self, y: np.ndarray, control: Control) -> Value:
        """Return the objective at states and control. Collective."""
        cost = float(self.calls.problem.objective.outer(self._summed(y, control)))
        terms = tuple(term.value(control) for term in self.calls.problem.regularisers)
        return Value(cost, terms)

    # First derivatives

    def jacobians(self, y: np.ndarray, control: Control) -> tuple[np.ndarray, np.ndarray]:
        """Return Phi_y and Phi_u of all steps, shapes (N, n, n) and (N, n, m): n calls of `vjp`."""
        n, into = self.states, [self.space.zeros() for _ in range(self.states)]
        of_y = np.empty((self.steps, n, n))
        for rows, starts, u in self._pieces(control):
            places, at = [at_rows(one, rows) for one in into], self._block(y[rows])
            write_jacobians(self.calls, 0, starts, u, control.shared, at, of_y[rows], into=places)
        self.functional.adjoint.solver.levels[0].steps_evaluated += n * self.steps
        of_u = np.empty((self.steps, n, self.inputs))
        for i, one in enumerate(into):
            of_u[:, i] = self.matrix(one.vector)
        return of_y, of_u

    def transposed(
        self, y: np.ndarray, control: Control, lam: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Phi_y^T lam and Phi_u^T lam of each step, and the sum of Phi_theta^T lam."""
        out, into = self.functional.space.allocate(self.steps), self.space.zeros()
        for rows, starts, u in self._pieces(control):
            place = at_rows(into, rows)
            at, along = self._block(y[rows]), self._block(lam[rows])
            self.calls.vjp(0, starts, u, control.shared, at, along, out[rows], into=place)
        self.functional.adjoint.solver.levels[0].steps_evaluated += self.steps
        flat = np.asarray(out).reshape(self.steps, self.states)
        return flat, self.matrix(into.vector), self.shared(into.vector)

    def of_theta(self, y: np.ndarray, control: Control) -> np.ndarray:
        """Return Phi_theta of all steps, shape (N, n, p), by differences."""
        result = np.empty((self.steps, self.states, self.parameters))
        for i, (scale, at) in enumerate(self._theta_moves(control)):
            result[:, :, i] = self._derivative(
                lambda distance, at=at: [self.next_states(y, at(distance))],  # type: ignore[misc]
                scale,
            )[0]
        return result

    def initial_of_theta(self, control: Control) -> np.ndarray:
        """Return dy_0/dtheta, shape (n, p)."""
        if not self.parameters:
            return np.zeros((self.states, 0))
        rows = []
        for unit in np.eye(self.states):
            into = self.space.zeros()
            self.calls.initial_vjp(control.shared, unit.reshape(self.shape), at_rows(into, ...))
            rows.append(self.shared(into.vector))
        return np.array(rows).reshape(self.states, self.parameters)

    def slopes(self, y0: np.ndarray, y1: np.ndarray, control: Control) -> Slopes:
        """Return the derivatives of the step costs; `y0` and `y1` need not fit together."""
        of_y0, of_y1 = np.zeros((2, self.steps, *self.shape))
        into, objective = self.space.zeros(), self.calls.problem.objective
        if objective.has_step_cost:
            begin, end = self._block(y0), self._block(y1)
            for here, _, s, u in self._visit(control):
                dy0, dy1, du, dtheta = self.calls.objective.step_cost_derivative(
                    s, begin[here], end[here], u, control.shared
                )
                of_y0[here], of_y1[here] = dy0, dy1
                add(at_rows(into, here), du, dtheta, objective)
        flat = (self.steps, self.states)
        return Slopes(
            of_y0.reshape(flat),
            of_y1.reshape(flat),
            self.matrix(into.vector),
            self.shared(into.vector),
        )

    def terminal_slopes(self, y: np.ndarray, control: Control) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives of the terminal cost with respect to the last state and theta."""
        dy, dtheta = self.calls.objective.terminal_derivative(y.reshape(self.shape), control.shared)
        into = self.space.zeros()
        add(at_rows(into, ...), {}, dtheta, self.calls.problem.objective)
        flat = np.array(np.broadcast_to(dy, self.shape), dtype=float).ravel()
        return flat, self.shared(into.vector)

    def outer_slope(self, y: np.ndarray, control: Control) -> float:
        """Return the derivative of the outer function F of the cost. Collective."""
        objective = self.calls.problem.objective
        if not objective.has_outer:
            return 1.0
        return float(objective.outer_derivative(self._summed(y, control)))

    def regularisers(self, control: Control) -> tuple[np.ndarray, np.ndarray]:
        """Return derivative and diagonal Hessian of the regularisers, vectors of the space.

        The Hessian lacks what couples steps: see `rates`.
        """
        slope, diagonal = np.zeros(self.space.size), np.zeros(self.space.size)
        one = Control(self.space, np.ones(self.space.size))
        for term in self.calls.problem.regularisers:
            slope += term.derivative(control).vector
            if isinstance(term, Tikhonov):
                diagonal += term.derivative(one).vector
        return slope, diagonal

    def rates(self) -> np.ndarray:
        """Return the weights w of ``w_n |u_n - u_{n-1}|^2 / 2`` in `Smoothness`, shape (N, m)."""
        weights, grid = np.zeros((self.steps, self.inputs)), self.grid
        middle = 0.5 * (grid.t[1:] + grid.t[:-1])
        for term in self.calls.problem.regularisers:
            if not isinstance(term, Smoothness):
                continue
            inverse = np.zeros(grid.steps)
            inverse[1:] = term.gamma / np.diff(middle)
            column = 0
            for name, columns in self._columns.items():
                if name in term.fields:
                    own = inverse[grid.first : grid.last]
                    weights[:, column : column + columns] += own[:, None]
                column += columns
        return weights

    # Second derivatives: derivatives of the first ones along each number of their arguments

    def cost_hessian(self, y: np.ndarray, control: Control) -> np.ndarray:
        """Return the Hessians of the step costs in (y_n, y_{n+1}, u_n, theta). Collective.

        Shape (N, 2n + m + p, 2n + m + p); the block of theta alone may be the sum over this rank's
        steps, in the first one. They are the objective's where it has them.
        """
        n, m, p = self.states, self.inputs, self.parameters
        result = np.zeros((self.steps, 2 * n + m + p, 2 * n + m + p))
        if not self.calls.problem.objective.has_step_cost:
            return result
        if self._has_hessian:
            begin, end = self._block(y[:-1]), self._block(y[1:])
            for here, _, s, u in self._visit(control):
                result[here] = self.calls.objective.step_cost_hessian(
                    s, begin[here], end[here], u, control.shared
                )
            return result
        at_once = self.slopes(y[:-1], y[1:], control)
        base = [at_once.y0, at_once.y1, at_once.u, at_once.theta]
        for j, (scale, move) in enumerate(self._moves(y, control, twice=True)):

            def slopes(distance: float, j: int = j, move: Move = move) -> list[np.ndarray]:
                dy, at = move(distance)
                begin = y[:-1] + dy if j < n else y[:-1]
                end = y[1:] + dy if n <= j < 2 * n else y[1:]
                found = self.slopes(begin, end, at)
                return [found.y0, found.y1, found.u, found.theta]

            self._put(result, j, 2 * n + m, self._derivative(slopes, scale, base))
        return 0.5 * (result + np.swapaxes(result, 1, 2))

    def curvature(self, y: np.ndarray, control: Control, lam: np.ndarray) -> np.ndarray:
        """Return the Hessians of ``lam_n' Phi_n`` in (y_n, u_n, theta): differences of `vjp`.

        Shape (N, n + m + p, n + m + p), as in `cost_hessian`. Collective.
        """
        n, m, p = self.states, self.inputs, self.parameters
        result = np.zeros((self.steps, n + m + p, n + m + p))
        base = list(self.transposed(y[:-1], control, lam))
        for j, (scale, move) in enumerate(self._moves(y, control, twice=False)):

            def products(distance: float, j: int = j, move: Move = move) -> list[np.ndarray]:
                dy, at = move(distance)
                return list(self.transposed(y[:-1] + dy if j < n else y[:-1], at, lam))

            self._put(result, j, n + m, self._derivative(products, scale, base))
        return 0.5 * (result + np.swapaxes(result, 1, 2))

    def _put(self, result: np.ndarray, j: int, first: int, columns: list[np.ndarray]) -> None:
        """Write one column of Hessians, in place; theta begins at `first`."""
        result[:, :first, j] = np.concatenate(columns[:-1], axis=1)
        if j >= first and self.steps:
            # Cross terms with theta are those of each step; those of theta alone are summed.
            result[0, first:, j] = columns[-1]
            result[:, j, :first] = result[:, :first, j]

    def terminal_hessian(self, y: np.ndarray, control: Control) -> np.ndarray:
        """Return the Hessian of the terminal cost in (y_N, theta), on the last rank; collective."""
        n, p = self.states, self.parameters
        result = np.zeros((n + p, n + p))
        if self._has_hessian:
            if self.last:
                result[...] = self.calls.objective.terminal_hessian(
                    y[-1].reshape(self.shape), control.shared
                )
            return result
        moves = list(self._moves(y, control, twice=False))
        for j, (scale, move) in enumerate([*moves[:n], *moves[n + self.inputs :]]):

            def slopes(distance: float, j: int = j, move: Move = move) -> list[np.ndarray]:
                dy, at = move(distance)
                if not self.last:
                    return [np.zeros(n), np.zeros(p)]
                return list(self.terminal_slopes(y[-1] + dy if j < n else y[-1], at))

            result[:, j] = np.concatenate(self._derivative(slopes, scale))
        return 0.5 * (result + result.T)

    def _derivative(
        self,
        function: Callable[[float], list[np.ndarray]],
        scale: float,
        base: list[np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """Return the derivative of a function of a distance by differences. Collective.

        Where two large distances give the same slope the function is linear, and they are exact
        to rounding: the Hessians of quadratic costs are. Elsewhere four small ones have errors of
        about 1e-12. `base` is the function at zero, if it is known.
        """
        base = function(0.0) if base is None else base
        far, near = LARGE * scale, -0.5 * LARGE * scale
        ahead, behind = function(far), function(near)
        slopes = [(a - b) / far for a, b in zip(ahead, base, strict=True)]
        others = [(c - b) / near for c, b in zip(behind, base, strict=True)]
        apart = _largest([a - b for a, b in zip(slopes, others, strict=True)])
        # Not finite far away, or more than rounding
        differs = not apart <= 1e-10 * _largest(slopes) + 1e-13 * _largest(base) / scale
        if not reduce(self.comm, differs, "max")[0]:
            return [(a - c) / (far - near) for a, c in zip(ahead, behind, strict=True)]
        step = SMALL * scale
        points = [function(factor * step) for factor in (1.0, -1.0, 2.0, -2.0)]
        return [
            (8.0 * (a - b) - (c - d)) / (12.0 * step) for a, b, c, d in zip(*points, strict=True)
        ]

    # Parts

    def _summed(self, y: np.ndarray, control: Control) -> float:
        """Return the sum of all costs. Collective."""
        local, theta, points = 0.0, control.shared, self._block(y)
        if self.calls.problem.objective.has_step_cost:
            for here, _, s, u in self._visit(control):
                local += self.calls.objective.step_cost(
                    s, points[here], points[rows_after(here)], u, theta
                )
        if self.last:
            local += self.calls.objective.terminal(points[-1], theta)
        return float(reduce(self.comm, local)[0])

    def _moves(self, y: np.ndarray, control: Control, twice: bool) -> Iterator[tuple[float, Move]]:
        """Yield for each number of (y, y, u, theta) its size and a function of a distance.

        It returns a change of all states, and a control. The first states are left out unless
        `twice`. Collective.
        """
        scales, n = self.scales(y, control), self.states
        nothing = np.zeros(n)
        for _ in range(2 if twice else 1):
            for i in range(n):
                unit = np.eye(n)[i]
                yield scales[i], lambda distance, unit=unit: (distance * unit, control)  # type: ignore[misc]
        for i in range(self.inputs):
            move = np.zeros((self.steps, self.inputs))
            move[:, i] = 1.0
            along = self.vector(move, np.zeros(self.parameters))
            yield scales[n + i], lambda distance, along=along: (  # type: ignore[misc]
                nothing, Control(self.space, control.vector + distance * along)
            )  # fmt: skip
        for scale, at in self._theta_moves(control):
            yield scale, lambda distance, at=at: (nothing, at(distance))  # type: ignore[misc]

    def _theta_moves(self, control: Control) -> Iterator[tuple[float, Callable[[float], Control]]]:
        """Yield for each shared number its size, and the control as a function of a distance."""
        for i, value in enumerate(self.shared(control.vector)):
            along = self.vector(np.zeros((self.steps, self.inputs)), np.eye(self.parameters)[i])
            yield (
                (abs(float(value)) or 1.0),
                lambda distance, along=along: Control(  # type: ignore[misc]
                    self.space, control.vector + distance * along
                ),
            )

    def scales(self, y: np.ndarray, control: Control) -> np.ndarray:
        """Return the largest size of each number of state and control. Collective.

        It is at least a part of `typical`, so that a number that happens to be zero has one, too.
        """
        most = self._largest(y, self.matrix(control.vector))
        return np.maximum(most, 1e-3 * self.typical)

    def set_typical(self, y: np.ndarray, control: Control, defects: np.ndarray) -> None:
        """Let `typical` be the sizes of states, of what a step changes, and of bounds. Collective.

        Where all of them are zero it is 1.
        """
        space, n = self.space, self.states
        with np.errstate(invalid="ignore"):
            width = np.where(np.isfinite(space.lower), np.abs(space.lower), 0.0)
            width = np.maximum(width, np.where(np.isfinite(space.upper), np.abs(space.upper), 0.0))
        most = self._largest(y, np.maximum(self.matrix(width), np.abs(self.matrix(control.vector))))
        most[:n] = np.maximum(most[:n], self._largest(defects, self.matrix(width))[:n])
        most[:n] = np.where(most[:n] > 0, most[:n], most[:n].max(initial=0.0))
        self.typical = np.where((most > 0) & np.isfinite(most), most, 1.0)

    def _largest(self, *arrays: np.ndarray) -> np.ndarray:
        """Return the largest sizes of the columns of some arrays. Collective."""
        most = np.concatenate([np.abs(a).max(axis=0, initial=0.0) for a in arrays])
        return np.asarray(reduce(self.comm, most, "max"))

    def _pieces(self, control: Control) -> Iterator[tuple[slice, range, dict[str, np.ndarray]]]:
        """Yield rows, the points where they begin, and their blocks of the control."""
        for begin in range(0, self.steps, self._chunk):
            rows = slice(begin, min(begin + self._chunk, self.steps))
            starts = range(self.grid.first + rows.start, self.grid.first + rows.stop)
            yield rows, starts, {name: values[rows] for name, values in control.time.items()}

    def _visit(self, control: Control) -> Iterator[Any]:
        return self.calls.visit(range(self.steps), control, self._chunk)

    def _block(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(len(y), *self.shape)


def _largest(arrays: list[np.ndarray]) -> float:
    """Return the largest size of all numbers; NaN if there is one."""
    return float(np.max([0.0, *(np.abs(array).max(initial=0.0) for array in arrays)]))
