"""The state and the adjoint equation as one-step recursions that the solver can run.

A `StateSweep` binds a problem to a control; an `AdjointSweep` also to a state trajectory. Both are
propagators: they answer `apply` for steps of any level, counted in their direction of time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pint.controls import Control
from pint.interface import Problem
from pint.mgrit.hierarchy import CHUNK_BYTES
from pint.space import Block
from pint.timegrid import Steps


class StateSweep:
    """``Y[n+1] = Phi_n(Y[n], u_n, theta)``, forward in time. Making one is collective."""

    def __init__(self, problem: Problem, control: Control) -> None:
        self.problem = problem
        self.theta = control.shared
        self.u = control.space.restrict(control)
        self.layouts = problem.grid.layouts()
        self.steppers = coarsened(problem.stepper, problem.grid.levels)

    def apply(self, level: int, steps: range, states: Block) -> Block:
        """Return Phi for `steps` of `level` from their initial `states`."""
        stride, first = self.layouts[level].stride, self.layouts[level].first
        starts = range(steps.start * stride, steps.stop * stride, steps.step * stride)
        local = slice(steps.start - first, steps.stop - first, steps.step)
        u = {name: blocks[local] for name, blocks in self.u[level].items()}
        stepper, grid, space = self.steppers[level], self.problem.grid, self.problem.space
        if stepper.batched:
            s = grid.batch(level, starts, len(space.shape))
            return checked(stepper.step(s, states, u, self.theta), states, stepper, "step")
        new = space.allocate(len(steps))
        for j, start in enumerate(starts):
            block = {name: blocks[j] for name, blocks in u.items()}
            y = stepper.step(grid.single(level, start), states[j], block, self.theta)
            new[j] = checked(y, states[j], stepper, "step")
        return new


class AdjointSweep:
    """``lam[n] = (dPhi_n/dy)^T lam[n+1] + source[n]``, backward in time; linear.

    Step k of the sweep goes from reversed point k to k + 1. On every level it is the transpose
    of the step that begins at the point where it ends, linearised at the fine trajectory there.
    Sources enter as right-hand side on level 0 only. Making one is collective.

    Parameters
    ----------
    problem : Problem
    control : Control
    trajectory : Block
        The states: row j is point ``grid.first + j``.
    """

    def __init__(self, problem: Problem, control: Control, trajectory: Block) -> None:
        self.problem = problem
        self.theta = control.shared
        self.u = control.space.restrict(control, reverse=True)
        self.trajectory = trajectory
        self.layouts = problem.grid.layouts(reverse=True)
        self.adjoints = coarsened(problem.adjoint, problem.grid.levels)

    def apply(self, level: int, steps: range, states: Block) -> Block:
        """Return the transposed steps of `level` applied to the adjoints `states`."""
        grid, space = self.problem.grid, self.problem.space
        stride, first = self.layouts[level].stride, self.layouts[level].first
        last_point = grid.steps - stride
        starts = range(
            last_point - steps.start * stride,
            last_point - steps.stop * stride,
            -steps.step * stride,
        )
        local = slice(steps.start - first, steps.stop - first, steps.step)
        u = {name: blocks[local] for name, blocks in self.u[level].items()}
        y = self.trajectory[descending(starts, grid.first)]
        adjoint = self.adjoints[level]
        if self.problem.stepper.batched:
            s = grid.batch(level, starts, len(space.shape))
            return checked(adjoint.step(s, y, u, self.theta, states), states, adjoint, "step")
        new = space.allocate(len(steps))
        for j, start in enumerate(starts):
            block = {name: blocks[j] for name, blocks in u.items()}
            s = grid.single(level, start)
            lam = adjoint.step(s, y[j], block, self.theta, states[j])
            new[j] = checked(lam, states[j], adjoint, "step")
        return new


def checked(result: Any, expected: Any, owner: object, method: str) -> Any:
    """Return a user's result if it has the shape of `expected`, or raise ValueError."""
    if getattr(result, "shape", ()) != expected.shape:
        raise ValueError(
            f"`{type(owner).__name__}.{method}` must return an array of shape {expected.shape}, "
            f"got {getattr(result, 'shape', type(result).__name__)}."
        )
    return result


def finest_steps(
    problem: Problem, control: Control
) -> Iterator[tuple[Any, Any, Steps, dict[str, Any]]]:
    """Yield this rank's steps of level 0, in batches if the stepper is batched.

    Each item is (rows, rows after, steps, u): a state trajectory's rows at the beginnings and
    at the ends of the steps, the steps, and their control blocks.
    """
    grid, space, batched = problem.grid, problem.space, problem.stepper.batched
    size = max(1, CHUNK_BYTES // max(1, space.state_bytes)) if batched else 1
    fields = control.time
    for start in range(0, grid.local_steps, size):
        stop = min(start + size, grid.local_steps)
        rows: Any = slice(start, stop) if batched else start
        after: Any = slice(start + 1, stop + 1) if batched else start + 1
        points = range(grid.first + start, grid.first + stop)
        s = grid.batch(0, points, len(space.shape)) if batched else grid.single(0, points.start)
        yield rows, after, s, {name: values[rows] for name, values in fields.items()}


def descending(points: range, first: int) -> slice:
    """Return the rows of a descending range of points, row 0 being point `first`."""
    if not points:
        return slice(0, 0)
    stop = points[-1] - first - 1
    return slice(points[0] - first, stop if stop >= 0 else None, points.step)


def coarsened(part: Any, levels: int) -> list[Any]:
    """Return a stepper or adjoint for each level; level 0 is `part` itself."""
    return [part, *(part.coarsen(level) for level in range(1, levels))]
