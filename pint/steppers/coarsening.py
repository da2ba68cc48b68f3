"""Other steps on coarse levels: what a stepper of an ODE knows of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pint.errors import shown
from pint.interface import Adjoint, TimeStepper


class CoarseStep(ABC):
    """Which step coarse levels take in place of the fine one; `pint.coarse` makes them."""

    @abstractmethod
    def stepper(self, fine: Any) -> TimeStepper:
        """Return the coarse stepper that belongs to a fine one.

        Raises
        ------
        TypeError, ValueError
            If there is none, for its ODE or for its states.
        """

    @abstractmethod
    def adjoint(self, stepper: Any, fine: Adjoint) -> Adjoint:
        """Return the adjoint of a stepper that `stepper` has returned; `fine` is that below."""


NAMED: dict[str, Callable[..., CoarseStep]] = {}
"""What makes each step by name.

`pint.steppers.coarse` fills it: its steps need the fine steppers, which need this module.
"""

WITH_NUMBER = {"rkc": "rkc or rkc:s", "substeps": "substeps:k"}
"""How the steps that take a number after a colon are written."""


def coarse_step(what: str, value: Any) -> CoarseStep | None:
    """Return the step that a user has asked for; None stands for the fine one.

    Parameters
    ----------
    what : str
        The argument, for messages.
    value : CoarseStep, str or None
        A text is one of `NAMED`, with a number after a colon where it takes one.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if value is None or isinstance(value, CoarseStep):
        return value
    known = ", ".join(WITH_NUMBER.get(name, name) for name in NAMED)
    message = f"{what} must be one of {known}, or a step of `pint.coarse`, got {shown(value)}"
    if not isinstance(value, str):
        raise TypeError(f"{message}.")
    name, colon, number = value.partition(":")
    if (
        name not in NAMED
        or (name == "substeps") > bool(colon)
        or (colon and name not in WITH_NUMBER)
    ):
        raise ValueError(f"{message}.")
    if colon and not number.isdecimal():
        raise ValueError(f"{message}: what follows the colon must be an integer >= 1.")
    try:
        return NAMED[name](*([int(number)] if colon else []))
    except ValueError as error:
        raise ValueError(f"{message}: {error}") from None
