"""Constraints by an outer augmented Lagrangian around any method."""

from pint.optimise.constrained.method import AugmentedLagrangian

__all__ = ["AugmentedLagrangian"]
