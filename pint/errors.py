"""Exceptions for numerical failure; wrong arguments raise ValueError or TypeError."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class NumericalError(ArithmeticError):
    """A computation produced values that cannot be used; raised identically on every rank."""


class NotFiniteError(NumericalError):
    """NaN or infinity where a finite number is needed; the message says where."""


class ConvergenceError(NumericalError):
    """MGRIT did not meet its tolerance, with ``ReducedFunctional(unconverged="error")``."""


class ConvergenceWarning(UserWarning):
    """MGRIT did not meet its tolerance: see ``ReducedFunctional(unconverged=...)``."""


class VerificationError(NumericalError):
    """A check of `pint.verify` failed; the message names the method, the level and the field."""


class CheckpointError(OSError, ValueError):
    """A run cannot begin with its checkpoint.

    It is raised identically on every rank, and the file stays as it is.
    """


def check_names(owner: str, known: Sequence[str], given: Iterable[str]) -> None:
    """Raise TypeError if `owner` does not have one of the given options."""
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean `{close[0]}`? It has" if close else "it has"
            options = ", ".join(f"`{option}`" for option in known)
            raise TypeError(f"`{owner}` has no option `{name}`; {hint} {options}.")
