"""What a functional is made of, checked before any solve and the same on all ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pint.comm import agreeing, leaves
from pint.controls import ControlSpace
from pint.equations import Calls
from pint.errors import check_choice, check_kind, check_names, is_number, shown
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import MGRIT, Accuracy, correction_rank
from pint.report.timing import Phases
from pint.states import StateSpace


def check_kinds(problem: Any, grid: Any) -> None:
    """Raise TypeError unless the first arguments of a functional are right."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"`ReducedFunctional(problem=...)` must be a Problem, got {type(problem).__name__}."
        )
    if not isinstance(grid, TimeGrid):
        raise TypeError(
            f"`ReducedFunctional(grid=...)` must be a TimeGrid, got {type(grid).__name__}; make "
            "one with `pint.TimeGrid.uniform(final_time, steps)`."
        )


def agreed(
    problem: Problem,
    space: StateSpace,
    controls: ControlSpace,
    options: dict[str, Any],
    unknown: Mapping[str, Any],
) -> tuple[Calls, Accuracy, int | None, str]:
    """Return what a functional is made of, and in what ranks differ that may differ. Collective.

    These are the calls of the problem's methods, the accuracy of solves, and the rank of the
    correction. The problem's parts and its initial state are checked, and the options.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or wrong, or the ranks have different ones.
    """
    grid, correction = controls.grid, options["correction"]
    with agreeing(grid.comm, "ReducedFunctional", space.comm) as ranks:
        check_names("ReducedFunctional", list(options), unknown)
        _check_options(grid, options)
        rank = correction_rank(correction, grid, space)
        ranks.same = options
        for name, part in _parts(problem):
            # Other attributes may be counters, or the number of the rank.
            is_data = isinstance(part, (float, complex, np.inexact, np.ndarray))
            (ranks.same_in_time if is_data else ranks.expected)[name] = part
        ranks.same_in_time["problem.regularisers"] = problem.regularisers
        ranks.advice = "What is meant to differ is named in `may_differ` of its class."
        calls = Calls(problem, grid)
        if rank is not None and any(calls.transfers):
            raise ValueError(
                "`ReducedFunctional(correction=...)` needs the same states on all levels, and "
                "`coarsen` of the stepper returns one of another space: use None."
            )
        accuracy = _accuracy(options["accuracy"], space)
        # Every rank checks the initial state, so that a wrong one is an error on all of them.
        with np.errstate(all="ignore"):  # its shape counts, not its value at theta = 0
            zeros = calls.given(controls.zeros())
            calls.initial(zeros.shared, space.allocate(1)[0])
        ranks.same_in_time["problem.stepper.initial"] = calls.guard.failure
        ranks.same_in_time["problem.stepper.space"] = space
    return calls, accuracy, rank, ranks.difference


def _accuracy(accuracy: Accuracy | None, space: StateSpace) -> Accuracy:
    """Return the accuracy of solves, or the default; raise an error unless states can have it."""
    if accuracy is None:
        accuracy = Accuracy(cycles=30, relative=max(1e-12, 8 * space.precision))
    check_kind("ReducedFunctional", "accuracy", accuracy, Accuracy, "a `pint.Accuracy`")
    accuracy.require_reachable("ReducedFunctional(accuracy=...)", space.precision)
    return accuracy


def engine(
    calls: Calls, space: StateSpace, phases: Phases, options: Mapping[str, Any], reverse: bool
) -> MGRIT:
    """Return the engine of an equation, forward in time or in `reverse`. Collective."""
    transfers = calls.transfers
    if reverse:
        transfers = [None if one is None else one.transposed for one in transfers]
    names = ("relaxation", "c_weight", "cycle", "chunk_bytes", "storage")
    own = {name: options[name] for name in names}
    return MGRIT(calls.grid, space, reverse=reverse, phases=phases, transfers=transfers, **own)


def _check_options(grid: TimeGrid, options: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the option, unless the options of a functional are right."""
    for name, choices in (
        ("storage", ("all", "C")),
        ("guess", ("zero", "constant", "coarse", "nested")),
        ("unconverged", ("warn", "error", "ignore")),
    ):
        check_choice("ReducedFunctional", name, options[name], choices)
    if options["storage"] == "C":
        grid.check_c_points("`ReducedFunctional(storage='C')`")
    kept_bytes = options["kept_bytes"]
    endless = isinstance(kept_bytes, float) and kept_bytes == math.inf
    if not endless and (not is_number(kept_bytes) or kept_bytes < 0):
        raise ValueError(
            f"`ReducedFunctional(kept_bytes=...)` must be >= 0, got {shown(kept_bytes)}."
        )


def _parts(problem: Problem) -> Iterator[tuple[str, Any]]:
    """Yield the parts of the user's objects by name; ranks in time should have them alike."""
    for name in ("stepper", "adjoint", "objective", "examples"):
        yield from leaves(getattr(problem, name), f"problem.{name}")
