"""States that are PyTorch tensors: the problems of `strict_space`, written by a user of PyTorch.

Tests compute on a GPU where PyTorch has one. `on_a_device` makes tensors of the CPU refuse what
tensors of a device refuse.
"""

import sys
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from strict_space import predators
from torch.overrides import TorchFunctionMode

import pint
from pint.equations import Cycles, Lagged, March, Relax
from pint.states.torch import TorchSpace

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"

TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist}


class _Refusing(TorchFunctionMode):
    """Tensors become arrays of numpy, and meet them, in `pint.states.torch` alone."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        caller = sys._getframe(1).f_globals["__name__"]
        if caller != "pint.states.torch":
            if function in TO_NUMPY:
                raise TypeError(f"{caller} makes an array of a tensor")
            # What makes a new tensor may copy an array.
            arrays = any(isinstance(one, np.ndarray) for one in args)
            if arrays and any(isinstance(one, torch.Tensor) for one in args):
                raise TypeError(f"{caller} lets a tensor meet an array, in {function}")
        return function(*args, **(kwargs or {}))


class _OnOneDevice(TorchFunctionMode):
    """No operation has tensors of two devices, but for copies and indices."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        flat, _ = torch.utils._pytree.tree_flatten((args, kwargs))
        tensors = [one for one in flat if isinstance(one, torch.Tensor) and one.ndim]
        devices = {one.device.type for one in tensors}
        if len(devices) > 1 and function not in BETWEEN_DEVICES:
            raise RuntimeError(f"{function} has tensors of the devices {devices}")
        return function(*args, **(kwargs or {}))


BETWEEN_DEVICES = {
    torch.Tensor.copy_,
    torch.Tensor.__getitem__,
    torch.Tensor.__setitem__,
    torch._has_compatible_shallow_copy_type,  # asked for by `Module.to`
}


@contextmanager
def without_numbers():
    """Let tensors of the device 'meta', which have no numbers, have norms and values of 1.

    Like tensors of a GPU they do not meet those of the CPU, and have no way to numpy.
    """
    space, one = TorchSpace, lambda *blocks: 1.0
    with (
        mock.patch.object(space, "squared_norm", one),
        mock.patch.object(space, "pair", one),
        mock.patch.object(space, "as_array", lambda self, block: np.ones(tuple(block.shape))),
        mock.patch.object(torch.Tensor, "__float__", one),
        mock.patch.object(torch, "equal", lambda a, b: True),
        _OnOneDevice(),
    ):
        yield


def every_solve(rf, control):
    """Solve state and adjoint in all ways; return the number of derivatives."""
    state, adjoint = rf.state.new(), rf.adjoint.new()
    for how in (Cycles(pint.Accuracy(2)), Lagged(2), Relax(), March()):
        rf.state.solve(state, control, how)
        rf.objective(state)
        rf.adjoint.solve(adjoint, state, how)
        rf.state.correction(state, adjoint)
        assert state.points.device.type == adjoint.points.device.type == "meta"
    return rf.derivative_of(state, adjoint).vector.size


@contextmanager
def on_a_device():
    """Let tensors behave as if they were not in the memory of numpy."""
    with _Refusing():
        yield


class Predators(pint.TimeStepper):
    """Explicit Euler steps for y0' = y0 (1 - y1 - u0), y1' = y1 (y0 - theta - u1)."""

    def __init__(self, batched=True, in_place=False, **options):
        self.batched, self.in_place = batched, in_place
        self.kept_shape = (2,) if in_place else None
        self._space = pint.TorchSpace(2, **{"device": DEVICE, **options})

    @property
    def space(self):
        return self._space

    def initial(self, theta):
        return torch.cat([torch.ones_like(theta["theta"]), theta["theta"]])

    def rates(self, y, u, theta):
        u = u["u"]
        return torch.stack([1.0 - y[..., 1], y[..., 0] - theta["theta"][0]], -1) - u

    def step(self, s, y, u, theta, out=None):
        rates = self.rates(y, u, theta)
        if s.kept is not None:
            s.kept[...] = rates
        new = y + s.dt * (rates * y)
        if out is None:
            return new
        return out.copy_(new)


class PredatorsAdjoint(pint.Adjoint):
    def __init__(self, stepper):
        self.stepper, self.in_place = stepper, stepper.in_place

    def vjp(self, s, y, u, theta, lam, out=None):
        rates = self.stepper.rates(y, u, theta) if s.kept is None else s.kept
        slope = s.dt * lam * y
        new = lam + s.dt * rates * lam + torch.stack([slope[..., 1], -slope[..., 0]], -1)
        dtheta = {"theta": -slope[..., 1].sum().reshape(1)}
        return (new if out is None else out.copy_(new)), {"u": -slope}, dtheta

    def initial_vjp(self, theta, lam0):
        return {"theta": lam0[1:]}


class Catch(pint.Objective):
    """``l = dt (|y1|^2 / 2 + |u|^2 / 4)``, ``psi = |y_N - 1|^2``."""

    def step_cost(self, s, y0, y1, u, theta):
        dt = s.dt[..., 0] if isinstance(s.dt, torch.Tensor) else s.dt
        return dt * (0.5 * (y1**2).sum(-1) + 0.25 * (u["u"] ** 2).sum(-1))

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * y1, {"u": 0.5 * s.dt * u["u"]}, {}

    def terminal(self, y, theta):
        return ((y - 1.0) ** 2).sum()

    def terminal_derivative(self, y, theta):
        return 2.0 * (y - 1.0), {}


def tensor_predators(batched=True, in_place=False, **options):
    """Return the problem; options are those of `pint.TorchSpace`."""
    step = Predators(batched, in_place, **options)
    fields = {"u": pint.TimeControl(2), "theta": pint.SharedControl(1)}
    regularisers = [pint.Tikhonov(0.1, ["u", "theta"])]
    return pint.Problem(step, PredatorsAdjoint(step), Catch(), fields, regularisers)


CASES = {
    "float64": (True, False, "float64"),
    "float64-in-place-loop": (False, True, "float64"),
    "float32-in-place": (True, True, "float32"),
    "float32-loop": (False, False, "float32"),
}
"""Whether steps are batched and in place, and the type."""


def pair(case, **options):
    """Return a problem of tensors, and the same problem of numpy arrays."""
    batched, in_place, dtype = CASES[case]
    tensors = tensor_predators(batched, in_place, dtype=dtype, **options)
    return tensors, predators(batched, array=np.array)


ACCURACY = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 0.06}
"""Of all numbers, relative to the largest of their kind: some roundings of the type."""
