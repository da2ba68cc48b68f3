"""Second derivatives of an expression, as numpy code that is made where it is needed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pint.interface import Fields
from pint.steppers.symbolic.generated import Later
from pint.steppers.symbolic.names import Names


class SecondDerivatives:
    """The Hessian of an expression in states, controls and parameters.

    Attributes
    ----------
    known : bool
        Whether sympy knows all of it, and there is code for it.
    """

    def __init__(self, names: Names, argument: str, expression: Any) -> None:
        self._names, self._argument, self._expression = names, argument, expression

    @cached_property
    def known(self) -> bool:
        try:
            return self._code is not None
        except ValueError:
            return False

    @cached_property
    def _code(self) -> tuple[Later, list[int], list[int]]:
        """Return the function of the entries that are not zero above the diagonal, and where."""
        names, argument = self._names, self._argument
        first = list(names.derivatives(argument, self._expression).values())
        rows, columns, entries = [], [], []
        for i, slope in enumerate(first):
            if slope.is_Number:
                continue
            for j, value in enumerate(names.derivatives(argument, slope).values()):
                if j >= i and value != 0:
                    rows.append(i)
                    columns.append(j)
                    entries.append(value)
        return names.compiled([entries]), rows, columns

    def values(self, t: Any, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        """Return the Hessians of a batch, in the order of the mappings.

        Without `u`, of expressions that have no controls, in states and parameters alone.
        """
        code, rows, columns = self._code
        order, size = self._order(u, theta)
        result = np.zeros((len(y), size, size))
        if rows:
            entries = code.function(t, y, u, theta)[0]
            at, beside = order[rows], order[columns]
            result[:, at, beside] = entries
            result[:, beside, at] = entries
        return result

    def _order(self, u: Fields, theta: Fields) -> tuple[np.ndarray, int]:
        """Return where each symbol is, by the order of the mappings; and the number of symbols."""
        names = self._names
        places: dict[Any, int] = {symbol: i for i, symbol in enumerate(names.states)}
        for given, fields in ((u, names.controls), (theta, names.parameters)):
            for name in given:
                for symbol in fields[name]:
                    places[symbol] = len(places)
        groups = (names.states, *names.controls.values(), *names.parameters.values())
        order = [places.get(symbol, -1) for group in groups for symbol in group]
        return np.array(order), len(places)
