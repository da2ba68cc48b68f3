"""Right-hand sides that the user has compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pint.controls import ControlField, Regulariser, SharedControl, TimeControl
from pint.errors import real_array
from pint.interface import Fields, Problem
from pint.steppers.coarsening import CoarseStep, coarse_step
from pint.steppers.compiled.machine import ScalarCode, compiler
from pint.steppers.compiled.parts import compiled_parts
from pint.steppers.ode import ODE
from pint.steppers.runge_kutta import Tableau
from pint.steppers.running_cost import Lagrangian, RunningCost
from pint.steppers.schemes import scheme as named_scheme

_CODE = """
def _set(place, values):
    for i in range(len(values)):
        place[i] = values[i]


def _inputs(y, u, work):
    {load}


def _f(t, y, u, theta, work):
    _inputs(y, u, work)
    _user_f(t, work[2], work[3], theta, work[4])
    return {of_y}


def _f_vjp(t, y, u, theta, lam, dtheta, work):
    _inputs(y, u, work)
    {load_lam}
    work[4][:], work[5][:], work[6][:] = 0.0, 0.0, 0.0
    _user_f_vjp(t, work[2], work[3], theta, work[7], work[4], work[5], work[6])
    for i in range(len(dtheta)):
        dtheta[i] += work[6][i]
    return {of_y}, {of_u}


{jacobian}


def _running(t, y, u, theta, work):
    _inputs(y, u, work)
    return float(_user_running(t, work[2], work[3], theta))


def _running_gradient(t, y, u, theta, weight, dtheta, work):
    _inputs(y, u, work)
    work[4][:], work[5][:], work[6][:] = 0.0, 0.0, 0.0
    _user_running_gradient(t, work[2], work[3], theta, work[4], work[5], work[6])
    for i in range(len(dtheta)):
        dtheta[i] += weight * work[6][i]
    return {weighted_y}, {weighted_u}
"""

_JACOBIAN = """
def _f_jacobian(t, y, u, theta, out, work):
    _inputs(y, u, work)
    _user_jacobian(t, work[2], work[3], theta, out)
"""

_JACOBIAN_BY_PRODUCTS = """
def _f_jacobian(t, y, u, theta, out, work):
    _inputs(y, u, work)
    for i in range(len(y)):
        work[7][:], work[5][:], work[6][:] = 0.0, 0.0, 0.0
        work[7][i] = 1.0
        _user_f_vjp(t, work[2], work[3], theta, work[7], out[i], work[5], work[6])
