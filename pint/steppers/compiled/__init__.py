"""Steps of small ODEs in machine code, for whole ranges of steps at a time."""

from pint.steppers.compiled.cost import CompiledCost
from pint.steppers.compiled.ode import CompiledODE
from pint.steppers.compiled.parts import compiled_parts
from pint.steppers.compiled.stepper import CompiledAdjoint, CompiledStepper

__all__ = ["CompiledAdjoint", "CompiledCost", "CompiledODE", "CompiledStepper", "compiled_parts"]
