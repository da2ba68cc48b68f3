"""Constraints of sympy expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from pint.errors import check_choice
from pint.interface import Fields
from pint.steppers.constraints import IntegralConstraint, PathConstraint, TerminalConstraint
from pint.steppers.symbolic.names import Names, sequence


class Expressions:
    """k expressions and the derivatives of their weighted sum, as numpy code."""

    def __init__(
        self, names: Names, argument: str, values: Any, kinds: tuple[str, ...] | None = None
    ) -> None:
        many = sequence(argument, values) if isinstance(values, (list, tuple)) else [values]
        if not many:
            raise ValueError(f"`SympyODE.{argument}` needs at least one expression.")
        integral = argument == "integral_constraint"
        own = [names.rate(names.expression(argument, value, kinds), integral) for value in many]
        weights = [sympy.Symbol(f"weight_{i}", real=True) for i in range(len(own))]
        of = [names.derivatives(argument, value) for value in own]
        self.names, self.count = names, len(own)
        self.definition = names.text(**{argument: own})
        self._value = names.compiled([own])
        self._vjp = names.compiled(names.gradient(weighted(weights, of)), weights)

    def value(self, t: Any, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return np.asarray(self._value.function(t, y, u, theta)[0])

    def vjp(
        self, t: Any, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self.names.split(self._vjp.function(t, y, u, theta, weight))


class SympyTerminal(TerminalConstraint):
    """Expressions in final states and parameters."""

    def __init__(self, names: Names, values: Any, equality: bool) -> None:
        self.expressions = Expressions(
            names, "terminal_constraint", values, ("states", "parameters")
        )
        self.count, self.equality = self.expressions.count, bool(equality)

    def value(self, y: Any, theta: Fields) -> np.ndarray:
        return self.expressions.value(None, y[None], {}, theta)[0]

    def vjp(self, y: Any, theta: Fields, weight: np.ndarray) -> tuple[Any, Fields]:
        dy, _, dtheta = self.expressions.vjp(None, y[None], {}, theta, weight[None])
        return dy[0], dtheta


class _SympyAlong:
    expressions: Expressions

    def value(self, t: np.ndarray, y: Any, u: Fields, theta: Fields) -> np.ndarray:
        return self.expressions.value(t, y, u, theta)

    def vjp(
        self, t: np.ndarray, y: Any, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[Any, Fields, Fields]:
        return self.expressions.vjp(t, y, u, theta, weight)


class SympyPath(_SympyAlong, PathConstraint):
    """Expressions in time, states, controls and parameters, for each step."""

    def __init__(self, names: Names, values: Any, equality: bool, at: Any) -> None:
        check_choice("SympyODE.path_constraint", "at", at, ["begin", "end"])
        self.expressions = Expressions(names, "path_constraint", values)
        self.count, self.equality, self.at = self.expressions.count, bool(equality), at


class SympyIntegral(_SympyAlong, IntegralConstraint):
    """Expressions in time, states, controls and parameters, integrated."""

    def __init__(
        self, names: Names, values: Any, bound: Any, equality: bool, quadrature: Any
    ) -> None:
        choices = ["left", "right", "midpoint", "trapezoid"]
        check_choice("SympyODE.integral_constraint", "quadrature", quadrature, choices)
        self.expressions = Expressions(names, "integral_constraint", values)
        self.count, self.equality = self.expressions.count, bool(equality)
        self.quadrature, self.bound = quadrature, bound


def weighted(weights: Sequence[Any], derivatives: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Return the sums of weights times derivatives, by the symbol of the derivatives."""
    return {
        symbol: sympy.Add(*(w * of[symbol] for w, of in zip(weights, derivatives, strict=True)))
        for symbol in derivatives[0]
    }
