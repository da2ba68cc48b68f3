"""A problem's stepper, adjoint and objective in machine code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pint.interface import Adjoint, Objective, TimeStepper
from pint.steppers.compiled.coarse_code import scheme_of
from pint.steppers.compiled.cost import CompiledCost
from pint.steppers.compiled.machine import Machine, ScalarCode
from pint.steppers.compiled.stepper import CompiledAdjoint, CompiledStepper
from pint.steppers.ode import check_without_mass
from pint.steppers.running_cost import RunningCost


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
    stepper : RungeKutta, Theta or SDIRK
        With its coarse step, if it has one.
    adjoint : Adjoint
    cost : RunningCost
    names, shared : sequence of str
        The time-dependent and the shared fields, in the order of the code.

    Raises
    ------
    ValueError
        If the code cannot be compiled, or the ODE has a mass matrix.
    ImportError
        If numba is not installed.
    """
    check_without_mass("machine code", stepper.ode)
    machine = Machine(code, scheme_of(stepper))
    coarse = None
    if stepper.coarse is not None:
        other = stepper.coarsen(1)
        coarse = CompiledStepper(
            other, Machine(code, scheme_of(other), with_costs=False), names, shared
        )
    for one in (machine, *([] if coarse is None else [coarse.machine])):
        _ = one.kernels  # compiled now, so that code which cannot be is an error here
    steps = CompiledStepper(stepper, machine, names, shared, coarse)
    parts = steps, CompiledAdjoint(steps, adjoint)
    return *parts, CompiledCost(cost, machine, names, shared)
