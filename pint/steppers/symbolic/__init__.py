"""Optimal-control problems from sympy expressions: all derivatives are generated."""

from pint.steppers.symbolic.problem import SympyCost, SympyODE

__all__ = ["SympyCost", "SympyODE"]
