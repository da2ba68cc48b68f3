"""Derivatives of expressions where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

JUMPS = (sympy.sign, sympy.Heaviside, sympy.floor, sympy.ceiling)
"""Functions whose derivative is zero wherever there is one."""


def derivatives(expression: Any, symbols: Sequence[Any]) -> list[Any]:
    """Return the derivatives with respect to real symbols; jumps, as of sign(y), do not count.

    Raises
    ------
    NotImplementedError
        If sympy does not know a derivative; its argument is the expression that has none.
    """
    smooth, jumps = _without_jumps(expression)
    # Of a long sum, only the terms that contain a symbol are looked at.
    terms = [(term, term.free_symbols) for term in sympy.Add.make_args(smooth)]
    found = []
    for symbol in symbols:
        parts = [_derivative(term, symbol) for term, its in terms if symbol in its]
        derivative = sympy.Add(*parts).xreplace(jumps)
        unknown = derivative.atoms(sympy.Derivative, sympy.Subs)
        if unknown:
            first = min(unknown, key=str)
            raise NotImplementedError(first.expr)
        found.append(derivative)
    return found


def _derivative(expression: Any, symbol: Any) -> Any:
    """Return a derivative: sums, products, powers and functions by their rules, others by sympy.

    `sympy.diff` would take ten times as long for long sums, because it asks for the assumptions of
    each term, and recurse five times as deep.
    """
    if symbol not in expression.free_symbols:
        return sympy.S.Zero
    if isinstance(expression, sympy.Add):
        return sympy.Add(*(_derivative(term, symbol) for term in expression.args))
    if isinstance(expression, sympy.Mul):
        factors = expression.args
        return sympy.Add(
            *(
                sympy.Mul(*factors[:i], _derivative(factor, symbol), *factors[i + 1 :])
                for i, factor in enumerate(factors)
                if symbol in factor.free_symbols
            )
        )
    if isinstance(expression, sympy.Pow) and expression.exp.is_Number:
        base, power = expression.args
        return sympy.Mul(power, base ** (power - 1), _derivative(base, symbol))
    # Others have rules of their own, such as `Piecewise`.
    if type(expression)._eval_derivative is sympy.Function._eval_derivative:
        return sympy.Add(
            *(
                sympy.Mul(expression.fdiff(i), _derivative(value, symbol))
                for i, value in enumerate(expression.args, 1)
                if symbol in value.free_symbols
            )
        )
    return sympy.diff(expression, symbol)


def _without_jumps(expression: Any) -> tuple[Any, dict[Any, Any]]:
    """Return an expression with constants in place of all jumps, and what they stand for."""
    if expression.has(sympy.Abs):
        # Its values are real, which sympy does not know of |log(y)|, say.
        expression = expression.replace(sympy.Abs, lambda value: value * sympy.sign(value))
    for periodic in (sympy.Mod, sympy.frac):
        if expression.has(periodic):
            expression = expression.rewrite(periodic, sympy.floor)
    jumps = sorted(expression.atoms(*JUMPS), key=sympy.default_sort_key)
    # The outermost ones are replaced first, with all that is in them.
    constants = {jump: sympy.Dummy(real=True) for jump in jumps}
    return expression.xreplace(constants), {one: jump for jump, one in constants.items()}
