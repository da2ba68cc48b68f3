"""Optimal-control problems from sympy expressions: all derivatives are generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from pint.controls import ControlField, ControlSpace, SharedControl, TimeControl
from pint.interface import Fields, Problem, Regulariser
from pint.steppers.ode import ODE
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import scheme as named_scheme
from pint.timegrid import TimeGrid

SymbolFields = Mapping[str, Any]
"""The symbol, or the sequence of symbols, that each field consists of, by field name."""


class SympyODE(ODE):
    """``y' = f(t, y, u, theta)`` and its cost, as sympy expressions.

    Functions and derivatives are compiled with `sympy.lambdify`, common subexpressions shared,
    and work on batches.

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
    >>> problem = ode.problem(pint.TimeGrid.uniform(1.0, 8))
    >>> result = pint.minimize(pint.ReducedFunctional(problem), problem.controls.zeros())
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
        self.cost = _SympyCost(
            names,
            names.expression("running_cost", running_cost),
            names.expression("terminal_cost", terminal_cost, ("states", "parameters")),
        )
        lam = _dummies("lam", len(f))
        product = sum(a * b for a, b in zip(lam, f, strict=True))
        start_product = sum(a * b for a, b in zip(lam, y0, strict=True))
        self._f = _compiled(names.all, f)
        self._jacobian = _compiled(names.all, [_derivative(g, y) for g in f for y in names.states])
        self._f_vjp = _compiled([*names.all, *lam], names.gradient(product))
        self._initial = _compiled(names.theta, y0)
        self._initial_vjp = _compiled(
            [*names.theta, *lam], [_derivative(start_product, p) for p in names.theta]
        )

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return _columns(self._f(*self._names.values(t, y, u, theta)), len(y))

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        values = self._f_vjp(*self._names.values(t, y, u, theta), *lam.T)
        return self._names.split(values, len(y))

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        entries = self._jacobian(*self._names.values(t, y, u, theta))
        return _columns(entries, len(y)).reshape(*y.shape, y.shape[1])

    def initial(self, theta: Fields) -> Any:
        return _entries(self._initial(*self._names.parameter_values(theta)))

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        values = self._initial_vjp(*self._names.parameter_values(theta), *lam0)
        return self._names.by_parameter(_entries(values))

    def problem(
        self,
        grid: TimeGrid,
        scheme: str = "rk4",
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
        *,
        controls: Mapping[str, Any] | None = None,
        regularisers: Sequence[Regulariser] = (),
    ) -> Problem:
        """Return the problem of minimising the cost on a grid.

        Parameters
        ----------
        grid : TimeGrid
        scheme : str
            A name that `pint.steppers.scheme` knows.
        quadrature : 'left', 'right', 'midpoint' or 'trapezoid'
            Of the running cost, see `RunningCost`.
        controls : mapping of str to (lower, upper) or field, optional
            For a control or parameter by name: its bounds, None where there is none, or a
            `TimeControl` or `SharedControl` to be used. Fields not named have no bounds.
        regularisers : sequence of Regulariser

        Raises
        ------
        ValueError
            If a name or a choice is unknown, or a field's shape is not that of its symbols.
        """
        stepper, adjoint = named_scheme(self, scheme)
        given = dict(controls or {})
        names = self._names
        unknown = [name for name in given if name not in {**names.controls, **names.parameters}]
        if unknown:
            raise ValueError(
                f"`SympyODE.problem(controls=...)` names `{unknown[0]}`, which is no field; these "
                f"are {[*names.controls, *names.parameters]}."
            )
        fields: dict[str, ControlField] = {
            **{n: _field(TimeControl, n, s, given.get(n)) for n, s in names.controls.items()},
            **{n: _field(SharedControl, n, s, given.get(n)) for n, s in names.parameters.items()},
        }
        objective = RunningCost(self.cost, quadrature)
        space = ControlSpace(grid, **fields)
        return Problem(grid, stepper, adjoint, objective, space, regularisers)


class _SympyCost(Lagrangian):
    """Running and terminal cost of a `SympyODE`."""

    def __init__(self, names: _Names, running: Any, terminal: Any) -> None:
        self._names = names
        weight = sympy.Dummy("weight", real=True)
        arguments = [*names.states, *names.theta]
        self._value = _compiled(names.all, [running])
        self._gradient = _compiled([*names.all, weight], names.gradient(weight * running))
        self._terminal = _compiled(arguments, [terminal])
        self._terminal_derivative = _compiled(
            arguments, [_derivative(terminal, symbol) for symbol in arguments]
        )

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return _columns(self._value(*self._names.values(t, y, u, theta)), len(y))[:, 0]

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        values = self._gradient(*self._names.values(t, y, u, theta), weight)
        return self._names.split(values, len(y))

    def terminal(self, y: Any, theta: Fields) -> Any:
        return self._terminal(*y, *self._names.parameter_values(theta))[0]

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        values = _entries(self._terminal_derivative(*y, *self._names.parameter_values(theta)))
        return values[: len(y)], self._names.by_parameter(values[len(y) :])


