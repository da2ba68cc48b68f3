"""One-shot: state, adjoint and control converge together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pint.controls import Control
from pint.mgrit import Accuracy
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.descent import Callback, Options, descend
from pint.optimise.result import Result
from pint.optimise.solves import ErrorControlled, FixedCycles, Solves
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True)
class OneShot:
    """A few cycles of state and adjoint for each control update [1]_.

    Each solve starts where the last one ended, so that the trajectories converge along with
    the control. The result is evaluated with exact state and adjoint.

    Parameters
    ----------
    functional : ReducedFunctional
        On a grid of at least two levels.
    cycles : int or 'adaptive'
        MGRIT cycles of each state and each adjoint solve; ``"adaptive"`` does as many as the
        estimated errors of objective and gradient ask for.
    tolerance : float, optional
        With a number of cycles: a solve ends before that once its residual norm is at most
        `tolerance`, and at most `tolerance` times the norm of the trajectory.
    lagged : bool, optional
        With a number of cycles: each begins with the coarse correction, whose right-hand side
        is that of the last update; with F-relaxation a cycle then makes each step of level 0
        once, a solve with one cycle N/P + N/m steps on its critical path instead of 2N/P + N/m
        [2]_. Line searches compare objectives that the adjoint corrects. By default so with one
        cycle, without `tolerance`, and a line search that tests the objective.

    Raises
    ------
    ValueError
        If `cycles` is below 1, `tolerance` is negative, or the grid has one level only.

    References
    ----------
    .. [1] Guenther et al., SIAM J. Math. Data Sci. 2 (2020), 1-23, doi:10.1137/19M1247620, Alg. 1.
    .. [2] `pint.mgrit.MGRIT.lagged_solve`
    """

    functional: ReducedFunctional
    cycles: int | Literal["adaptive"] = 2
    tolerance: float | None = None
    lagged: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.cycles, str) and self.cycles != "adaptive":
            raise ValueError(
                f"`OneShot(cycles=...)` is an integer >= 1 or 'adaptive', got {self.cycles!r}."
            )
        if self.cycles == "adaptive" and self.tolerance is not None:
            raise ValueError("`OneShot(tolerance=...)` needs a number of cycles, not 'adaptive'.")
        if self.lagged and (self.cycles == "adaptive" or self.tolerance is not None):
            raise ValueError(
                "`OneShot(lagged=True)` needs a number of cycles, without `tolerance`."
            )
        self._solves()
        if self.functional.problem.grid.levels < 2:
            raise ValueError(
                "`OneShot` needs a grid of at least 2 levels; with one, state and adjoint are "
                "exact and `minimize` does the same."
            )

    def solve(
        self,
        control: Control,
        *,
        callback: Callback | None = None,
        checkpoint: Checkpoint | None = None,
        **options: Any,
    ) -> Result:
        """Minimise from `control`. Collective; parameters and errors of `pint.minimize`."""
        settings = Options(**options)
        self.functional.problem.controls.require_fitting(control)
        # Without a test of the objective nothing would notice that one lagged cycle is too little.
        solves = self._solves(testing=settings.line_search.decrease is not None)
        return descend(self.functional, control, solves, settings, callback, checkpoint)

    def _solves(self, testing: bool = True) -> Solves:
        if isinstance(self.cycles, str):
            return ErrorControlled()
        lagged = self.lagged
        if lagged is None:
            lagged = self.cycles == 1 and self.tolerance is None and testing
        return FixedCycles(Accuracy(self.cycles, self.tolerance, self.tolerance), lagged)
