"""The method: Newton's steps within a trust region, and how far their systems are solved."""

from __future__ import annotations

from dataclasses import dataclass

from pint.comm import ending_all_ranks
from pint.controls import Control
from pint.equations.tangent.products import Kind
from pint.errors import check_choice, check_kind, integer, number
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.mgrit import Accuracy
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.ending import Limited
from pint.optimise.method import Callback
from pint.optimise.newton.loop import Loop
from pint.optimise.result import Result
from pint.reduced_functional import ReducedFunctional


@dataclass(frozen=True, kw_only=True)
class NewtonCG(Limited):
    """Newton's method in the reduced space; its systems are solved by conjugate gradients.

    A product with the Hessian takes one solve of the tangent equation and one of the adjoint. The
    systems are solved only as far as the quadratic model can be trusted: to a part of the gradient
    that follows from how well the last step was predicted, and not beyond the error of the
    gradient. Where the objective proves to be quadratic, the first system is solved to the end.
    Steps are those of a trust region; with bounds, variables at a bound towards which ``-g`` points
    stay there, and steps are projected.

    The systems are preconditioned by L-BFGS, whose pairs are directions and their products with
    the Hessian, of this and earlier systems. A run begins on a coarser time grid, whose solution
    is the first step if it decreases the objective, and whose pairs are the first ones.

    Parameters
    ----------
    iterations : int
        Largest number of steps.
    gradient_tolerance : float
        Stop at this gradient norm, in the control's metric.
    relative_gradient_tolerance : float
        Stop at so many times the first gradient norm, if that is more; dimensionless.
    hessian : 'full' or 'gauss-newton'
        See `ReducedFunctional.hessian_product`.
    inner_iterations : int
        Largest number of products for one system.
    pairs : int
        Largest number of pairs of the preconditioner; 0 for none.
    coarse : int
        How many steps of the grid are one of the coarser grid; 1 for no coarser grid. It takes N
        divisible by it, and 16 coarse steps; controls on meshes of their own, with bounds for
        each step, and mini-batches do without.
    accuracy : Accuracy, optional
        Of each solve; by default ``functional.accuracy``.
    time_limit, evaluations
        Limits of wall time and of evaluations of the objective: see `Limited`.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of range. `minimize` raises ValueError for a functional with
        ``storage="C"``.
    """

    iterations: int = 100
    gradient_tolerance: float = 1e-8
    relative_gradient_tolerance: float = 0.0
    hessian: Kind = "full"
    inner_iterations: int = 100
    pairs: int = 100
    coarse: int = 4
    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("iterations", 0),
            ("inner_iterations", 1),
            ("pairs", 0),
            ("coarse", 1),
        ):
            integer("NewtonCG", name, getattr(self, name), least)
        for name in ("gradient_tolerance", "relative_gradient_tolerance"):
            number("NewtonCG", name, getattr(self, name))
        check_choice("NewtonCG", "hessian", self.hessian, ["full", "gauss-newton"])
        if self.accuracy is not None:
            check_kind("NewtonCG", "accuracy", self.accuracy, Accuracy, "`pint.Accuracy(...)`")
        self.check_limits()

    def check(self, problem: Problem, grid: TimeGrid) -> None:
        """Accept every problem and grid."""

    def run(
        self,
        functional: ReducedFunctional,
        start: Control,
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> Result:
        functional.state.require_all_points("NewtonCG", "`pint.ReducedSpace`")
        accuracy = self.accuracy or functional.accuracy
        accuracy.require_reachable("NewtonCG(accuracy=...)", functional.space.precision)
        with ending_all_ranks(functional.ranks_to_end):
            loop = Loop(functional, self, accuracy, callback)
            return loop.result(functional.controls.project(start))
