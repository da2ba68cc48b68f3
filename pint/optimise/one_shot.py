"""One-shot: state, adjoint and control converge together."""

from __future__ import annotations

from dataclasses import dataclass

from pint.errors import integer, number
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import Accuracy
from pint.optimise.descent import Descent
from pint.optimise.fixed_cycles import FixedCycles
from pint.optimise.strategy import Strategy
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class OneShot(Descent):
    """A few cycles of state and adjoint for each control update [1]_.

    Each solve starts where the last one ended, so that the trajectories converge along with
    the control. The result is evaluated with exact state and adjoint. The grid needs at least two
    levels.

    Parameters
    ----------
    cycles : int
        MGRIT cycles of each state and each adjoint solve.
    tolerance : float, optional
        A solve ends before that once its residual norm is at most `tolerance`, and at most
        `tolerance` times the norm of the trajectory.
    iterations, gradient_tolerance, relative_gradient_tolerance
    time_limit, evaluations, hessian, line_search, step
        As for `ReducedSpace`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range.

    References
    ----------
    .. [1] Guenther et al., SIAM J. Math. Data Sci. 2 (2020), 1-23, doi:10.1137/19M1247620, Alg. 1.
    """

    cycles: int = 2
    tolerance: float | None = None

    def __post_init__(self) -> None:
        self.check_common_options()
        if isinstance(self.cycles, str) and self.cycles == "adaptive":
            raise ValueError(
                "`OneShot(cycles='adaptive')`: the method that chooses the cycles is "
                "`pint.Adaptive()`."
            )
        object.__setattr__(self, "cycles", integer("OneShot", "cycles", self.cycles, 1))
        if self.tolerance is not None:
            number("OneShot", "tolerance", self.tolerance)

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        self.require_levels(grid)

    def strategy(self, functional: ReducedFunctional) -> Strategy:
        accuracy = Accuracy(self.cycles, self.tolerance, self.tolerance)
        return FixedCycles(accuracy, truncated=True)
