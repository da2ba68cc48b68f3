"""Steps of an ODE in machine code, one by one or many after each other, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pint.grid import Runs, Steps
from pint.interface import Adjoint, Fields, TimeStepper
from pint.states import ArraySpace
from pint.steppers.chebyshev import RKC
from pint.steppers.compiled.machine import Machine
from pint.steppers.newton import warn_of_failure
from pint.steppers.runge_kutta import RungeKutta
from pint.steppers.sdirk import SDIRK
from pint.steppers.substeps import Substeps
from pint.steppers.theta import Theta

NO_NUMBERS = np.zeros(0)
NO_STATES = np.zeros((0, 0))
_FLOAT = np.dtype(float)


class CompiledStepper(TimeStepper):
    """The steps of a ready-made stepper, in machine code.

    Arguments that are not of float64, such as the complex numbers of `DifferenceAdjoint`, are
    left to that stepper.

    Parameters
    ----------
    stepper : RungeKutta, Theta, SDIRK, RKC, or Substeps of one of them
    machine : Machine
    names : sequence of str
        The time-dependent fields, in the order of the machine's code.
    shared : sequence of str
        The shared fields, likewise.
    coarse : CompiledStepper, optional
        Another step for coarse levels.
    """

    batched = True
    in_place = True

    def __init__(
        self,
        stepper: RungeKutta | Theta | SDIRK | RKC | Substeps,
        machine: Machine,
        names: Sequence[str],
        shared: Sequence[str],
        coarse: CompiledStepper | None = None,
    ) -> None:
        self.stepper, self.machine, self.coarse = stepper, machine, coarse
        # In sub-steps it is the step in them that belongs to an ODE.
        one: Any = stepper.stepper if isinstance(stepper, Substeps) else stepper
        self.ode, self._space = one.ode, one.space
        self.scheme = getattr(one, "scheme", "")
        self.fields = FlatFields(names, shared)
        self.uses_guess = stepper.uses_guess
        # To make stages again takes less time than to read them.
        self.kept_shape = stepper.kept_shape if isinstance(stepper, (Theta, SDIRK)) else None

    @property
    def space(self) -> ArraySpace:
        return self._space

    def initial(self, theta: Fields) -> Any:
        return self.stepper.initial(theta)

    def coarsen(self, level: int) -> CompiledStepper:
        return self if self.coarse is None else self.coarse

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, out: Any = None) -> Any:
        if not are_floats(y, u, theta):
            return _written(self.stepper.step(s, y, u, theta), out)
        out = np.empty(y.shape) if out is None else out
        self._advance(s, y, u, theta, out, None, (len(y), 1, 1, 1))
        return out

    def advance(
        self, s: Runs, start: Any, u: Fields, theta: Fields, out: Any, rhs: Any = None
    ) -> None:
        self._advance(s, start, u, theta, out, rhs, (s.count, s.length, s.apart, 1))

    def _advance(
        self,
        s: Any,
        start: Any,
        u: Fields,
        theta: Fields,
        out: Any,
        rhs: Any,
        shape: tuple[int, ...],
    ) -> None:
        if shape[0] == 0:
            return
        times, sizes = self.times(s)
        failed, first = self.machine.kernels["advance"](
            times,
            sizes,
            start,
            self.fields.blocks(u),
            self.fields.numbers(theta),
            out,
            NO_STATES if rhs is None else rhs,
            NO_STATES if s.guess is None or not self.uses_guess else s.guess,
            NO_STATES if s.kept is None else s.kept,
            *shape,
        )
        self.warn(s, failed, first)

    def times(self, s: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the times where steps begin, if they matter, and their sizes: one, or all."""
        times = s.t0.reshape(-1) if self.machine.code.timed else NO_NUMBERS
        # Backward Euler needs no t0, but the sizes of all steps where they differ.
        if s.size is None:
            return times, (s.t1 - s.t0).reshape(-1)
        return times, np.array([s.size]) if type(s.size) is float else s.size.reshape(-1)

    def warn(self, s: Any, failed: int, first: int) -> None:
        """Warn of steps whose equation Newton's method did not solve."""
        if failed:
            t0, t1 = np.reshape(s.t0, -1), np.reshape(s.t1, -1)
            size = t1[first] - t0[first]
            warn_of_failure(self.scheme, t0[first], size, s.level, failed, len(t0))


