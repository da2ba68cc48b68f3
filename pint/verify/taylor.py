"""The Taylor test of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from pint.comm import agreeing
from pint.controls import Control
from pint.equations import Cycles, March, State
from pint.errors import check_kind, integer, number
from pint.reduced_functional import ReducedFunctional
from pint.verify.arguments import random_direction
from pint.verify.reports import TaylorReport


def taylor_test(
    functional: ReducedFunctional,
    control: Control,
    direction: Control | None = None,
    *,
    seed: int = 0,
    exact: bool = True,
    noise: float | None = None,
) -> TaylorReport:
    """Test the gradient: ``|J(c + h v) - J(c) - h dJ(v)|`` must be O(h^2). Collective.

    h falls from 0.1 by factors of 4 until the remainder is rounding; if the first remainders are
    rounding already, larger h are tried.

    Parameters
    ----------
    functional : ReducedFunctional
    control : Control
        c; not a minimum, where any small derivative passes. J need not be smooth everywhere, but
        a kink between c and c + h v spoils the rate.
    direction : Control, optional
        v; by default normal numbers, each field scaled like its values in `control` and turned
        away from the bounds. It does not depend on the number of ranks.
    seed : int
        Of the random direction.
    exact : bool
        Solve state and adjoint by stepping, which tests the problem alone. If False, use MGRIT
        to ``functional.accuracy``, from the first guess each time.
    noise : float, optional
        Relative error to which J is computed, 1e-12 by default, 1e-9 with MGRIT, and 4e-6 for
        float32 states; raise it if the steps solve their equations inexactly.

    Raises
    ------
    TypeError, ValueError
        If it is no control of the functional, or the ranks have different arguments.
    NotFiniteError
        If J(c) is NaN or infinite.
    """
    check_kind("taylor_test", "functional", functional, ReducedFunctional, "a ReducedFunctional")
    check_kind("taylor_test", "exact", exact, bool, "True or False")
    integer("taylor_test", "seed", seed, 0)
    if noise is not None:
        noise = number("taylor_test", "noise", noise)
    space = functional.controls
    with agreeing(functional.comm, "taylor_test", functional.space.comm) as ranks:
        space.require_fitting(control)
        if direction is not None:
            space.require_fitting(direction)
        ranks.same = {"seed": seed, "exact": exact, "noise": noise}
        space.require_agreement(ranks, control, "control")
    how = March() if exact else Cycles(functional.accuracy)
    rounding = 30 * functional.space.precision
    relative_noise = noise if noise is not None else max(1e-12 if exact else 1e-9, rounding)
    if direction is None:
        direction = inward(control, random_direction(control, seed), h=0.1)

    def solved(at: Control) -> State:
        state = functional.state.new()  # so that MGRIT begins with the first guess each time
        functional.state.solve(state, at, how)
        return state

    state = solved(control)
    value = functional.objective(state)
    functional.require_finite(value)
    J, adjoint = value.objective, functional.adjoint.new()
    functional.adjoint.solve(adjoint, state, how)
    slope = space.pair(functional.derivative_of(state, adjoint), direction)

    def remainder(h: float) -> float:
        trial = solved(control + h * direction)
        return abs(functional.objective(trial).objective - J - h * slope)

    floor = relative_noise * (abs(J) + 0.1 * abs(slope))
    points = _remainders(remainder, floor)
    significant = [(h, r) for h, r in points if r > floor]
    rates = [
        math.log(r / smaller_r) / math.log(h / smaller_h)
        for (h, r), (smaller_h, smaller_r) in pairwise(significant)
    ]
    if (
        len(significant) == 1
    ):  # later remainders, and the true value of this rate, are below the noise
        (h, r), below = significant[0], points[-1][0]
        rates = [math.log(r / floor) / math.log(h / below)] if below < h else [math.nan]
    elif not any(math.isfinite(r) for _, r in points):
        rates = [math.nan]
    steps, remainders = zip(*points, strict=True)
    return TaylorReport(steps, remainders, floor, tuple(rates), J, slope)


def _remainders(remainder: Callable[[float], float], floor: float) -> list[tuple[float, float]]:
    """Return h and finite remainders, h descending: at least three above `floor` if possible."""
    points: list[tuple[float, float]] = []
    h = 0.1
    for _ in range(14):
        value = remainder(h)
        if math.isfinite(value):
            points.append((h, value))
            if value <= floor:
                break
        h /= 4
    h = 0.4
    while sum(value > floor for _, value in points) < 3 and h < 100:
        value = remainder(h)
        if not math.isfinite(value):
            break
        points.insert(0, (h, value))
        h *= 4
    return points or [(h, math.nan)]


def inward(control: Control, direction: Control, h: float) -> Control:
    """Turn the entries of a direction that lead out of the bounds within h."""
    space, ahead = control.space, control.vector + h * direction.vector
    outside = (ahead < space.lower) | (ahead > space.upper)
    return Control(space, np.where(outside, -direction.vector, direction.vector))
