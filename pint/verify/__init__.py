"""Checks of a problem: its gradient, each of its derivatives, and the contracts of its methods.

Each check returns a report: ``report.passed``, a text that names the place, and
``report.require()``, which raises `pint.VerificationError` with that text.
"""

from pint.verify.adjoint import adjoint_dot_test
from pint.verify.order import OrderReport, convergence_order, stepper_order
from pint.verify.problem import check_problem
from pint.verify.reports import Check, Report, TaylorReport
from pint.verify.second_order import second_order_test
from pint.verify.stepper import stepper_test
from pint.verify.taylor import taylor_test

__all__ = [
    "Check",
    "OrderReport",
    "Report",
    "TaylorReport",
    "adjoint_dot_test",
    "check_problem",
    "convergence_order",
    "second_order_test",
    "stepper_order",
    "stepper_test",
    "taylor_test",
]
