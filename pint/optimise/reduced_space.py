"""Reduced space: state and adjoint are solved to tolerance for every control."""

from __future__ import annotations

from dataclasses import dataclass

from pint.errors import check_kind
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import Accuracy
from pint.optimise.descent import Descent
from pint.optimise.fixed_cycles import FixedCycles
from pint.optimise.strategy import Strategy
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class ReducedSpace(Descent):
    """State and adjoint are solved accurately for every control.

    On a grid of one level both are solved by sequential time stepping.

    Parameters
    ----------
    accuracy : Accuracy, optional
        Of each state and each adjoint solve; by default ``functional.accuracy``.
    iterations : int
        Largest number of control updates.
    gradient_tolerance : float
        Stop at this gradient norm, in the control's metric.
    relative_gradient_tolerance : float
        Stop at so many times the first gradient norm, if that is more; dimensionless.
    time_limit : float
        Wall time after which the run ends, seconds.
    evaluations : int, optional
        Largest number of objectives to evaluate, those of rejected trials included.
    hessian : InverseHessian
        `lbfgs(memory)`, `bfgs()` or `identity()`.
    line_search : LineSearch
        `wolfe()`, `armijo()` or `fixed_step()`.
    step : float, optional
        First trial step of every update, a factor of the direction, for `armijo()` and
        `fixed_step()`; 1 by default. `wolfe()` finds it from the objective.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.
    """

    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        self.check_common_options()
        if self.accuracy is not None:
            example = "`pint.Accuracy(...)`"
            check_kind("ReducedSpace", "accuracy", self.accuracy, Accuracy, example)

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        """Accept every problem and grid."""

    def strategy(self, functional: ReducedFunctional) -> Strategy:
        accuracy = self.accuracy or functional.accuracy
        accuracy.require_reachable("ReducedSpace(accuracy=...)", functional.space.precision)
        return FixedCycles(accuracy)
