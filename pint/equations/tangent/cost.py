"""Second derivatives of the cost and of the Lagrangian along a direction of states and control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pint.controls import Control, ControlSpace, on_host
from pint.equations.adjoint import AdjointEquation
from pint.equations.cost import Cost
from pint.equations.results import at_rows, rows_after
from pint.equations.tangent.calls import TangentCalls
from pint.equations.tangent.differences import difference_distance
from pint.equations.tangent.equation import TangentState
from pint.equations.trajectory import AdjointState, Linearisation, State
from pint.states import ArraySpace, Block

MOST_NUMBERS = 100
"""Of the arguments of a step cost whose matrix of second derivatives is formed; differences of the
first ones are cheaper for more."""


@dataclass(frozen=True, eq=False)
class Moved:
    """A state and its control, moved along a direction to both sides, by a distance."""

    ahead: State
    behind: State
    distance: float

    @classmethod
    def along(cls, state: State, tangent: TangentState, direction: Control) -> Moved:
        """Move a solved state along a tangent. Collective."""
        control, space = state.solved_control, state.equation.calls.space
        at = (state.points, control.time, control.shared)
        way = (tangent.points, direction.time, direction.shared)
        distance = difference_distance(space, at, way, control.space.comm)
        ahead, behind = (
            State(
                state.points + step * tangent.points,
                state.equation,
                control + step * direction,
                solution=object(),
                epoch=state.epoch,
            )
            for step in (distance, -distance)
        )
        return cls(ahead, behind, distance)

    def slope(self, ahead: Any, behind: Any) -> Any:
        """Return the derivative of what has two values there."""
        return (ahead - behind) * (0.5 / self.distance) if self.distance else 0.0 * ahead


def of_cost(
    cost: Cost, state: State, tangent: TangentState, direction: Control, moved: Moved | None
) -> Linearisation:
    """Return the derivative of `Cost.linearise` along a direction. Collective.

    With `moved` it is taken by central differences, without by the objective's second derivatives.
    """
    if moved is None:
        return _exact(cost, state, tangent.points, direction)
    ahead, behind = cost.linearise(moved.ahead), cost.linearise(moved.behind)
    explicit = moved.slope(on_host(ahead.explicit).vector, on_host(behind.explicit).vector)
    sources = None
    if ahead.sources is not None:
        sources = moved.slope(ahead.sources, behind.sources)
    terminal = moved.slope(ahead.terminal, behind.terminal)
    return Linearisation(Control(cost.controls, explicit), terminal, sources, sources)


def has_second(cost: Cost) -> bool:
    """Whether the second derivatives of a cost are known, and matrices of them not too large."""
    objective, space = cost.calls.problem.objective, cost.calls.space
    known = objective.has_hessian and not objective.has_outer
    if not (known and cost.calls.batched and isinstance(space, ArraySpace)):
        return False
    fields = cost.controls.fields.values()
    numbers = [2 * int(np.prod(space.shape)), *(int(np.prod(one.shape)) for one in fields)]
    return sum(numbers) <= MOST_NUMBERS


def _exact(cost: Cost, state: State, dy: Block, direction: Control) -> Linearisation:
    """Return the products of the second derivatives that the objective defines. Collective."""
    calls, controls = cost.calls, cost.controls
    theta, dtheta = state.solved_control.shared, direction.shared
    new = Linearisation(controls.zeros(), calls.space.allocate(1))
    if calls.problem.objective.has_step_cost:
        sources = calls.space.allocate(len(state.points))
        for here, y0, y1, s, u in cost.visit(state):
            time, shared = at_rows(new.explicit, here)
            after, du = rows_after(here), at_rows(direction, here)[0]
            matrices = calls.objective.step_cost_hessian(s, y0, y1, u, theta)
            parts = [dy[here], dy[after], *(du[name] for name in u)]
            parts += [np.broadcast_to(v, (len(y0), *v.shape)) for v in dtheta.values()]
            results = [sources[here], sources[after], *(time[name] for name in u)]
            (*products,) = _products(matrices, parts)
            for place, product in zip(results, products, strict=False):
                place += product
            for name, product in zip(dtheta, products[len(results) :], strict=True):
                shared[name][...] += product.sum(axis=0)
        new.terminal += cost.shift_right(sources)
        new.sources = new.sums = sources
    if calls.grid.comm.rank == calls.grid.last_rank:
        matrix = calls.objective.terminal_hessian(state.points[-1], theta)
        ends = _products(matrix, [dy[-1:], *(v[None] for v in dtheta.values())])
        new.terminal += next(ends)
        for name, product in zip(dtheta, ends, strict=True):
            new.explicit.shared[name][...] += product[0]
    return new


def _products(matrices: Any, parts: list[Any]) -> Any:
    """Yield the parts of the product of matrices with vectors that are given in parts."""
    count = len(parts[0])
    flat = np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
    size = flat.shape[1]
    matrices = np.broadcast_to(matrices, (count, size, size))  # NaN where there are none
    whole, start = np.einsum("bij,bj->bi", matrices, flat), 0
    for part in parts:
        stop = start + part[0].size
        yield whole[:, start:stop].reshape(part.shape)
        start = stop


def add_steps(
    lin: Linearisation,
    tangents: TangentCalls,
    adjoint: AdjointState,
    tangent: TangentState,
    moved: Moved | None,
    chunk: int,
) -> None:
    """Add the second derivatives of ``sum_n lam_{n+1}' Phi_n``, in place. Collective in space.

    With `moved` they are central differences of the transposes, otherwise those of the tangent.
    """
    calls, state, direction = tangents.calls, tangent.state, tangent.direction
    assert state is not None and direction is not None
    grid, control, steps = calls.grid, state.solved_control, calls.grid.local_steps
    if lin.sources is None:
        lin.sources = lin.sums = calls.space.allocate(len(state.points))
    slopes = [Control(control.space, np.zeros_like(on_host(lin.explicit).vector)) for _ in range(2)]
    for begin in range(0, steps, chunk):
        here = slice(begin, min(begin + chunk, steps))
        starts, lam = (
            range(grid.first + here.start, grid.first + here.stop),
            adjoint.points[rows_after(here)],
        )
        outs = [calls.space.allocate(len(starts)) for _ in range(2)]
        if moved is None:
            at = (state.points[here], at_rows(control, here)[0], control.shared)
            way = (tangent.points[here], at_rows(direction, here)[0], direction.shared)
            into = at_rows(lin.explicit, here)
            tangents.second_vjp(starts, at, lam, way, outs[0], into)
            lin.sources[here] += outs[0]
            continue
        for one, out, slope in zip((moved.ahead, moved.behind), outs, slopes, strict=True):
            at_one = one.solved_control
            u, into = at_rows(at_one, here)[0], at_rows(slope, here)
            calls.vjp(0, starts, u, at_one.shared, one.points[here], lam, out, into=into)
        lin.sources[here] += moved.slope(*outs)
    if moved is not None:
        on_host(lin.explicit).vector[...] += moved.slope(slopes[0].vector, slopes[1].vector)


def add_initial(
    lin: Linearisation, equation: AdjointEquation, adjoint: AdjointState, tangent: TangentState
) -> None:
    """Add the second derivative of ``lam_0' y_0(theta)``, in place. Not collective in time."""
    calls, state, direction = equation.calls, tangent.state, tangent.direction
    assert state is not None and direction is not None
    theta, dtheta = state.solved_control.shared, direction.shared
    if calls.grid.comm.rank != calls.grid.first_step_rank or not dtheta:
        return
    lam0, space, controls = adjoint.points[0], calls.space, equation.controls
    still = 0.0 * adjoint.points[:1]
    distance = difference_distance(space, (still, {}, theta), (still, {}, dtheta))
    if not distance:
        return
    both = [controls.zeros(), controls.zeros()]
    for into, way in zip(both, (distance, -distance), strict=True):
        moved = {name: value + way * dtheta[name] for name, value in theta.items()}
        calls.initial_vjp(moved, lam0, at_rows(into, ...))
    on_host(lin.explicit).vector[...] += (both[0].vector - both[1].vector) / (2 * distance)


def of_regularisers(
    controls: ControlSpace, terms: Any, control: Control, direction: Control
) -> Any:
    """Return the second derivative of regularisers along a direction, a dual vector. Collective.

    It is exact where derivatives are affine in the control, as those of `Tikhonov`.
    """
    squares = [controls.norm(one) for one in (control, direction)]
    total = controls.zeros()
    if not squares[1]:
        return total
    # Any distance serves an affine derivative: a large one leaves little rounding.
    distance = 1e-3 * max(1.0, squares[0]) / squares[1]
    for term in terms:
        four = [term.derivative(control + k * distance * direction) for k in (1, -1, 2, -2)]
        near, far = four[0] - four[1], four[2] - four[3]
        total = total + (8.0 * near - far) * (1.0 / (12.0 * distance))
    return total
