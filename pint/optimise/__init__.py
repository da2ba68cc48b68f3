"""Optimisation of a reduced functional: one verb, `minimize`, and the methods that it takes."""

from pint.optimise.adaptive import Adaptive
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.constrained import AugmentedLagrangian
from pint.optimise.external import External
from pint.optimise.front_door import minimize
from pint.optimise.gauss_newton import GaussNewton
from pint.optimise.lagged import Lagged
from pint.optimise.lbfgs import InverseHessian, bfgs, identity, lbfgs
from pint.optimise.line_search import LineSearch, armijo, fixed_step, wolfe
from pint.optimise.method import Method
from pint.optimise.multi_start import MultiStart
from pint.optimise.nested import Nested
from pint.optimise.newton import NewtonCG
from pint.optimise.one_shot import OneShot
from pint.optimise.progress import Progress
from pint.optimise.receding import starting_at
from pint.optimise.reduced_space import ReducedSpace
from pint.optimise.result import AllAtOnce, Constrained, Iterate, Result, Stage, Status
from pint.optimise.standard_errors import standard_errors
from pint.optimise.stochastic import BiasControl, Stochastic, adam, schedules, sgd

__all__ = [
    "Adaptive",
    "AllAtOnce",
    "AugmentedLagrangian",
    "BiasControl",
    "Checkpoint",
    "Constrained",
    "External",
    "GaussNewton",
    "InverseHessian",
    "Iterate",
    "Lagged",
    "LineSearch",
    "Method",
    "MultiStart",
    "Nested",
    "NewtonCG",
    "OneShot",
    "Progress",
    "ReducedSpace",
    "Result",
    "Stage",
    "Status",
    "Stochastic",
    "adam",
    "armijo",
    "bfgs",
    "fixed_step",
    "identity",
    "lbfgs",
    "minimize",
    "schedules",
    "sgd",
    "standard_errors",
    "starting_at",
    "wolfe",
]
