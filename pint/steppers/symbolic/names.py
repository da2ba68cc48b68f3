"""The user's symbols and expressions, checked, and in symbols of our own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean

from pint.controls.fields import check_field_name
from pint.interface import Fields
from pint.steppers.symbolic.derivatives import derivatives
from pint.steppers.symbolic.generated import Generated, Later
from pint.steppers.symbolic.numpy_code import generate, without_code

SymbolFields = Mapping[str, Any]
"""The symbol, or the sequence of symbols, that each field consists of, by field name."""

LONGEST = 60
"""Characters of an expression in a message."""

MOST_WRITTEN_OUT = 100_000
"""Terms of a sum."""

_TO_DO = (
    sympy.Sum, sympy.Product, sympy.Integral, sympy.Derivative, sympy.Limit, sympy.Subs,
    sympy.UnevaluatedExpr,
)  # fmt: skip
_INFINITE = (sympy.nan, sympy.oo, -sympy.oo, sympy.zoo)


class Names:
    """The symbols of a problem, and where their values are found in t, y, u and theta.

    Each of the user's symbols is replaced by a real one of its own, whatever was assumed of it.
    """

    def __init__(
        self,
        states: Any,
        controls: SymbolFields,
        parameters: SymbolFields,
        time: Any,
        final_time: Any = None,
    ) -> None:
        self.meaning: dict[Any, Any] = {}
        self.kinds: dict[Any, str] = {}
        self.places: dict[Any, str] = {}  # the code that reads a symbol's values
        self.states = self._symbols("states", states, "y[:, ")
        if not self.states:
            raise ValueError("`SympyODE(states=...)` must name at least one state.")
        self.controls = self._fields("controls", controls, "u[{!r}][:, ")
        self.parameters = self._fields("parameters", parameters, "theta[{!r}][")
        twice = [name for name in self.controls if name in self.parameters]
        if twice:
            raise ValueError(f"`SympyODE`: `{twice[0]}` is both a control and a parameter.")
        self.time: Any = None
        if time is not None:
            (self.time,) = self._symbols("time", time, "")
            self.places[self.time] = "t"
        self.final_time: Any = None
        if final_time is not None:
            self.final_time = self.meaning.get(final_time)
            if [self.final_time] not in self.parameters.values():
                raise ValueError(
                    "`SympyODE(final_time=...)` must be the symbol of a parameter of one symbol, "
                    f"got {_described(final_time)}."
                )

    # Symbols

    def _fields(self, kind: str, fields: Any, place: str) -> dict[str, list[Any]]:
        if not isinstance(fields, Mapping):
            raise TypeError(
                f"`SympyODE({kind}=...)` must be a mapping of names to symbols, got "
                f"{_described(fields)}."
            )
        for name in fields:
            check_field_name(f"SympyODE({kind}=...)", name)
        return {
            name: self._symbols(kind, symbols, place.format(name))
            for name, symbols in fields.items()
        }

    def _symbols(self, kind: str, symbols: Any, place: str) -> list[Any]:
        """Return real symbols for the user's symbol or symbols, which the code finds at `place`."""
        single = isinstance(symbols, (sympy.Expr, Boolean)) or not _is_iterable(symbols)
        new: list[Any] = []
        for symbol in [symbols] if single else sequence(kind, symbols):
            if not isinstance(symbol, sympy.Symbol):
                raise TypeError(
                    f"`SympyODE({kind}=...)` must consist of sympy symbols, got "
                    f"{_described(symbol)}."
                )
            if symbol in self.meaning:
                raise ValueError(
                    f"`SympyODE({kind}=...)`: the symbol `{symbol}` is used twice, also in "
                    f"`{self.kinds[symbol]}`."
                )
            self.meaning[symbol] = sympy.Symbol(f"value_{len(self.meaning)}", real=True)
            self.kinds[symbol] = kind
            self.places[self.meaning[symbol]] = f"{place}{len(new)}]"
            new.append(self.meaning[symbol])
        return new

    # Expressions

    def expressions(
        self, argument: str, values: Any, kinds: tuple[str, ...] | None = None
    ) -> list[Any]:
        """Return a user's expressions, one for each state, in symbols of our own."""
        entries = sequence(argument, values)
        if len(entries) != len(self.states):
            raise ValueError(
                f"`SympyODE({argument}=...)` must have {len(self.states)} entries, one for each "
                f"state, got {len(entries)}."
            )
        return [self.expression(argument, value, kinds) for value in entries]

    def expression(self, argument: str, value: Any, kinds: tuple[str, ...] | None = None) -> Any:
        """Return a user's expression in symbols of our own.

        Parameters
        ----------
        argument : str
            The user's name of it, for messages.
        value : expression or number
        kinds : tuple of str, optional
            Which symbols it may contain; all by default.

        Raises
        ------
        TypeError
            If it is no expression.
        ValueError
            If it has other symbols, undefined functions, functions without numpy code, or values
            that are no finite real numbers.
        """
        try:
            expression = _written_out(argument, _sympified(argument, value))
            if expression.is_commutative is False:
                raise _no_expression(argument, value)
            self._check_symbols(argument, expression, kinds)
            ours = expression.xreplace(self.meaning)
            _check_values(argument, expression, ours)
            self._check_code(argument, ours)
        except RecursionError:
            raise _nested(f"`SympyODE({argument}=...)`") from None
        return ours

    def rate(self, expression: Any, derivative: bool = True) -> Any:
        """Return an expression at the times of the grid, as a derivative with respect to them.

        They are those of the user, unless the final time is free.
        """
        if self.final_time is None:
            return expression
        if self.time is not None:
            expression = expression.xreplace({self.time: self.final_time * self.time})
        return self.final_time * expression if derivative else expression

    def _check_symbols(self, argument: str, expression: Any, kinds: tuple[str, ...] | None) -> None:
        functions = expression.atoms(AppliedUndef)
        if functions:
            raise ValueError(
                f"`SympyODE({argument}=...)` contains the undefined function "
                f"`{min(functions, key=str)}`; use symbols for states, controls and parameters."
            )
        for symbol in sorted(expression.free_symbols, key=str):
            kind = self.kinds.get(symbol)
            if kind is None:
                alike = any(known.name == str(symbol) for known in self.kinds)
                reason = (
                    "a symbol of the same name but with other assumptions is known"
                    if alike
                    else "declare it by `states=`, `controls=`, `parameters=` or `time=`, or "
                    "put a number in its place"
                )
                raise ValueError(
                    f"`SympyODE({argument}=...)` contains the unknown symbol `{symbol}`: {reason}."
                )
            if kinds is not None and kind not in kinds:
                raise ValueError(
                    f"`SympyODE({argument}=...)` contains `{symbol}` of `{kind}`; only "
                    f"{' and '.join(kinds)} may occur there."
                )

    def _check_code(self, argument: str, ours: Any, origin: str = "") -> None:
        part = without_code(ours)
        if part is not None:
            raise ValueError(
                f"`SympyODE({argument}=...)`: there is no numpy code for "
                f"`{_short(self._theirs(part))}`{origin}."
            )

    def _theirs(self, ours: Any) -> Any:
        """Return an expression in the user's symbols."""
        return ours.xreplace({own: symbol for symbol, own in self.meaning.items()})

    def short(self, ours: Any) -> str:
        """Return the text of an expression in the user's symbols, for a message."""
        return _short(self._theirs(ours))

    # Derivatives and code

    def derivatives(self, argument: str, expression: Any) -> dict[Any, Any]:
        """Return the derivatives with respect to all symbols but the time, by symbol.

        ValueError names the argument where sympy knows none, or there is no code for it.
        """
        symbols = [symbol for group in self._groups for symbol in group]
        try:
            found = derivatives(expression, symbols)
            for derivative in found:
                self._check_code(argument, derivative, ", which is in a derivative")
        except RecursionError:
            raise _nested(f"`SympyODE({argument}=...)`") from None
        except NotImplementedError as error:
            function = _short(self._theirs(error.args[0]))
            raise ValueError(
                f"`SympyODE({argument}=...)`: sympy knows no derivative of `{function}`."
            ) from None
        return dict(zip(symbols, found, strict=True))

    @property
    def _groups(self) -> list[list[Any]]:
        return [self.states, *self.controls.values(), *self.parameters.values()]

    def gradient(self, by_symbol: Mapping[Any, Any]) -> list[list[Any]]:
        """Return derivatives with respect to the states, each control and each parameter."""
        return [[by_symbol[symbol] for symbol in group] for group in self._groups]

    def theta_gradient(self, by_symbol: Mapping[Any, Any]) -> list[list[Any]]:
        """Return derivatives with respect to each parameter."""
        return [[by_symbol[symbol] for symbol in group] for group in self.parameters.values()]

    def compiled(self, groups: Sequence[Sequence[Any]], extra: Sequence[Any] = ()) -> Later:
        """Return the function of t, y, u, theta and `extra`: see `generate`."""

        def make() -> Generated:
            try:
                return generate(self.places, groups, extra)
            except RecursionError:
                raise _nested("`SympyODE`") from None

        return Later(make)

    def text(self, **expressions: Sequence[Any]) -> dict[str, str]:
        """Return the texts of expressions in the user's symbols, and of the symbols' meaning."""
        # Sorting the terms of long sums for the eye takes most of the time.
        printer = sympy.StrPrinter({"order": "none"})
        symbols = {str(symbol): self.places[ours] for symbol, ours in self.meaning.items()}
        return {
            "symbols": str(symbols),
            **{
                name: ", ".join(printer.doprint(self._theirs(value)) for value in values)
                for name, values in expressions.items()
            },
        }

    # Values of the generated functions

    def split(self, values: Sequence[np.ndarray]) -> tuple[np.ndarray, Fields, Fields]:
        """Return the values of `gradient` for y, u and theta, the last summed over the batch."""
        theta = 1 + len(self.controls)
        du = dict(zip(self.controls, values[1:theta], strict=True))
        return values[0], du, self.by_parameter(values[theta:])

    def by_parameter(self, values: Sequence[np.ndarray]) -> Fields:
        """Return the values of `theta_gradient`, summed over the batch, by field."""
        sums = [value.sum(axis=0) for value in values]
        return dict(zip(self.parameters, sums, strict=True))


