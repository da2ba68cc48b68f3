"""The watch on the first calls of a user's methods, which find out whether they keep the rules."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import ref

import numpy as np

from pint.equations.results import KINDS, require_mapping, unpacked
from pint.errors import ComplexWarning
from pint.interface import Problem

STEP_ARGUMENTS = ("s", "y", "u", "theta", "lam")
"""Of a step and its transposes."""

MOST_WATCHED = 100
"""Calls of a method that are watched at most."""


class ByLevel(list[Any]):
    """A user's methods by level: a list that can be referred to weakly."""


def watched(methods: ByLevel, level: int, owner: Any, name: str) -> Watch:
    """Let the first calls of ``methods[level]`` raise an error where they do what they must not.

    A step in place may write complex numbers, which lose their imaginary parts; `vjp` returns three
    results; no method changes its arguments. Later calls are those of the method alone.
    """
    method = methods[level]

    # Not the list itself: it would keep the user's objects until Python looks for cycles.
    place, of_ode = (
        ref(methods),
        f" of `{type(owner.ode).__name__}`" if hasattr(owner, "ode") else "",
    )
    watch = Watch(f"`{type(owner).__name__}.{name}`{of_ode}", STEP_ARGUMENTS)

    def first(*arguments: Any, **options: Any) -> Any:
        known = place()
        if known is None or known[level] is method:
            return method(*arguments, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            try:
                before = watch.copies(arguments)
                result = method(*arguments, **options)
                watch.compare(arguments, before)
            except (ComplexWarning, TypeError) as error:
                refused = "UFunc" in type(error).__name__ and "complex" in str(error)
                if isinstance(error, TypeError) and not refused:
                    raise
                text = f"{watch.method} must write real numbers, got complex ones."
                raise TypeError(text) from None
        if name == "vjp":
            for values, kind in zip(unpacked(result, 3, owner, name)[1:], KINDS, strict=True):
                require_mapping(values, kind, owner)
        if watch.is_over:
            known[level] = method
        return result

    methods[level] = first
    return watch


class Watch:
    """Raises ValueError where a user's method has changed one of its arguments.

    What a call with zeros leaves as it is may change with other numbers: the watch is over after
    the first call without an argument that is zero throughout, and after `MOST_WATCHED` calls.

    Parameters
    ----------
    method : str
        How to name the method in the error.
    arguments : sequence of str
        The names of its arguments, in order.

    Attributes
    ----------
    is_over : bool
    """

    def __init__(self, method: str, arguments: Sequence[str]) -> None:
        self.method, self.arguments = method, arguments
        self.is_over, self._calls = False, 0

    def copies(self, arguments: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        """Return copies of the arrays of arguments, before a call."""
        return [
            {name: part.copy() for name, part in _arrays(argument).items()}
            for argument in arguments
        ]

    def compare(self, arguments: Sequence[Any], before: list[dict[str, np.ndarray]]) -> None:
        """Compare arguments with their copies, after a call."""
        if self.is_over:
            return
        for name, argument, old in zip(self.arguments, arguments, before, strict=False):
            now = _arrays(argument)
            if now.keys() != old.keys() or any(
                now[part].tobytes() != old[part].tobytes() for part in old
            ):
                raise ValueError(
                    f"{self.method} must not change its arguments, but has changed `{name}`: work "
                    "on a copy."
                )
        self._calls += 1
        shown = all(np.any(part) for old in before for part in old.values())
        self.is_over = self.is_over or shown or self._calls >= MOST_WATCHED


def watches(problem: Problem) -> dict[str, Watch]:
    """Return watches of the methods that are called by name, by these names."""
    stepper, adjoint, objective = problem.stepper, problem.adjoint, problem.objective
    of_cost = ("s", "y0", "y1", "u", "theta")
    return {
        name: Watch(f"`{type(owner).__name__}.{name}`", arguments)
        for owner, name, arguments in (
            (stepper, "initial", ("theta",)),
            (adjoint, "initial_vjp", ("theta", "lam0")),
            (objective, "step_cost", of_cost),
            (objective, "step_cost_derivative", of_cost),
            (objective, "terminal", ("y", "theta")),
            (objective, "terminal_derivative", ("y", "theta")),
        )
    }


def _arrays(argument: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an argument by name."""
    parts = argument if isinstance(argument, Mapping) else {"": argument}
    return {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
