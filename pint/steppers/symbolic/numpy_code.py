"""Numpy code from sympy expressions, for batches of states beside scalars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sympy
from sympy.logic.boolalg import Boolean
from sympy.printing.numpy import SciPyPrinter

from pint.steppers.symbolic.generated import Generated

MOST_TERMS = 64
"""Of a sum or product in one line of code: Python's compiler recurses over them."""

MOST_DEPTH = 16
"""Of the functions in each other in one line of code."""

_ARITHMETIC: tuple[Any, ...] = (sympy.Symbol, sympy.Integer, sympy.Float, sympy.Add, sympy.Mul)
"""What there is code for in every language."""


def generate(
    places: Mapping[Any, str], groups: Sequence[Sequence[Any]], extra: Sequence[Any] = ()
) -> Generated:
    """Return the function ``(t, y, u, theta, extra=None)`` that evaluates expressions.

    It returns an array of shape (B, n), of the type of y or complex, for each group of n
    expressions. Column i of its argument `extra` holds the values of the i-th symbol of `extra`.

    Parameters
    ----------
    places : mapping of symbol to str
        The code that reads the values of a symbol.
    groups : sequence of sequences of expressions
    extra : sequence of symbols

    Notes
    -----
    There must be code for all parts: see `without_code`.
    """
    places = {**places, **{symbol: f"extra[:, {i}]" for i, symbol in enumerate(extra)}}
    expressions = [expression for group in groups for expression in group]
    used = set().union(*(expression.free_symbols for expression in expressions))
    values = {symbol: place for symbol, place in places.items() if symbol in used}
    common, results = sympy.cse(expressions, sympy.numbered_symbols("common_"))
    writer = Writer(_Printer())
    for symbol, value in common:
        writer.assign(symbol, value)
    remaining = iter([writer.short(result) for result in results])
    # Real numbers of other kinds become floats; a complex step of any argument is kept. States
    # share the type of y.
    others = {place.partition("]")[0]: symbol for symbol, place in values.items()}
    kinds = [f"{symbol}.dtype.kind" for place, symbol in others.items() if place[:2] != "y["]
    real = " and ".join(["y.dtype.kind == 'f'", *(f"{kind} != 'c'" for kind in kinds)])
    step = " or ".join(f"{kind} == 'c'" for kind in ["y.dtype.kind", *kinds])
    lines = [
        *(f"{symbol} = {place}" for symbol, place in values.items()),
        f"kind = y.dtype if {real} else complex if {step} else float",
        *writer.lines,
    ]
    for number, group in enumerate(groups):
        lines.append(f"group_{number} = numpy.empty((len(y), {len(group)}), kind)")
        lines += [
            f"group_{number}[:, {i}] = {writer.code(next(remaining))}" for i in range(len(group))
        ]
    if any(expression.has(sympy.Piecewise) for expression in expressions):
        # All pieces are computed, also where they have no value.
        inner = [f"    {line}" for line in lines]
        lines = ["with numpy.errstate(divide='ignore', invalid='ignore'):", *inner]
    lines.append(f"return [{', '.join(f'group_{n}' for n in range(len(groups)))}]")
    code = "\n    ".join(["def function(t, y, u, theta, extra=None):", *lines])
    return Generated(code, sorted(writer.printer.module_imports))


def without_code(expression: Any, printer: Any = None) -> Any:
    """Return a part of an expression for which there is no code, None if there is none.

    The code is that of numpy by default, or of another printer.
    """
    seen, printer = set(_ARITHMETIC), printer or _Printer()
    for part in sympy.postorder_traversal(expression):
        if type(part) in seen or not isinstance(part, (sympy.Expr, Boolean)):
            continue
        seen.add(type(part))
        try:
            _code(printer, part)
        except NotImplementedError:
            return part
    return None


def _code(printer: Any, expression: Any) -> str:
    try:
        code = str(printer.doprint(expression))
    except (NotImplementedError, TypeError):
        code = "\n"
    if "\n" in code:  # older versions of sympy put the failure in a comment
        raise NotImplementedError(str(expression))
    return code


