"""ODE and cost of sympy expressions, as a problem."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import sympy

from pint.controls import ControlField, Regulariser, SharedControl, TimeControl
from pint.errors import check_choice
from pint.interface import Fields, Problem
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.compiled.choice import pays
from pint.steppers.compiled.machine import ScalarCode
from pint.steppers.compiled.parts import compiled_parts
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import scheme as named_scheme
from pint.steppers.symbolic.constraints import (
    SympyIntegral,
    SympyPath,
    SympyTerminal,
    weighted,
)
from pint.steppers.symbolic.names import Names, SymbolFields
from pint.steppers.symbolic.scalar_code import scalar_code
from pint.steppers.symbolic.second_derivatives import SecondDerivatives

logger = logging.getLogger(__name__)


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
    final_time : symbol, optional
        The parameter that is the final time T, a field of one symbol. The grid then runs from 0
        to 1; right-hand side, running cost and integrals are multiplied by T, and t is T times
        the time of the grid. `problem` takes its bounds, ``controls={"T": pint.FinalTime(0.1)}``.

    Raises
    ------
    TypeError
        If a state, control, parameter or `time` is not a symbol, or an entry is neither a number
        nor an expression. Strings are not evaluated.
    ValueError
        If lengths do not fit, a symbol has two meanings, or an expression contains a symbol or
        a function that has none, or is not finite or not real.

    Attributes
    ----------
    cost : Lagrangian
        Running and terminal cost, for `RunningCost`.
    definition : dict of str to str
        The expressions as text.

    Notes
    -----
    All symbols stand for real numbers. Derivatives are those where there is one: jumps, as of
    ``sign``, ``Heaviside``, ``floor`` and ``ceiling``, do not count. Sums over integers are written
    out. A problem of a SympyODE can be pickled and copied.

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
        final_time: Any = None,
    ) -> None:
        names = Names(states, controls or {}, parameters or {}, time, final_time)
        f = names.expressions("rhs", rhs)
        y0 = names.expressions("initial_state", initial_state, ("parameters",))
        running = names.expression("running_cost", running_cost)
        terminal = names.expression("terminal_cost", terminal_cost, ("states", "parameters"))
        f, running = [names.rate(value) for value in f], names.rate(running)
        self._names = names
        self.definition = names.text(
            rhs=f, initial_state=y0, running_cost=[running], terminal_cost=[terminal]
        )
        constant = not any(value.free_symbols for value in y0)
        self.initial_state = np.array([float(value) if constant else 0.0 for value in y0])
        self.initial_state.flags.writeable = False
        self.cost = SympyCost(names, running, terminal, self.definition)
        self._expressions = {"f": f, "running": [running]}
        lam = [sympy.Symbol(f"lam_{i}", real=True) for i in range(len(f))]
        of_f = [names.derivatives("rhs", g) for g in f]
        of_y0 = [names.derivatives("initial_state", value) for value in y0]
        self._f = names.compiled([f])
        self._jacobian = names.compiled([[of_g[y] for of_g in of_f for y in names.states]])
        self._f_vjp = names.compiled(names.gradient(weighted(lam, of_f)), lam)
        self._initial = names.compiled([y0])
        self._initial_vjp = names.compiled(names.theta_gradient(weighted(lam, of_y0)), lam)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the states, for reports."""
        kinds = self._names.kinds
        return tuple(str(symbol) for symbol, kind in kinds.items() if kind == "states")

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._f.function(t, y, u, theta)[0]

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self._names.split(self._f_vjp.function(t, y, u, theta, lam))

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._jacobian.function(t, y, u, theta)[0].reshape(*y.shape, y.shape[1])

    def initial(self, theta: Fields) -> Any:
        # A batch of one state, whose values do not count, of the type of the result.
        y = np.zeros((1, *self.initial_state.shape), np.result_type(float, *theta.values()))
        return self._initial.function(None, y, {}, theta)[0][0]

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        lam = np.reshape(lam0, (1, -1))
        return self._names.by_parameter(self._initial_vjp.function(None, lam, {}, theta, lam))

    def problem(
        self,
        scheme: str | Tableau = "rk4",
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
        *,
        controls: Mapping[str, Any] | None = None,
        regularisers: Sequence[Regulariser] = (),
        coarse: str | CoarseStep | None = None,
        backend: Literal["numpy", "compiled", "auto"] = "numpy",
        steps: int | None = None,
    ) -> Problem:
        """Return the problem of minimising the cost.

        Parameters
        ----------
        scheme : str or Tableau
            As `pint.steppers.scheme` knows it.
        quadrature : 'left', 'right', 'midpoint' or 'trapezoid'
            Of the running cost, see `RunningCost`.
        controls : mapping of str to (lower, upper) or field, optional
            For a control or parameter by name: its lower and upper bound, None for no bound, or
            its `TimeControl` or `SharedControl`. Fields that are not named have no bounds.
        regularisers : sequence of Regulariser
        coarse : str or CoarseStep, optional
            Another step for coarse levels, by its name or made by `pint.coarse`. A grid of one
            level does not use it.
        backend : 'numpy', 'compiled' or 'auto'
            'compiled' steps in machine code, which numba makes of the expressions: for states of
            a few numbers and many steps. 'auto' takes it where that is faster in total, or steps
            in numpy, and says so in the log.
        steps : int, optional
            Number of time steps by which 'auto' decides.

        Raises
        ------
        ValueError
            If a name or a choice is unknown, the shape of a field does not fit its symbols, or an
            expression cannot be compiled.
        ImportError
            If `backend` is 'compiled', and numba is not installed.
        """
        other = coarse_step("`SympyODE.problem(coarse=...)`", coarse)
        stepper, adjoint = named_scheme(self, scheme, coarse=other)
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
        for name, symbols in names.parameters.items():
            if names.final_time in symbols and not (fields[name].lower > 0).all():
                raise ValueError(
                    f"`SympyODE.problem(controls=...)`: the final time `{name}` needs a positive "
                    f'lower bound: controls={{"{name}": pint.FinalTime(0.1)}}.'
                )
        cost = RunningCost(self.cost, quadrature)
        check_choice("SympyODE.problem", "backend", backend, ["numpy", "compiled", "auto"])
        parts: tuple[Any, Any, Any] = (stepper, adjoint, cost)
        known = list(names.controls), list(names.parameters)
        if backend == "compiled":
            parts = compiled_parts(self._scalar_code(), *parts, *known)
        elif backend == "auto" and pays(len(names.states), steps):
            try:
                parts = compiled_parts(self._scalar_code(), *parts, *known)
            except ValueError as error:
                logger.warning("steps in numpy: %s", error)
        return Problem(*parts, fields, regularisers)

    def terminal_constraint(self, values: Any, *, equality: bool = True) -> SympyTerminal:
        """Return the constraint that expressions are zero, or at most zero, at the final time.

        Parameters
        ----------
        values : expression, or list of k expressions
            In final states and parameters.
        equality : bool
        """
        return SympyTerminal(self._names, values, equality)

    def path_constraint(
        self, values: Any, *, equality: bool = False, at: Literal["begin", "end"] = "end"
    ) -> SympyPath:
        """Return the constraint that expressions are at most zero, or zero, once a step.

        Parameters
        ----------
        values : expression, or list of k expressions
            In time, states, controls and parameters.
        equality : bool
        at : 'begin' or 'end'
            The state of the step that counts; the control is that of the step.
        """
        return SympyPath(self._names, values, equality, at)

    def integral_constraint(
        self,
        values: Any,
        bound: Any = 0.0,
        *,
        equality: bool = True,
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
    ) -> SympyIntegral:
        """Return the constraint that integrals over time are equal to bounds, or at most these.

        Parameters
        ----------
        values : expression, or list of k expressions
            In time, states, controls and parameters.
        bound : number or sequence of k numbers
        equality : bool
        quadrature : 'left', 'right', 'midpoint' or 'trapezoid'
            See `RunningCost`.
        """
        return SympyIntegral(self._names, values, bound, equality, quadrature)

    def _scalar_code(self) -> ScalarCode:
        """Return right-hand side and running cost as scalar code, or raise ValueError."""
        names, f, running = self._names, self._expressions["f"], self._expressions["running"][0]
        parameters = [symbol for group in names.parameters.values() for symbol in group]
        derivatives = {
            "f": [names.derivatives("rhs", g) for g in f],
            "running": names.derivatives("running_cost", running),
        }
        controls = list(names.controls.values())
        try:
            return scalar_code(
                names.states, controls, parameters, names.time, f, running, derivatives
            )
        except NotImplementedError as error:
            raise ValueError(
                f"`SympyODE.problem(backend=...)`: `{names.short(error.args[0])}` cannot be "
                'compiled; use backend="numpy".'
            ) from None


