"""Scalar code from sympy expressions: of one state and one block of the control, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy.printing.pycode import PythonCodePrinter

from pint.steppers.compiled.machine import ScalarCode
from pint.steppers.compiled.scheme_code import as_tuple
from pint.steppers.symbolic.numpy_code import Writer, without_code

LARGEST_POWER = 64
"""Integer powers up to this one are products."""


def scalar_code(
    states: Sequence[Any],
    controls: Sequence[Sequence[Any]],
    parameters: Sequence[Any],
    time: Any,
    f: Sequence[Any],
    running: Any,
    derivatives: Mapping[str, Any],
) -> ScalarCode:
    """Return the functions of a right-hand side and a running cost.

    Parameters
    ----------
    states, parameters : sequence of symbols
    controls : sequence of sequences of symbols
        By field.
    time : symbol or None
    f : sequence of d expressions
    running : expression
    derivatives : mapping
        ``"f"``: for each of `f` its derivatives by symbol; ``"running"``: those of the cost.

    Raises
    ------
    NotImplementedError
        If there is no scalar code for an expression, which is the argument.
    """
    inputs = [symbol for field in controls for symbol in field]
    lam = [sympy.Symbol(f"lam_{i}", real=True) for i in range(len(f))]
    weight = sympy.Symbol("weight", real=True)
    write = _Functions(
        {
            **{symbol: f"y[{i}]" for i, symbol in enumerate(states)},
            **{symbol: f"u[{i}]" for i, symbol in enumerate(inputs)},
            **{symbol: f"theta[{i}]" for i, symbol in enumerate(parameters)},
            **{symbol: f"lam[{i}]" for i, symbol in enumerate(lam)},
            **({} if time is None else {time: "t"}),
            weight: "weight",
        }
    )
    of_f, of_running = derivatives["f"], derivatives["running"]

    def product(symbols: Sequence[Any]) -> list[Any]:
        return [
            sympy.Add(*(a * of[symbol] for a, of in zip(lam, of_f, strict=True)))
            for symbol in symbols
        ]

    def slope(symbols: Sequence[Any]) -> list[Any]:
        return [weight * of_running[symbol] for symbol in symbols]

    functions = [
        write("_f(t, y, u, theta, work)", [f]),
        write(
            "_f_vjp(t, y, u, theta, lam, dtheta, work)",
            [product(states), product(inputs)],
            _entries("dtheta[{}]", product(parameters)),
        ),
        write(
            "_f_jacobian(t, y, u, theta, out, work)",
            [],
            {f"out[{i}, {j}]": of[y] for i, of in enumerate(of_f) for j, y in enumerate(states)},
        ),
        write("_running(t, y, u, theta, work)", [[running]], number=True),
        write(
            "_running_gradient(t, y, u, theta, weight, dtheta, work)",
            [slope(states), slope(inputs)],
            _entries("dtheta[{}]", slope(parameters)),
        ),
    ]
    return ScalarCode(
        text="\n\n".join(functions),
        states=len(states),
        controls=tuple(len(field) for field in controls),
        parameters=len(parameters),
        timed=time is not None and any(one.has(time) for one in [*f, running]),
    )


def _entries(place: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return values by the code of their places."""
    return {place.format(i): value for i, value in enumerate(values)}


class _Functions:
    """Writes functions, in which common subexpressions are evaluated once."""

    def __init__(self, places: Mapping[Any, str]) -> None:
        self.places = places

    def __call__(
        self,
        signature: str,
        groups: Sequence[Sequence[Any]],
        added: Mapping[str, Any] | None = None,
        number: bool = False,
    ) -> str:
        """Return the source of a function.

        It returns a tuple for each group of expressions, or a `number`; what is `added` goes to
        places of its arguments.
        """
        more = {place: one for place, one in (added or {}).items() if one != 0}
        everything = [one for group in [*groups, more.values()] for one in group]
        for one in everything:
            part = without_code(one, _Printer())
            if part is not None:
                raise NotImplementedError(part)
        used: set[Any] = set().union(*(one.free_symbols for one in everything))
        common, results = sympy.cse(everything, sympy.numbered_symbols("common_"))
        writer = Writer(_Printer())
        lines = [f"{symbol} = {place}" for symbol, place in self.places.items() if symbol in used]
        for symbol, value in common:
            writer.assign(symbol, value)
        codes = [f"float({writer.code(writer.short(result))})" for result in results]
        lines += writer.lines
        values = iter(codes)
        tuples = [as_tuple([next(values) for _ in group]) for group in groups]
        lines += [f"{place} += {value}" for place, value in zip(more, values, strict=True)]
        lines.append(f"return {codes[0] if number else ', '.join(tuples)}")
        return "\n    ".join([f"def {signature}:", *lines])


class _Printer(PythonCodePrinter):
    """Prints expressions in plain numbers, by functions that a compiler of loops knows."""

    def __init__(self) -> None:
        super().__init__({"order": "none"})

    def _print_Integer(self, expression: Any) -> str:  # noqa: N802  (sympy's names)
        return repr(float(expression))

    _print_Rational = _print_Float = _print_NumberSymbol = _print_Integer  # noqa: N815
    _print_Half = _print_One = _print_Zero = _print_NegativeOne = _print_Integer  # noqa: N815
    _print_Pi = _print_Exp1 = _print_Integer  # noqa: N815

    def _print_Pow(self, expression: Any, rational: bool = False) -> str:  # noqa: N802
        inner, exponent = f"({self._print(expression.base)})", expression.exp
        if exponent.is_Integer and abs(int(exponent)) <= LARGEST_POWER:
            power = f"{inner} ** {abs(int(exponent))}"
            return f"({power})" if exponent > 0 else f"(1.0 / {power})"
        if exponent in (sympy.S.Half, -sympy.S.Half):
            root = f"math.sqrt({inner})"
            return root if exponent > 0 else f"(1.0 / {root})"
        return f"({inner} ** ({self._print(exponent)}))"

    def _print_Max(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("_larger", expression.args)

    def _print_Min(self, expression: Any) -> str:  # noqa: N802
        return self._in_pairs("_smaller", expression.args)

    def _in_pairs(self, function: str, arguments: Sequence[Any]) -> str:
        code = self._print(arguments[0])
        for one in arguments[1:]:
            code = f"{function}({code}, {self._print(one)})"
        return code

    def _print_sign(self, expression: Any) -> str:
        return f"_sign({self._print(expression.args[0])})"

    def _print_Heaviside(self, expression: Any) -> str:  # noqa: N802
        value, at_zero = (self._print(argument) for argument in expression.args)
        return f"_heaviside({value}, {at_zero})"

    def _print_frac(self, expression: Any) -> str:
        return f"(({self._print(expression.args[0])}) % 1.0)"  # sympy forgets the outer brackets

    def _print_floor(self, expression: Any) -> str:
        # `math.floor` makes integers, and there is none for NaN.
        return f"numpy.floor({self._print(expression.args[0])})"

    def _print_ceiling(self, expression: Any) -> str:
        return f"numpy.ceil({self._print(expression.args[0])})"

    def _print_Piecewise(self, expression: Any) -> str:  # noqa: N802
        code = "math.nan"
        for value, condition in reversed(expression.args):
            if condition == sympy.true:
                code = f"({self._print(value)})"
            else:
                code = f"(({self._print(value)}) if ({self._print(condition)}) else {code})"
        return code
