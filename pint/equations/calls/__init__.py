"""The one door to the user's code: every call of a stepper, an adjoint or an objective."""

from pint.equations.calls.door import Calls

__all__ = ["Calls"]