class Writer:
    """Lines of code, each short enough for Python's compiler."""

    def __init__(self, printer: Any) -> None:
        self.printer = printer
        self.lines: list[str] = []
        self._names = sympy.numbered_symbols("part_", real=True)

    def assign(self, symbol: Any, value: Any) -> None:
        """Add a line that gives a symbol its value, and before it those that the value needs."""
        self.lines.append(f"{symbol} = {self.code(self.short(value))}")

    def short(self, expression: Any) -> Any:
        """Return an expression with symbols for its long parts, which get lines of their own."""
        return self._shortened(expression)[0]

    def _shortened(self, expression: Any) -> tuple[Any, int]:
        """Return an expression with symbols for its long parts, and its depth."""
        if not expression.args:
            return expression, 0
        parts = [self._shortened(part) for part in expression.args]
        arguments, depth = [part for part, _ in parts], 1 + max(depth for _, depth in parts)
        if isinstance(expression, (sympy.Add, sympy.Mul)):
            while len(arguments) > MOST_TERMS:
                arguments = [
                    self._named(expression.func(*some)) for some in _some(arguments, MOST_TERMS)
                ]
        if tuple(arguments) != expression.args:
            expression = expression.func(*arguments)
        if depth >= MOST_DEPTH and isinstance(expression, sympy.Expr):
            return self._named(expression), 0
        return expression, depth

    def _named(self, expression: Any) -> Any:
        if not expression.args:
            return expression
        symbol = next(self._names)
        self.lines.append(f"{symbol} = {self.code(expression)}")
        return symbol

    def code(self, expression: Any) -> str:
        """Return the code of an expression."""
        return _code(self.printer, expression)


class _Printer(SciPyPrinter):
    """Code that works for scalars beside batches, and for a complex step of real numbers.

    numpy's own functions of many arguments take arrays of one shape alone.
    """

    def __init__(self) -> None:
        # Sorting the terms of long sums for the eye takes most of the time.
        super().__init__({"order": "none"})

    def _print_Integer(self, expression: Any) -> str:  # noqa: N802  (sympy's names)
        # numpy before 2.0 makes objects of larger ones.
        return str(expression.p) if abs(expression.p) < 2**63 else repr(float(expression.p))

    def _print_Max(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("numpy.maximum", expression.args)

    def _print_Min(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("numpy.minimum", expression.args)

    def _print_And(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("numpy.logical_and", expression.args)

    def _print_Or(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("numpy.logical_or", expression.args)

    def _print_ITE(self, expression: Any) -> str:  # noqa: N802
        condition, *values = (self._print(argument) for argument in expression.args)
        return f"numpy.where({condition}, {', '.join(values)})"

    def _print_Abs(self, expression: Any) -> str:  # noqa: N802
        return f"absolute({self._print(expression.args[0])})"

    def _print_sign(self, expression: Any) -> str:
        return f"numpy.sign(numpy.real({self._print(expression.args[0])}))"

    def _print_Heaviside(self, expression: Any) -> str:  # noqa: N802
        value, at_zero = (self._print(argument) for argument in expression.args)
        return f"numpy.heaviside(numpy.real({value}), {at_zero})"

    def _print_floor(self, expression: Any) -> str:
        return f"numpy.floor(numpy.real({self._print(expression.args[0])}))"

    def _print_ceiling(self, expression: Any) -> str:
        return f"numpy.ceil(numpy.real({self._print(expression.args[0])}))"

    def _print_LambertW(self, expression: Any) -> str:  # noqa: N802
        value, branch = (self._print(argument) for argument in (*expression.args, 0)[:2])
        return f"lambert({value}, {branch})"

    def _in_pairs(self, function: str, arguments: Sequence[Any]) -> str:
        codes = [self._print(argument) for argument in arguments]
        while len(codes) > 1:
            codes = [
                f"{function}({', '.join(pair)})" if len(pair) > 1 else pair[0]
                for pair in _some(codes, 2)
            ]
        return codes[0]


def _some(items: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """Yield `count` items at a time, fewer at the end."""
    for start in range(0, len(items), count):
        yield items[start : start + count]
