"""A problem's stepper, adjoint and objective in machine code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pint.interface import Adjoint, Objective, TimeStepper
from pint.steppers.compiled.cost import CompiledCost
from pint.steppers.compiled.machine import Machine, ScalarCode
from pint.steppers.compiled.stepper import CompiledAdjoint, CompiledStepper
from pint.steppers.running_cost import RunningCost
from pint.steppers.theta import Theta


def compiled_parts(
    code: ScalarCode,
    stepper: Any,
    adjoint: Adjoint,
    cost: RunningCost,
    names: Sequence[str],
    shared: Sequence[str],
) -> tuple[TimeStepper, Adjoint, Objective]:
    """Return stepper, adjoint and objective in machine code, of those in numpy.

    Parameters
    ----------
    code : ScalarCode
    stepper : RungeKutta or Theta
    adjoint : Adjoint
    cost : RunningCost
    names, shared : sequence of str
        The time-dependent and the shared fields, in the order of the code.

    Raises
    ------
    ValueError
        If the code cannot be compiled.
    ImportError
        If numba is not installed.
    """
    scheme = stepper.coefficients if isinstance(stepper, Theta) else stepper.tableau
    machine = Machine(code, scheme)
    _ = machine.kernels  # compiled now, so that code which cannot be is an error here
    steps = CompiledStepper(stepper, machine, names, shared)
    return steps, CompiledAdjoint(steps, adjoint), CompiledCost(cost, machine, names, shared)