def sequence(argument: str, values: Any) -> tuple[Any, ...]:
    """Return the entries of an argument; TypeError unless it is a sequence of them."""
    # The order of a set is arbitrary, the entries of a text are letters.
    if isinstance(values, (str, bytes, Mapping, Set)) or not _is_iterable(values):
        raise TypeError(
            f"`SympyODE({argument}=...)` must be a sequence such as a list, got "
            f"{_described(values)}."
        )
    return tuple(values)


def _is_iterable(values: Any) -> bool:
    try:
        iter(values)  # matrices of sympy have no `__iter__`
    except TypeError:
        return False
    return True


def _sympified(argument: str, value: Any) -> Any:
    """Return a number or an expression as one of sympy; nothing is evaluated as code."""
    try:
        expression = sympy.sympify(value, strict=True)
    except (sympy.SympifyError, TypeError, ValueError, AttributeError):
        expression = None
    is_value = isinstance(expression, sympy.Expr) and not isinstance(expression, sympy.Lambda)
    if not is_value or getattr(expression, "is_Matrix", False):
        raise _no_expression(argument, value)
    return expression


def _no_expression(argument: str, value: Any) -> TypeError:
    return TypeError(
        f"`SympyODE({argument}=...)` must consist of sympy expressions and numbers, got "
        f"{_described(value)}."
    )