"""
"""Of a user without `jacobian`: row by row, by products with unit vectors."""


class CompiledODE(ODE):
    """``y' = f(t, y, u, theta)`` and its cost, from functions of one state that numba compiles.

    All arguments but t are arrays of one axis: `u` has the numbers of one block of every
    `TimeControl`, field after field, `theta` those of every `SharedControl`. Results go to the
    arrays at the end, which hold zeros before.

    Parameters
    ----------
    f : callable
        ``f(t, y, u, theta, out)``
    f_vjp : callable
        ``f_vjp(t, y, u, theta, lam, dy, du, dtheta)``, the products of the transposed derivatives
        with `lam`.
    jacobian : callable, optional
        ``jacobian(t, y, u, theta, out)``, f_y, shape (d, d); for implicit schemes, which
        otherwise make it of products with unit vectors.
    initial_state : sequence of d numbers
    controls : mapping of str to TimeControl or SharedControl
    running_cost : pair of callables, optional
        ``L(t, y, u, theta)`` and its gradient ``(t, y, u, theta, dy, du, dtheta)``.
    terminal_cost : pair of callables, optional
        ``psi(y, theta)`` and its gradient ``(y, theta, dy, dtheta)``; they need not be numba's.
    timed : bool
        Whether `f` or the running cost depends on t; where they do not, t is zero.

    Raises
    ------
    TypeError
        If a function is none, or a field is no TimeControl or SharedControl.
    ImportError
        If numba is not installed.

    Notes
    -----
    Functions that are not compiled yet are compiled by numba. What numba cannot compile is a
    ValueError in `problem`. Each process compiles anew.
    """

    def __init__(
        self,
        f: Callable[..., None],
        f_vjp: Callable[..., None],
        jacobian: Callable[..., None] | None = None,
        *,
        initial_state: Any,
        controls: Mapping[str, ControlField],
        running_cost: tuple[Callable[..., float], Callable[..., None]] | None = None,
        terminal_cost: tuple[Callable[..., float], Callable[..., None]] | None = None,
        timed: bool = True,
    ) -> None:
        self.initial_state = real_array("CompiledODE(initial_state=...)", initial_state)
        if self.initial_state.ndim != 1:
            raise ValueError(
                "`CompiledODE(initial_state=...)` must be a vector, got shape "
                f"{self.initial_state.shape}."
            )
        for name, field in controls.items():
            if not isinstance(field, (TimeControl, SharedControl)):
                raise TypeError(
                    f"`CompiledODE(controls=...)`: `{name}` must be a TimeControl or a "
                    f"SharedControl, got {type(field).__name__}."
                )
        self.controls, self.timed = dict(controls), timed
        given: dict[str, Any] = {"f": f, "f_vjp": f_vjp, "jacobian": jacobian}
        for name, pair in (("running", running_cost), ("terminal", terminal_cost)):
            if pair is not None and len(pair) != 2:
                raise TypeError(f"`CompiledODE({name}_cost=...)` must be a pair of functions.")
            functions: tuple[Any, Any] = pair or (None, None)
            given |= {name: functions[0], f"{name}_gradient": functions[1]}
        for name, one in given.items():
            if (one is not None and not callable(one)) or (one is None and name in ("f", "f_vjp")):
                raise TypeError(f"`CompiledODE({name}=...)` must be a function.")
        inner = compiler()
        inside = ("f", "f_vjp", "jacobian", "running", "running_gradient")
        self.functions: dict[str, Any] = {
            name: inner.jitted(one) if name in inside else one
            for name, one in given.items()
            if one is not None
        }
        self.has_jacobian = jacobian is not None

    @property
    def names(self) -> list[str]:
        """The time-dependent fields."""
        return [name for name, field in self.controls.items() if isinstance(field, TimeControl)]

    @property
    def shared(self) -> list[str]:
        """The shared fields."""
        return [name for name in self.controls if name not in self.names]

    def problem(
        self,
        scheme: str | Tableau = "rk4",
        quadrature: Literal["left", "right", "midpoint", "trapezoid"] = "trapezoid",
        regularisers: Sequence[Regulariser] = (),
        *,
        coarse: str | CoarseStep | None = None,
    ) -> Problem:
        """Return the problem of minimising the cost: see `SympyODE.problem`."""
        other = coarse_step("`CompiledODE.problem(coarse=...)`", coarse)
        stepper, adjoint = named_scheme(self, scheme, coarse=other)
        cost = RunningCost(_CompiledLagrangian(self), quadrature)
        parts = compiled_parts(self.code(), stepper, adjoint, cost, self.names, self.shared)
        return Problem(*parts, self.controls, regularisers)

    def code(self) -> ScalarCode:
        """Return the functions of states in plain numbers that call those of arrays."""
        d = len(self.initial_state)
        lengths = tuple(_size(self.controls[name]) for name in self.names)
        inputs, shared = sum(lengths), sum(_size(self.controls[name]) for name in self.shared)

        def each(count: int, pattern: str) -> str:
            parts = "".join(f"{pattern.replace('#', str(i))}, " for i in range(count))
            return f"({parts})"

        load = [f"work[2][{i}] = y[{i}]" for i in range(d)]
        load += [f"work[3][{i}] = u[{i}]" for i in range(inputs)]
        text = _CODE.format(
            load="\n    ".join(load),
            load_lam="\n    ".join(f"work[7][{i}] = lam[{i}]" for i in range(d)),
            jacobian=(_JACOBIAN if self.has_jacobian else _JACOBIAN_BY_PRODUCTS).strip(),
            of_y=each(d, "work[4][#]"),
            of_u=each(inputs, "work[5][#]"),
            weighted_y=each(d, "weight * work[4][#]"),
            weighted_u=each(inputs, "weight * work[5][#]"),
        )
        functions = {f"_user_{name}": one for name, one in self.functions.items()}
        none = compiler().jitted
        functions.setdefault("_user_running", none(lambda t, y, u, theta: 0.0))
        functions.setdefault(
            "_user_running_gradient", none(lambda t, y, u, theta, dy, du, dtheta: None)
        )
        sizes = (d, inputs, d, inputs, shared, d)
        workspace = ", ".join(f"numpy.zeros({n})" for n in sizes)
        return ScalarCode(text, d, lengths, shared, self.timed, workspace, functions)

    # One state after the other, for checks and for numbers of other kinds

    def f(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        out = np.zeros(y.shape, np.result_type(y, *u.values(), *theta.values()))
        for row, at in self._each(t, y, u, theta):
            self.functions["f"](*at, out[row])
        return out

    def f_vjp(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, lam: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        return self._slopes(self.functions["f_vjp"], t, y, u, theta, lam)

    def jacobian(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        if not self.has_jacobian:
            return super().jacobian(t, y, u, theta)
        out = np.zeros((*y.shape, y.shape[1]), y.dtype)
        for row, at in self._each(t, y, u, theta):
            self.functions["jacobian"](*at, out[row])
        return out

    def _each(self, t: Any, y: Any, u: Fields, theta: Fields) -> Any:
        """Yield the row and the arguments of each state of a batch."""
        kind = np.result_type(float, y, *u.values(), *theta.values())
        shared = flat([np.ravel(theta[name]) for name in self.shared], kind)
        for row in range(len(y)):
            block = flat([np.ravel(u[name][row]) for name in self.names], kind)
            yield row, (float(t[row]), y[row].astype(kind), block, shared)

    def _slopes(
        self, function: Any, t: Any, y: Any, u: Fields, theta: Fields, lam: Any = None
    ) -> tuple[np.ndarray, Fields, Fields]:
        """Return the products with `lam`, or a gradient, of a batch."""
        kind = np.result_type(float, y, *u.values(), *theta.values())
        du = {name: np.zeros(u[name].shape, kind) for name in self.names}
        dtheta = {name: np.zeros(np.shape(theta[name]), kind) for name in self.shared}
        dy = np.zeros(y.shape, kind)
        for row, at in self._each(t, y, u, theta):
            of_u, of_theta = np.zeros(len(at[2]), kind), np.zeros(len(at[3]), kind)
            seed = () if lam is None else (lam[row].astype(kind),)
            function(*at, *seed, dy[row], of_u, of_theta)
            _split(of_u, [block[row] for block in du.values()])
            _split(of_theta, list(dtheta.values()))
        return dy, du, dtheta


class _CompiledLagrangian(Lagrangian):
    """The cost of a `CompiledODE`, one state after the other."""

    def __init__(self, ode: CompiledODE) -> None:
        self.ode = ode

    def value(self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields) -> np.ndarray:
        running = self.ode.functions.get("running", lambda *at: 0.0)
        return np.array([running(*at) for _, at in self.ode._each(t, y, u, theta)])

    def gradient(
        self, t: np.ndarray, y: np.ndarray, u: Fields, theta: Fields, weight: np.ndarray
    ) -> tuple[np.ndarray, Fields, Fields]:
        gradient = self.ode.functions.get("running_gradient", lambda *at: None)
        dy, du, dtheta = np.zeros(y.shape), {}, {}
        for name in self.ode.names:
            du[name] = np.zeros(u[name].shape)
        for name in self.ode.shared:
            dtheta[name] = np.zeros(np.shape(theta[name]))
        for row in range(len(y)):
            one = slice(row, row + 1)
            blocks = {name: u[name][one] for name in self.ode.names}
            of = self.ode._slopes(gradient, t[one], y[one], blocks, theta)
            dy[row] = weight[row] * of[0][0]
            for name, values in of[1].items():
                du[name][row] = weight[row] * values[0]
            for name, values in of[2].items():
                dtheta[name] += weight[row] * values
        return dy, du, dtheta

    def terminal(self, y: Any, theta: Fields) -> float:
        if "terminal" not in self.ode.functions:
            return 0.0
        return self.ode.functions["terminal"](y, self._shared(theta))

    def terminal_derivative(self, y: Any, theta: Fields) -> tuple[Any, Fields]:
        if "terminal" not in self.ode.functions:
            return 0.0, {}
        shared, dy = self._shared(theta), np.zeros(y.shape, y.dtype)
        of_theta = np.zeros(shared.shape, shared.dtype)
        self.ode.functions["terminal_gradient"](y, shared, dy, of_theta)
        dtheta = {name: np.zeros(np.shape(theta[name]), shared.dtype) for name in self.ode.shared}
        _split(of_theta, list(dtheta.values()))
        return dy, dtheta

    def _shared(self, theta: Fields) -> np.ndarray:
        kind = np.result_type(float, *theta.values())
        return flat([np.ravel(theta[name]) for name in self.ode.shared], kind)


def flat(parts: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    """Return arrays one after the other in one, of a type."""
    return np.concatenate([np.zeros(0), *parts]).astype(kind)


def _split(numbers: np.ndarray, into: Sequence[np.ndarray]) -> None:
    """Add numbers to arrays, one after the other, in place."""
    first = 0
    for place in into:
        place += numbers[first : first + place.size].reshape(place.shape)
        first += place.size


def _size(field: ControlField) -> int:
    return int(np.prod(field.shape, dtype=int))
