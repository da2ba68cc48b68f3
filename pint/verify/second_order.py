"""Tests of tangents, of Hessian products, and of the second derivatives that a user defines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from pint.comm import agreeing, ending_all_ranks, reduce
from pint.controls import Control, on_host
from pint.equations import March, State
from pint.equations.results import as_rows, at_rows
from pint.equations.tangent.cost import Moved, add_steps, has_second, of_cost
from pint.equations.trajectory import Linearisation
from pint.errors import check_kind, integer
from pint.reduced_functional import ReducedFunctional
from pint.verify.arguments import random_direction
from pint.verify.reports import Check, Report, agreed, finite
from pint.verify.taylor import inward

EXACT, BY_DIFFERENCES = 1e-11, 1e-6
"""Tolerances of products, relative to them."""

DOT = "transpose of vjp"


def second_order_test(functional: ReducedFunctional, control: Control, *, seed: int = 0) -> Report:
    """Test tangents and Hessian products at a control, by sequential steps. Collective.

    - ``|J(c + h v) - J(c) - h dJ(v) - h^2 (H v, v) / 2|`` must be O(h^3), for which steps and
      costs must be smooth;
    - ``(H v, w) = (H w, v)``;
    - dJ(v) forward in time, by the tangent, must be dJ(v) backward, by the adjoint;
    - on each level ``<lam, Phi' w> = <Phi'^T lam, w>`` for the tangent of the steps;
    - `Objective.step_cost_hessian` and `terminal_hessian`, and `Tangent.second_vjp`, where they
      are defined, must be the differences of the first derivatives.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        Take a random one, because zeros hide errors.
    seed : int
        Of the random directions.

    Raises
    ------
    TypeError, ValueError
        If it is no control of the functional, ranks have different arguments, or trajectories hold
        C-points alone.
    NotFiniteError
        If J(c) is NaN or infinite.
    """
    check_kind(
        "second_order_test", "functional", functional, ReducedFunctional, "a ReducedFunctional"
    )
    integer("second_order_test", "seed", seed, 0)
    functional.state.require_all_points("second_order_test")
    with agreeing(functional.comm, "second_order_test", functional.space.comm) as ranks:
        functional.controls.require_fitting(control)
        ranks.same = {"seed": seed}
        functional.controls.require_agreement(ranks, control, "control")
    with ending_all_ranks(functional.ranks_to_end):
        state = functional.state.new()
        functional.state.solve(state, control, March())
        functional.require_finite(functional.objective(state))
        checks = agreed(_product_checks(functional, state, seed), functional.comm)
        checks += agreed(defined_checks(functional, state, seed, always=True), functional.comm)
        return Report("second_order_test", checks)


def _product_checks(functional: ReducedFunctional, state: State, seed: int) -> Iterator[Check]:
    """Yield the checks of Hessian products and of the tangent as a whole. Collective."""
    space, second, control = functional.controls, functional.second_order, state.solved_control
    adjoint, how = functional.adjoint.new(), March()
    functional.adjoint.solve(adjoint, state, how)
    derivative = functional.derivative_of(state, adjoint)
    v, w = (
        inward(control, random_direction(control, number), h=0.1) for number in (seed, seed + 1)
    )
    products = [second.product(state, adjoint, one, "full", how) for one in (v, w)]
    pairs = [space.pair(products[0], w), space.pair(products[1], v)]
    size = max(abs(one) for one in pairs) or 1.0
    error = finite(abs(pairs[0] - pairs[1]) / size)
    yield Check("hessian_product", None, "", "is symmetric", error, BY_DIFFERENCES, True)
    tangent = second.tangent.new()
    second.tangent.solve(tangent, state, v, how)
    forward, backward = second.slope(tangent), space.pair(derivative, v)
    precision = float(reduce(functional.comm, second.tangents.precision, "max")[0])
    parts = np.abs(derivative.vector * v.vector)
    size = float(space.sums([float(parts.sum())])[0]) or 1.0
    yield Check(
        "tangent", None, "", "gives the derivative of the objective that the adjoint gives",
        finite(abs(forward - backward) / size), BY_DIFFERENCES if precision else EXACT,
        bool(precision),
    )  # fmt: skip
    rate = _rate(functional, state, v, backward, space.pair(products[0], v))
    claim = "leaves a remainder of order 3 in a Taylor expansion"
    note = "" if rate >= 2.9 else f"the remainder falls with order {rate:.2f}, should be 3"
    yield Check("hessian_product", None, "", claim, finite(max(0.0, 3.0 - rate)), 0.1, note=note)


def _rate(
    functional: ReducedFunctional, state: State, v: Control, slope: float, curvature: float
) -> float:
    """Return the order of the remainder of second order; infinity if it is rounding. Collective."""
    control, value = state.solved_control, functional.objective(state).objective
    trial, points = functional.state.new(), []
    rounding = max(1e-12, 30 * functional.space.precision) * (abs(value) + abs(slope))
    for h in 0.4 * 0.5 ** np.arange(12):
        functional.state.solve(trial, control + h * v, March())
        found = functional.objective(trial).objective
        remainder = abs(found - value - h * slope - 0.5 * h * h * curvature)
        # Products by differences have an error of their own.
        if remainder > rounding + 1e-8 * h * h * abs(curvature) and math.isfinite(remainder):
            points.append((math.log(h), math.log(remainder)))
    if len(points) < 2:
        return math.inf
    rates = [(r1 - r2) / (h1 - h2) for (h1, r1), (h2, r2) in pairwise(points)]
    return float(np.median(rates[-3:]))


def defined_checks(
    functional: ReducedFunctional, state: State, seed: int, always: bool = False
) -> Iterator[Check]:
    """Yield checks of the tangent and the second derivatives that a problem defines. Collective.

    `always`: of the tangent also where the problem has none of its own.
    """
    if functional.state.intervals is not None:
        return
    problem, second = functional.problem, functional.second_order
    owner = second.tangents.tangent
    if owner is not None or always:
        name = "the tangent of the steps" if owner is None else f"{type(owner).__name__}.jvp"
        yield from _step_checks(functional, state, seed, name)
    known = has_second(functional.cost)
    if not known and not second.tangents.exact_second:
        return
    control = state.solved_control
    direction = random_direction(control, seed)
    tangent = second.tangent.new()
    second.tangent.solve(tangent, state, direction, March())
    moved = Moved.along(state, tangent, direction)
    if known:
        exact = of_cost(functional.cost, state, tangent, direction, None)
        differences = of_cost(functional.cost, state, tangent, direction, moved)
        name = f"{type(problem.objective).__name__}.step_cost_hessian, terminal_hessian"
        yield _compared(functional, name, "second derivatives of the cost", exact, differences)
    if second.tangents.exact_second:
        adjoint = functional.adjoint.new()
        functional.adjoint.solve(adjoint, state, March())
        both, space = [], functional.space
        for way in (None, moved):
            lin = Linearisation(functional.controls.zeros(), space.allocate(1))
            add_steps(lin, second.tangents, adjoint, tangent, way, chunk=functional.cost.chunk)
            both.append(lin)
        name = f"{type(owner).__name__}.second_vjp"
        yield _compared(functional, name, "derivative of vjp", *both)


def _compared(
    functional: ReducedFunctional, name: str, claim: str, a: Linearisation, b: Linearisation
) -> Check:
    """Return the check that two second derivatives are the same. Collective."""
    space, numbers = functional.space, []
    for one in (a, b, None):
        parts = [(x, y) for x, y in _parts(a, b)]
        size = 0.0
        for x, y in parts:
            part = x - y if one is None else (x if one is a else y)
            size += (
                float(np.vdot(part, part))
                if isinstance(part, np.ndarray)
                else space.pair(part, part)
            )
        numbers.append(size)
    of_a, of_b, apart = np.sqrt(reduce(space.comm, reduce(functional.comm, numbers)))
    error = float(apart / max(of_a, of_b)) if max(of_a, of_b) else 0.0
    return Check(name, None, "", claim, finite(error), BY_DIFFERENCES, by_differences=True)


def _parts(a: Linearisation, b: Linearisation) -> Iterator[tuple[Any, Any]]:
    """Yield what two linearisations have of the controls and of the states."""
    yield on_host(a.explicit).vector, on_host(b.explicit).vector
    yield a.terminal, b.terminal
    if a.sources is not None and b.sources is not None:
        yield a.sources, b.sources


def _step_checks(
    functional: ReducedFunctional, state: State, seed: int, name: str
) -> Iterator[Check]:
    """Yield the dot tests of the steps' tangents: a batch of first, middle and last. Collective."""
    calls, grid, control = functional.calls, functional.grid, state.solved_control
    tangents, random = functional.second_order.tangents, np.random.default_rng(seed)
    direction = random_direction(control, seed)
    for level, space in enumerate(calls.spaces):
        if space is not calls.space or not isinstance(state.points, np.ndarray):
            continue  # the states there are others
        stride = grid.strides[level]
        last = grid.local_steps - stride
        if last < 0:  # no such step on this rank
            yield Check(name, level, "", DOT, 0.0, EXACT)
            continue
        rows = range(0, last + 1, max(last // 2, 1))
        starts = range(grid.first, grid.first + last + 1, rows.step)
        here, theta, count = as_rows(rows), control.shared, len(rows)
        y, dy, lam = state.points[here], *random.standard_normal((2, count, *space.shape))
        u, du = (at_rows(one, here)[0] for one in (control, direction))
        slope, dual = space.allocate(count), space.allocate(count)
        tangents.jvp(level, starts, (y, u, theta), (dy, du, direction.shared), slope)
        into = (
            {n: np.zeros(np.shape(values)) for n, values in u.items()},
            {n: np.zeros(np.shape(values)) for n, values in theta.items()},
        )
        calls.vjp(level, starts, u, theta, y, lam, dual, into=into)
        pairs = [(dual, dy), *((into[0][n], du[n]) for n in u)]
        pairs += [(into[1][n], direction[n]) for n in theta]
        products = [float(np.vdot(a, b)) for a, b in pairs]
        size = float(np.linalg.norm(lam) * np.linalg.norm(slope)) or 1.0
        error = abs(float(np.vdot(lam, slope)) - sum(products)) / size
        by_differences = tangents.precision > 0
        yield Check(
            name, level, "", DOT, finite(error),
            BY_DIFFERENCES if by_differences else EXACT, by_differences,
        )  # fmt: skip
