"""Implicit and explicit steps of ``M y' = f(t, y, u, theta)`` on PETSc vectors; needs petsc4py."""

from pint.petsc.control_matrix import ControlMatrix
from pint.petsc.equation import Equation, LinearEquation
from pint.petsc.explicit import ExplicitAdjoint, ExplicitStep
from pint.petsc.implicit import ImplicitAdjoint, ImplicitStep
from pint.petsc.solver import Counts
from pint.states.petsc import PetscSpace, interpolation

__all__ = [
    "ControlMatrix",
    "Counts",
    "Equation",
    "ExplicitAdjoint",
    "ExplicitStep",
    "ImplicitAdjoint",
    "ImplicitStep",
    "LinearEquation",
    "PetscSpace",
    "interpolation",
]
