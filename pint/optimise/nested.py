"""Nested iteration: optimise on a coarse time grid first, go on from there on finer ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from pint.comm import ending_all_ranks
from pint.controls import Control, prolong
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional


def minimize_nested(
    functionals: Iterable[ReducedFunctional],
    control: Control,
    optimise: Callable[[ReducedFunctional, Control], Result],
    interpolate: Literal["constant", "linear"] = "constant",
) -> list[Result]:
    """Optimise one functional after the other, each from the result of that before. Collective.

    Parameters
    ----------
    functionals : iterable of ReducedFunctional
        Of the same problem with more and more steps. A generator makes each when its turn comes.
    control : Control
        Where the first one starts, of any number of steps.
    optimise : callable
        ``optimise(functional, control)`` returns a `Result`: `pint.minimize`, or
        ``lambda functional, control: pint.OneShot(functional).solve(control)``.
    interpolate : 'constant' or 'linear'
        Of `pint.prolong`.

    Returns
    -------
    list of Result
        One for each functional.
    """
    results = []
    for functional in functionals:
        with ending_all_ranks(functional.ranks_to_end):
            start = prolong(control, functional.problem.controls, interpolate)
            results.append(optimise(functional, start))
        control = results[-1].control
    return results