class CompiledAdjoint(Adjoint):
    """The transposes of a `CompiledStepper`; `adjoint` is that of its stepper.

    Parameters
    ----------
    stepper : CompiledStepper
    adjoint : Adjoint
    """

    in_place = True

    def __init__(self, stepper: CompiledStepper, adjoint: Adjoint) -> None:
        self.stepper, self.adjoint = stepper, adjoint
        self.ode = stepper.ode

    def vjp(
        self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None
    ) -> tuple[Any, Fields, Fields]:
        if not are_floats(y, u, {**theta, "lam": lam}):
            kept = s._replace(kept=None) if self.stepper.kept_shape is None else s
            dy, du, dtheta = self.adjoint.vjp(kept, y, u, theta, lam)
            return _written(dy, out), du, dtheta
        out = np.empty(y.shape) if out is None else out
        du = {name: np.zeros(block.shape) for name, block in u.items()}
        dtheta = {name: np.zeros(values.shape) for name, values in theta.items()}
        self._advance(s, y, u, theta, lam, out, None, (du, dtheta), (len(y), 1, 1, 1))
        return out, du, dtheta

    def step(self, s: Steps, y: Any, u: Fields, theta: Fields, lam: Any, out: Any = None) -> Any:
        if not are_floats(y, u, {**theta, "lam": lam}):
            return self.vjp(s, y, u, theta, lam, out)[0]
        out = np.empty(y.shape) if out is None else out
        self._advance(s, y, u, theta, lam, out, None, None, (len(y), 1, 1, 1))
        return out

    def advance(
        self,
        s: Runs,
        y: Any,
        u: Fields,
        theta: Fields,
        start: Any,
        out: Any,
        rhs: Any = None,
        into: tuple[Fields, Fields] | None = None,
    ) -> None:
        self._advance(s, y, u, theta, start, out, rhs, into, (s.count, s.length, s.apart, 1))

    def _advance(
        self,
        s: Any,
        y: Any,
        u: Fields,
        theta: Fields,
        start: Any,
        out: Any,
        rhs: Any,
        into: tuple[Fields, Fields] | None,
        shape: tuple[int, ...],
    ) -> None:
        if shape[0] == 0:
            return
        fields, (times, sizes) = self.stepper.fields, self.stepper.times(s)
        du, dtheta = ({}, {}) if into is None else into
        numbers = fields.numbers(theta)
        sums = np.zeros(len(numbers))
        failed, first = self.stepper.machine.kernels["transpose"](
            times,
            sizes,
            y,
            start,
            fields.blocks(u),
            numbers,
            out,
            NO_STATES if rhs is None else rhs,
            NO_STATES if s.guess is None or not self.stepper.uses_guess else s.guess,
            NO_STATES if s.kept is None else s.kept,
            fields.nowhere if into is None else fields.blocks(du),
            sums,
            into is not None,
            *shape,
        )
        fields.add_numbers(dtheta, sums)
        self.stepper.warn(s, failed, first)

    def initial_vjp(self, theta: Fields, lam0: Any) -> Fields:
        return self.adjoint.initial_vjp(theta, lam0)

    def coarsen(self, level: int) -> CompiledAdjoint:
        coarse = self.stepper.coarse
        return self if coarse is None else CompiledAdjoint(coarse, self.adjoint.coarsen(level))


class FlatFields:
    """Fields as the machine code takes them: a row for each block, one array of shared numbers."""

    def __init__(self, names: Sequence[str], shared: Sequence[str]) -> None:
        self.names, self.shared = tuple(names), tuple(shared)
        self.nowhere = (NO_STATES,) * max(len(self.names), 1)

    def blocks(self, fields: Fields) -> tuple[np.ndarray, ...]:
        """Return the blocks of each time-dependent field, shape (B, n): views."""
        found = [fields[name] for name in self.names]
        # Rows lie together, so that to reshape them copies nothing.
        flat = [one if one.ndim == 2 else one.reshape(len(one), -1) for one in found]
        return tuple(flat) or (NO_STATES,)

    def numbers(self, fields: Fields) -> np.ndarray:
        """Return all numbers of the shared fields, one field after the other."""
        if not self.shared:
            return NO_NUMBERS
        return np.concatenate([np.ravel(fields[name]) for name in self.shared])

    def add_numbers(self, fields: Fields, numbers: np.ndarray) -> None:
        """Add numbers as `numbers` returns them to the fields that there are, in place."""
        first = 0
        for name in self.shared if fields else ():
            place = fields[name]
            place += numbers[first : first + place.size].reshape(place.shape)
            first += place.size


def _written(result: Any, out: Any) -> Any:
    """Return a result, in `out` if there is one."""
    if out is None:
        return result
    out[...] = result
    return out


def are_floats(y: Any, u: Fields, theta: Fields) -> bool:
    """Return whether all arguments are arrays of float64."""
    return (
        y.dtype == _FLOAT
        and all(block.dtype == _FLOAT for block in u.values())
        and all(values.dtype == _FLOAT for values in theta.values())
    )
