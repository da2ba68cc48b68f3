"""Optimisation of a reduced functional: reduced space and one-shot."""

from pint.optimise.checkpoint import Checkpoint
from pint.optimise.descent import Options
from pint.optimise.lbfgs import InverseHessian, bfgs, identity, lbfgs
from pint.optimise.line_search import LineSearch, armijo, fixed_step
from pint.optimise.nested import minimize_nested
from pint.optimise.one_shot import OneShot
from pint.optimise.reduced import minimize
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.stochastic import Stochastic, adam, sgd

__all__ = [
    "Checkpoint",
    "InverseHessian",
    "Iterate",
    "LineSearch",
    "OneShot",
    "Options",
    "Result",
    "Status",
    "Stochastic",
    "adam",
    "armijo",
    "bfgs",
    "fixed_step",
    "identity",
    "lbfgs",
    "minimize",
    "minimize_nested",
    "sgd",
]