class SympyCost(Lagrangian):
    """Running and terminal cost of a `SympyODE`."""

    def __init__(
        self, names: Names, running: Any, terminal: Any, definition: dict[str, str]
    ) -> None:
        self._names, self.definition = names, definition
        weight = sympy.Symbol("weight", real=True)
        of_running = weighted([weight], [names.derivatives("running_cost", running)])
        of_terminal = names.derivatives("terminal_cost", terminal)
        self._value = names.compiled([[running]])
        self._gradient = names.compiled(names.gradient(of_running), [weight])
        self._terminal = names.compiled([[terminal]])
        self._terminal_derivative = names.compiled(names.gradient(of_terminal))
        self._hessian = SecondDerivatives(names, "running_cost", running)
        self._terminal_hessian = SecondDerivatives(names, "terminal_cost", terminal)

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._value.function(t, y, u, theta)[0][:, 0]

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self._names.split(self._gradient.function(t, y, u, theta, weight[:, None]))

    @cached_property
    def has_hessian(self) -> bool:
        return self._hessian.known and self._terminal_hessian.known

    def hessian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        return self._hessian.values(t, y, u, theta)

    def terminal_hessian(self, y: Any, theta: Fields) -> np.ndarray:
        return self._terminal_hessian.values(None, y[None], {}, theta)[0]

    def terminal(self, y: Any, theta: Fields) -> Any:
        return self._terminal.function(None, y[None], {}, theta)[0][0, 0]

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        dy, _, dtheta = self._names.split(
            self._terminal_derivative.function(None, y[None], {}, theta)
        )
        return dy[0], dtheta


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
