"""States that are no numpy arrays: whatever the library does to blocks, it must do without numpy.

A block refuses numpy functions, negative and zero steps, and indexing by lists, as an array on
a device does; it has no strides.
"""

import numpy as np

import pint


class StrictBlock:
    """An array that offers indexing, arithmetic and its shape, and nothing else.

    Operands of arithmetic are numbers, numpy arrays and strict blocks, whose shapes broadcast.
    `host` is for user code: the library does not know it.
    """

    __array_ufunc__ = None  # numpy's operators leave arithmetic to this class

    def __init__(self, values):
        self._values = values

    def __array__(self, *arguments, **options):
        raise TypeError("a strict block is no numpy array")

    def host(self):
        """Return a copy as a numpy array."""
        return self._values.copy()

    @property
    def shape(self):
        return self._values.shape

    @property
    def ndim(self):
        return self._values.ndim

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    @staticmethod
    def _checked(key):
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, slice):
                numbers = [one for one in (part.start, part.stop, part.step) if one is not None]
                if part.step is not None and part.step < 1:
                    raise ValueError(f"a strict block takes no step {part.step}")
                if not all(isinstance(one, (int, np.integer)) for one in numbers):
                    raise TypeError(f"a strict block is not indexed by {part}")
            elif part is not Ellipsis and (
                isinstance(part, bool) or not isinstance(part, (int, np.integer))
            ):
                raise TypeError(f"a strict block is not indexed by {type(part).__name__}")
        return key

    @staticmethod
    def _operand(other):
        return other._values if isinstance(other, StrictBlock) else other

    def __getitem__(self, key):
        part = self._values[self._checked(key)]
        return StrictBlock(part) if isinstance(part, np.ndarray) else float(part)

    def __setitem__(self, key, value):
        self._values[self._checked(key)] = self._operand(value)

    def __add__(self, other):
        return StrictBlock(self._values + self._operand(other))

    __radd__ = __add__

    def __sub__(self, other):
        return StrictBlock(self._values - self._operand(other))

    def __rsub__(self, other):
        return StrictBlock(self._operand(other) - self._values)

    def __mul__(self, other):
        return StrictBlock(self._values * self._operand(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return StrictBlock(self._values / self._operand(other))

    def __iadd__(self, other):
        self._values += self._operand(other)
        return self

    def __isub__(self, other):
        self._values -= self._operand(other)
        return self

    def __imul__(self, other):
        self._values *= self._operand(other)
        return self

    def __itruediv__(self, other):
        self._values /= self._operand(other)
        return self

    def __neg__(self):
        return StrictBlock(-self._values)

    def sum(self):
        return float(self._values.sum())

    def fill(self, value):
        self._values.fill(value)


def strict(values):
    """Return a strict block with a copy of some values."""
    return StrictBlock(np.array(values, dtype=float))


class StrictSpace(pint.StateSpace):
    """Strict states of one shape, with the Euclidean norm."""

    def __init__(self, *shape):
        self.shape = shape

    def allocate(self, count):
        return strict(np.zeros((count, *self.shape)))

    def squared_norm(self, block):
        return (block * block).sum()

    def pair(self, a, b):
        return (a * b).sum()

    def as_array(self, block):
        return block.host()

    @property
    def state_bytes(self):
        return 8 * int(np.prod(self.shape))


# A problem: predator and prey, y0' = y0 - y0 y1 - u0 y0, y1' = -theta y1 + y0 y1 - u1 y1


class Predators(pint.TimeStepper):
    """Explicit Euler steps, y_0 = (1, theta_0); of strict states, or of numpy arrays."""

    space = None

    def __init__(self, batched=True, array=strict):
        self.batched, self.array = batched, array
        self.space = StrictSpace(2) if array is strict else pint.ArraySpace(2)

    def initial(self, theta):
        return self.array([1.0, theta["theta"][0]])

    def rates(self, y, u, theta):
        """Return the rates of growth, of each step of a batch."""
        u = u["u"]
        prey = 1.0 - y[..., 1] - u[..., 0]
        return prey, y[..., 0] - theta["theta"][0] - u[..., 1]

    def sizes(self, s):
        """Return the step sizes without the axis of the state."""
        return s.dt[:, 0] if self.batched else s.dt

    def step(self, s, y, u, theta):
        dt, new = self.sizes(s), 1.0 * y
        for i, rate in enumerate(self.rates(y, u, theta)):
            new[..., i] += dt * (rate * y[..., i])
        return new


class PredatorsAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper = stepper

    def vjp(self, s, y, u, theta, lam):
        dt, new = self.stepper.sizes(s), 1.0 * lam
        prey, predators = self.stepper.rates(y, u, theta)
        p, q = (dt * lam[..., i] for i in range(2))
        new[..., 0] += prey * p + y[..., 1] * q
        new[..., 1] += predators * q - y[..., 0] * p
        du = [_numbers(-(y[..., i] * slope)) for i, slope in enumerate((p, q))]
        dtheta = -np.sum(_numbers(y[..., 1] * q))
        return new, {"u": np.stack(du, axis=-1)}, {"theta": np.array([dtheta])}

    def initial_vjp(self, theta, lam0):
        return {"theta": np.array([lam0[1]])}


class PredatorsInPlace(Predators):
    """Writes in place, and keeps the rates."""

    in_place = True
    kept_shape = (2,)

    def step(self, s, y, u, theta, out=None):
        out = 0.0 * y if out is None else out
        dt = self.sizes(s)
        rates = self.rates(y, u, theta)
        for i, rate in enumerate(rates):
            out[..., i] = y[..., i] + dt * (rate * y[..., i])
            if s.kept is not None:
                s.kept[..., i] = _numbers(rate)
        return out


class PredatorsInPlaceAdjoint(PredatorsAdjoint):
    in_place = True

    def vjp(self, s, y, u, theta, lam, out=None):
        dt, (p, q) = self.stepper.sizes(s), (lam[..., 0], lam[..., 1])
        out = 0.0 * y if out is None else out
        if s.kept is None:
            prey, predators = self.stepper.rates(y, u, theta)
        else:
            prey, predators = s.kept[..., 0], s.kept[..., 1]
        out[..., 0] = p + dt * (prey * p + y[..., 1] * q)
        out[..., 1] = q + dt * (predators * q - y[..., 0] * p)
        du = [_numbers(-(dt * (y[..., i] * lam[..., i]))) for i in range(2)]
        dtheta = -np.sum(_numbers(dt * (y[..., 1] * q)))
        return out, {"u": np.stack(du, axis=-1)}, {"theta": np.array([dtheta])}


class Catch(pint.Objective):
    """``l = dt (|y1|^2 / 2 + |u|^2 / 4)``, ``psi = |y_N - 1|^2``; l does not depend on y0."""

    def __init__(self, batched=True):
        self.batched = batched

    def step_cost(self, s, y0, y1, u, theta):
        dt = s.dt[:, 0] if self.batched else s.dt
        size = 0.5 * (y1[..., 0] * y1[..., 0] + y1[..., 1] * y1[..., 1])
        return _numbers(dt * size) + 0.25 * dt * (u["u"] ** 2).sum(axis=-1)

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {"u": 0.5 * s.dt * u["u"]}, {}

    def terminal(self, y, theta):
        return ((y - 1.0) * (y - 1.0)).sum()

    def terminal_derivative(self, y, theta):
        return 2.0 * (y - 1.0), {}


def _numbers(values):
    """Return a strict block as a numpy array, a number as it is."""
    return values.host() if isinstance(values, StrictBlock) else values


ADJOINTS = {Predators: PredatorsAdjoint, PredatorsInPlace: PredatorsInPlaceAdjoint}


def predators(batched=True, stepper=Predators, array=strict):
    """Return a problem with the fields u (time, 2) and theta (shared, 1).

    `array` is `strict`, or numpy's for the same problem with states that are numpy arrays.
    """
    step = stepper(batched, array)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(1)}
    regularisers = [pint.Tikhonov(0.1, ["u", "theta"])]
    return pint.Problem(step, ADJOINTS[stepper](step), Catch(batched), fields, regularisers)