class _Names:
    """The symbols of a problem, and where their values are found in t, y, u and theta.

    Each of the user's symbols is replaced by a real dummy of its own, whatever was assumed of it.
    """

    def __init__(
        self, states: Sequence[Any], controls: SymbolFields, parameters: SymbolFields, time: Any
    ) -> None:
        self.meaning: dict[Any, Any] = {}
        self.kinds: dict[Any, str] = {}
        self.states = self._symbols("states", states)
        if not self.states:
            raise ValueError("`SympyODE(states=...)` must name at least one state.")
        twice = [name for name in controls if name in parameters]
        if twice:
            raise ValueError(f"`SympyODE`: `{twice[0]}` is both a control and a parameter.")
        self.controls = {n: self._symbols("controls", s) for n, s in controls.items()}
        self.parameters = {n: self._symbols("parameters", s) for n, s in parameters.items()}
        t = sympy.Dummy("t", real=True) if time is None else self._symbols("time", time)[0]
        self.u = [symbol for symbols in self.controls.values() for symbol in symbols]
        self.theta = [symbol for symbols in self.parameters.values() for symbol in symbols]
        self.all = [t, *self.states, *self.u, *self.theta]

    def _symbols(self, kind: str, symbols: Any) -> list[Any]:
        """Return dummies for the symbol or symbols."""
        dummies = []
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
            self.meaning[symbol] = sympy.Dummy(symbol.name, real=True)
            self.kinds[symbol] = kind
            dummies.append(self.meaning[symbol])
        return dummies

    def expression(self, argument: str, value: Any, kinds: tuple[str, ...] | None = None) -> Any:
        """Return an expression of the user in dummies; ValueError if it has other symbols.

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

    def gradient(self, expression: Any) -> list[Any]:
        """Return the derivatives with respect to all states, controls and parameters."""
        return [_derivative(expression, symbol) for symbol in self.all[1:]]

    def values(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> list[Any]:
        """Return the values of `all`: vectors of length B, numbers for parameters."""
        values = [t, *y.T]
        for name in self.controls:
            values.extend(u[name].T)
        values.extend(self.parameter_values(theta))
        return values

    def parameter_values(self, theta: Fields) -> list[Any]:
        """Return the values of all parameters."""
        return [value for name in self.parameters for value in theta[name]]

    def split(self, values: Sequence[Any], batch: int) -> tuple[np.ndarray, Fields, Fields]:
        """Return the values of `gradient` for y, u and theta, the last summed over the batch."""
        first = len(self.states)
        dy = _columns(values[:first], batch)
        du = {}
        for name, symbols in self.controls.items():
            du[name] = _columns(values[first : first + len(symbols)], batch)
            first += len(symbols)
        sums = [np.broadcast_to(value, (batch,)).sum() for value in values[first:]]
        return dy, du, self.by_parameter(_entries(sums))

    def by_parameter(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values of all parameters by field."""
        fields, first = {}, 0
        for name, symbols in self.parameters.items():
            fields[name] = values[first : first + len(symbols)]
            first += len(symbols)
        return fields


def _dummies(name: str, count: int) -> list[Any]:
    return [sympy.Dummy(f"{name}{i}", real=True) for i in range(count)]


def _derivative(expression: Any, symbol: Any) -> Any:
    """Return the derivative where there is one; jumps, as of sign(y), do not count."""
    return sympy.diff(expression, symbol).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


def _compiled(arguments: list[Any], expressions: list[Any]) -> Callable[..., Sequence[Any]]:
    """Return the function of arrays that evaluates the expressions, shared parts once."""
    return sympy.lambdify(arguments, expressions, modules=["scipy", "numpy"], cse=True)


def _columns(values: Sequence[Any], batch: int) -> np.ndarray:
    """Return the values as columns, shape (batch, number of values); numbers are repeated."""
    columns = np.empty((batch, len(values)), np.result_type(float, *values))
    for i, value in enumerate(values):
        columns[:, i] = value
    return columns


def _entries(values: Sequence[Any]) -> np.ndarray:
    """Return numbers as a vector of floating-point numbers."""
    return np.array(values, dtype=np.result_type(float, *values))


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