def _written_out(argument: str, expression: Any) -> Any:
    """Return an expression whose sums, integrals, derivatives and roots have been evaluated."""
    if expression.has(sympy.CRootOf):  # of a polynomial of numbers
        expression = expression.replace(sympy.CRootOf, lambda *of: sympy.CRootOf(*of).evalf())
    if not expression.has(*_TO_DO):
        return expression
    for kind in (sympy.Sum, sympy.Product):
        # Term by term: closed forms of sums may have cases of their own, as for a ratio of one.
        expression = expression.replace(lambda part, kind=kind: isinstance(part, kind), _terms)
    expression = expression.doit()
    left = expression.atoms(*_TO_DO)
    if left:
        raise ValueError(
            f"`SympyODE({argument}=...)` contains `{_short(min(left, key=str))}`, which sympy "
            "cannot evaluate; write it out."
        )
    return expression


def _terms(whole: Any) -> Any:
    """Return a sum or product over integers, all of them written out; others as they are."""
    terms = [whole.function]
    for index, first, last in whole.limits:
        if not (first.is_Integer and last.is_Integer and last >= first):
            return whole
        if len(terms) * int(last - first + 1) > MOST_WRITTEN_OUT:
            return whole
        numbers = [sympy.Integer(i) for i in range(int(first), int(last) + 1)]
        terms = [term.xreplace({index: number}) for term in terms for number in numbers]
    return (sympy.Add if isinstance(whole, sympy.Sum) else sympy.Mul)(*terms)


def _check_values(argument: str, theirs: Any, ours: Any) -> None:
    """Raise ValueError unless an expression is finite and real where its symbols are."""
    if ours.has(*_INFINITE) or not all(map(_is_finite, ours.atoms(sympy.Number))):
        raise ValueError(
            f"`SympyODE({argument}=...)` contains infinity, NaN or a number beyond floats, by a "
            f"division by zero perhaps: `{_short(theirs)}`."
        )
    if ours.has(sympy.I) or any(
        _is_complex(part) for part in ours.atoms(sympy.Pow, sympy.Function) if part.is_number
    ):
        raise ValueError(
            f"`SympyODE({argument}=...)` must be real, but has a complex number in "
            f"`{_short(theirs)}`."
        )


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _is_complex(number: Any) -> bool:
    try:
        return bool(complex(number.evalf()).imag)
    except (TypeError, ValueError, OverflowError):
        return False


def _nested(where: str) -> ValueError:
    return ValueError(
        f"{where}: the functions of an expression are nested too deeply for "
        "sympy; give parts of it to a state or a parameter."
    )


def _described(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return f"the string {_short(repr(value))}, which is not evaluated"
    return f"{_short(repr(value))}, a {type(value).__name__}"


def _short(value: Any) -> str:
    """Return the text of a value, in one line and not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
