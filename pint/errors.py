"""Exceptions for numerical failure; wrong arguments raise ValueError or TypeError."""


class NumericalError(ArithmeticError):
    """A computation produced values that cannot be used; raised identically on every rank."""


class NotFiniteError(NumericalError):
    """NaN or infinity where a finite number is needed; the message says where."""


class VerificationError(NumericalError):
    """A check of `pint.verify` failed; the message names the method, the level and the field."""


class CheckpointError(OSError, ValueError):
    """A run cannot begin with its checkpoint.

    It is raised identically on every rank, and the file stays as it is.
    """
