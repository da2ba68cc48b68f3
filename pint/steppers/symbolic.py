"""Optimal-control problems from sympy expressions: all derivatives are generated."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.numpy import SciPyPrinter

from pint.controls import ControlField, Regulariser, SharedControl, TimeControl
from pint.interface import Fields, Problem
from pint.steppers.ode import ODE
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import scheme as named_scheme

SymbolFields = Mapping[str, Any]
"""The symbol, or the sequence of symbols, that each field consists of, by field name."""

Compiled = Callable[..., list[np.ndarray]]


class SympyODE(ODE):
    """``y' = f(t, y, u, theta)`` and its cost, as sympy expressions.

    Functions and derivatives become numpy code for batches, in which common subexpressions are
    evaluated once.

    Parameters
    ----------
    states : sequence of d symbols
    rhs : sequence of d expressions
        The derivatives of the states with respect to time.
    controls : mapping of str to symbol or sequence of n symbols, optional
        Time-dependent fields, each of shape (n,), by name.
    parameters : mapping of str to symbol or sequence of n symbols, optional
        Shared fields, each of shape (n,), by name.
    running_cost : expression
        L of ``int L dt + psi``, in states, controls, parameters and time.
    terminal_cost : expression
        psi, in final states and parameters.
    initial_state : sequence of d numbers or expressions
        y_0; expressions in parameters.
    time : symbol, optional
        The symbol that stands for t.

    Raises
    ------
    TypeError
        If a state, control, parameter or `time` is not a symbol.
    ValueError
        If lengths do not fit, a symbol has two meanings, or an expression contains a symbol or
        a function that has none.

    Attributes
    ----------
    cost : Lagrangian
        Running and terminal cost, for `RunningCost`.

    Notes
    -----
    All symbols stand for real numbers.

    Examples
    --------
    >>> import pint, sympy
    >>> y, u = sympy.symbols("y u")
    >>> ode = SympyODE([y], [u - y], {"u": u}, running_cost=y**2 + u**2, initial_state=[1])
    >>> functional = pint.ReducedFunctional(ode.problem(), pint.TimeGrid.uniform(1.0, 8))
    >>> result = pint.minimize(functional)
    >>> print(f"{result.objective:.6f}")
    0.388815
    """

    def __init__(
        self,
        states: Sequence[Any],
        rhs: Sequence[Any],
        controls: SymbolFields | None = None,
        *,
        parameters: SymbolFields | None = None,
        running_cost: Any = 0,
        terminal_cost: Any = 0,
        initial_state: Sequence[Any],
        time: Any = None,
    ) -> None:
        names = _Names(states, controls or {}, parameters or {}, time)
        for name, values in (("rhs", rhs), ("initial_state", initial_state)):
            if len(list(values)) != len(names.states):
                raise ValueError(
                    f"`SympyODE({name}=...)` must have {len(names.states)} entries, one for each "
                    f"state, got {len(list(values))}."
                )
        f = [names.expression("rhs", value) for value in rhs]
        y0 = [names.expression("initial_state", value, ("parameters",)) for value in initial_state]
        self._names = names
        constant = not any(value.free_symbols for value in y0)
        self.initial_state = np.array(y0, dtype=float) if constant else np.zeros(len(y0))
        self.cost = SympyCost(
            names,
            names.expression("running_cost", running_cost),
            names.expression("terminal_cost", terminal_cost, ("states", "parameters")),
        )
        lam = [sympy.Symbol(f"lam_{i}", real=True) for i in range(len(f))]
        product = sum(a * b for a, b in zip(lam, f, strict=True))
        start_product = sum(a * b for a, b in zip(lam, y0, strict=True))
        self._f = names.compiled([f])
        self._jacobian = names.compiled([[_derivative(g, y) for g in f for y in names.states]])
        self._f_vjp = names.compiled(names.gradient(product), lam)
        self._initial = names.compiled([y0])
        self._initial_vjp = names.compiled(names.theta_gradient(start_product), lam)

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._f(t, y, u, theta)[0]

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self._names.split(self._f_vjp(t, y, u, theta, lam))

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._jacobian(t, y, u, theta)[0].reshape(*y.shape, y.shape[1])

    def initial(self, theta: Fields) -> Any:
        # A batch of one state, whose values do not count, of the type of the result.
        y = np.zeros((1, *self.initial_state.shape), np.result_type(float, *theta.values()))
        return self._initial(None, y, {}, theta)[0][0]

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        lam = np.reshape(lam0, (1, -1))
        return self._names.by_parameter(self._initial_vjp(None, lam, {}, theta, lam))

    def problem(
        self,
        scheme: str = "rk4",
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
        *,
        controls: Mapping[str, Any] | None = None,
        regularisers: Sequence[Regulariser] = (),
    ) -> Problem:
        """Return the problem of minimising the cost.

        Parameters
        ----------
        scheme : str
            A name that `pint.steppers.scheme` knows.
        quadrature : 'left', 'right', 'midpoint' or 'trapezoid'
            Of the running cost, see `RunningCost`.
        controls : mapping of str to (lower, upper) or field, optional
            For a control or parameter by name: its lower and upper bound, None for no bound, or
            its `TimeControl` or `SharedControl`. Fields that are not named have no bounds.
        regularisers : sequence of Regulariser

        Raises
        ------
        ValueError
            If a name or a choice is unknown, or the shape of a field does not fit its symbols.
        """
        stepper, adjoint = named_scheme(self, scheme)
        given = dict(controls or {})
        names = self._names
        unknown = [name for name in given if name not in {**names.controls, **names.parameters}]
        if unknown:
            raise ValueError(
                f"`SympyODE.problem(controls=...)` names `{unknown[0]}`, which is no field; it has "
                f"the fields {[*names.controls, *names.parameters]}."
            )
        fields: dict[str, ControlField] = {
            **{n: _field(TimeControl, n, s, given.get(n)) for n, s in names.controls.items()},
            **{n: _field(SharedControl, n, s, given.get(n)) for n, s in names.parameters.items()},
        }
        return Problem(stepper, adjoint, RunningCost(self.cost, quadrature), fields, regularisers)


class SympyCost(Lagrangian):
    """Running and terminal cost of a `SympyODE`."""

    def __init__(self, names: _Names, running: Any, terminal: Any) -> None:
        self._names = names
        weight = sympy.Symbol("weight", real=True)
        self._value = names.compiled([[running]])
        self._gradient = names.compiled(names.gradient(weight * running), [weight])
        self._terminal = names.compiled([[terminal]])
        self._terminal_derivative = names.compiled(names.gradient(terminal))

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._value(t, y, u, theta)[0][:, 0]

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self._names.split(self._gradient(t, y, u, theta, weight[:, None]))

    def terminal(self, y: Any, theta: Fields) -> Any:
        return self._terminal(None, y[None], {}, theta)[0][0, 0]

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        dy, _, dtheta = self._names.split(self._terminal_derivative(None, y[None], {}, theta))
        return dy[0], dtheta


class _Names:
    """The symbols of a problem, and where their values are found in t, y, u and theta.

    Each of the user's symbols is replaced by a real one of its own, whatever was assumed of it.
    """

    def __init__(
        self, states: Sequence[Any], controls: SymbolFields, parameters: SymbolFields, time: Any
    ) -> None:
        self.meaning: dict[Any, Any] = {}
        self.kinds: dict[Any, str] = {}
        self.places: dict[Any, str] = {}  # the code that reads a symbol's values
        self.states = self._symbols("states", states, "y[:, {}]")
        if not self.states:
            raise ValueError("`SympyODE(states=...)` must name at least one state.")
        twice = [name for name in controls if name in parameters]
        if twice:
            raise ValueError(f"`SympyODE`: `{twice[0]}` is both a control and a parameter.")
        self.controls = {
            name: self._symbols("controls", symbols, f"u[{name!r}][:, {{}}]")
            for name, symbols in controls.items()
        }
        self.parameters = {
            name: self._symbols("parameters", symbols, f"theta[{name!r}][{{}}]")
            for name, symbols in parameters.items()
        }
        if time is not None:
            self._symbols("time", time, "t")

    def _symbols(self, kind: str, symbols: Any, place: str) -> list[Any]:
        """Return real symbols for the user's symbol or symbols."""
        new: list[Any] = []
        for symbol in [symbols] if isinstance(symbols, sympy.Basic) else list(symbols):
            if not isinstance(symbol, sympy.Symbol):
                raise TypeError(
                    f"`SympyODE({kind}=...)` must consist of sympy symbols, got {symbol!r}, "
                    f"a {type(symbol).__name__}."
                )
            if symbol in self.meaning:
                raise ValueError(
                    f"`SympyODE({kind}=...)`: the symbol `{symbol}` is used twice, also in "
                    f"`{self.kinds[symbol]}`."
                )
            self.meaning[symbol] = sympy.Symbol(f"value_{len(self.meaning)}", real=True)
            self.kinds[symbol] = kind
            self.places[self.meaning[symbol]] = place.format(len(new))
            new.append(self.meaning[symbol])
        return new

    def expression(self, argument: str, value: Any, kinds: tuple[str, ...] | None = None) -> Any:
        """Return a user's expression in symbols of our own; ValueError if it has others.

        Parameters
        ----------
        argument : str
            The user's name of it, for the message.
        value : expression or number
        kinds : tuple of str, optional
            Which symbols it may contain; all by default.
        """
        expression = sympy.sympify(value)
        functions = expression.atoms(AppliedUndef)
        if functions:
            raise ValueError(
                f"`SympyODE({argument}=...)` contains the undefined function "
                f"`{min(functions, key=str)}`; use symbols for states, controls and parameters."
            )
        for symbol in sorted(expression.free_symbols, key=str):
            kind = self.kinds.get(symbol)
            if kind is None:
                alike = any(known.name == symbol.name for known in self.kinds)
                reason = (
                    "a symbol of the same name but with other assumptions is known"
                    if alike
                    else "it is neither a state, a control, a parameter nor `time`"
                )
                raise ValueError(
                    f"`SympyODE({argument}=...)` contains the unknown symbol `{symbol}`: {reason}."
                )
            if kinds is not None and kind not in kinds:
                raise ValueError(
                    f"`SympyODE({argument}=...)` contains `{symbol}` of `{kind}`; only "
                    f"{' and '.join(kinds)} may occur there."
                )
        return expression.xreplace(self.meaning)

    def gradient(self, expression: Any) -> list[list[Any]]:
        """Return the derivatives with respect to the states, each control and each parameter."""
        groups = [self.states, *self.controls.values()]
        derivatives = [[_derivative(expression, symbol) for symbol in group] for group in groups]
        return derivatives + self.theta_gradient(expression)

    def theta_gradient(self, expression: Any) -> list[list[Any]]:
        """Return the derivatives with respect to each parameter."""
        groups = self.parameters.values()
        return [[_derivative(expression, symbol) for symbol in group] for group in groups]

    def split(self, values: Sequence[np.ndarray]) -> tuple[np.ndarray, Fields, Fields]:
        """Return the values of `gradient` for y, u and theta, the last summed over the batch."""
        theta = 1 + len(self.controls)
        du = dict(zip(self.controls, values[1:theta], strict=True))
        return values[0], du, self.by_parameter(values[theta:])

    def by_parameter(self, values: Sequence[np.ndarray]) -> Fields:
        """Return the values of `theta_gradient`, summed over the batch, by field."""
        sums = [value.sum(axis=0) for value in values]
        return dict(zip(self.parameters, sums, strict=True))

    def compiled(self, groups: list[list[Any]], extra: Sequence[Any] = ()) -> Compiled:
        """Return the function ``(t, y, u, theta, extra=None)`` that evaluates the expressions.

        It returns an array of shape (B, n), of the type of y, for each group of n expressions.
        Column i of its argument `extra` holds the values of the i-th symbol of `extra`.
        """
        places = {**self.places, **{s: f"extra[:, {i}]" for i, s in enumerate(extra)}}
        expressions = [expression for group in groups for expression in group]
        used = set().union(*(expression.free_symbols for expression in expressions))
        common, results = sympy.cse(expressions, sympy.numbered_symbols("common_"))
        printer = SciPyPrinter()
        lines = ["kind = y.dtype if y.dtype.kind in 'fc' else float"]
        lines += [f"{symbol} = {place}" for symbol, place in places.items() if symbol in used]
        lines += [f"{symbol} = {self._code(printer, value)}" for symbol, value in common]
        remaining = iter(results)
        for number, group in enumerate(groups):
            lines.append(f"group_{number} = numpy.empty((len(y), {len(group)}), kind)")
            lines += [
                f"group_{number}[:, {i}] = {self._code(printer, next(remaining))}"
                for i in range(len(group))
            ]
        lines.append(f"return [{', '.join(f'group_{n}' for n in range(len(groups)))}]")
        modules: dict[str, Any] = {"numpy": np}
        for name in printer.module_imports:
            top = name.partition(".")[0]
            importlib.import_module(name)
            modules[top] = importlib.import_module(top)
        # The text consists of our own names and of the output of sympy's printer.
        exec("\n    ".join(["def function(t, y, u, theta, extra=None):", *lines]), modules)
        function: Compiled = modules["function"]
        return function

    def _code(self, printer: SciPyPrinter, expression: Any) -> str:
        try:
            code = str(printer.doprint(expression))
        except NotImplementedError:
            code = "\n"
        if "\n" in code:  # older versions of sympy put the failure in a comment
            theirs = expression.xreplace({ours: symbol for symbol, ours in self.meaning.items()})
            raise ValueError(f"`SympyODE`: there is no numpy code for `{theirs}`.")
        return code


def _derivative(expression: Any, symbol: Any) -> Any:
    """Return the derivative where there is one; jumps, as of sign(y), do not count."""
    derivative = sympy.diff(expression, symbol)
    return derivative.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


def _field(
    kind: type[TimeControl] | type[SharedControl], name: str, symbols: list[Any], given: Any
) -> ControlField:
    """Return the field that belongs to the symbols, from bounds or a field that the user gave."""
    if given is None:
        return kind(len(symbols))
    if isinstance(given, ControlField):
        if given.shape != (len(symbols),):
            raise ValueError(
                f"`SympyODE.problem(controls=...)`: the field `{name}` has shape {given.shape}, "
                f"its symbols {(len(symbols),)}."
            )
        if isinstance(given, SharedControl) != (kind is SharedControl):
            raise ValueError(
                f"`SympyODE.problem(controls=...)`: `{name}` must be a {kind.__name__}, "
                f"got {type(given).__name__}."
            )
        return given
    try:
        lower, upper = given
    except (TypeError, ValueError):
        raise ValueError(
            f"`SympyODE.problem(controls=...)`: `{name}` must be a pair (lower, upper) or a "
            f"{kind.__name__}, got {given!r}."
        ) from None
    return kind(len(symbols), lower, upper)
