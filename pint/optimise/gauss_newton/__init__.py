"""Gauss-Newton and Newton methods with states and controls as unknowns together."""

from pint.optimise.gauss_newton.method import GaussNewton

__all__ = ["GaussNewton"]
