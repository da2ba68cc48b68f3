"""States that are PyTorch tensors: the problems of `strict_space`, written by a user of PyTorch.

`on_a_device` makes tensors of the CPU refuse what tensors of a device refuse.
"""

import sys
from contextlib import contextmanager

import numpy as np
import torch
from strict_space import predators
from torch.overrides import TorchFunctionMode

import pint

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
        self._space = pint.TorchSpace(2, **options)

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
    f"{dtype}{'-in-place' if in_place else ''}{'' if batched else '-loop'}": (
        batched, in_place, dtype
    )
    for dtype in ("float64", "float32")
    for in_place in (False, True)
    for batched in (True, False)
}  # fmt: skip


def pair(case, **options):
    """Return a problem of tensors, and the same problem of numpy arrays."""
    batched, in_place, dtype = CASES[case]
    tensors = tensor_predators(batched, in_place, dtype=dtype, **options)
    return tensors, predators(batched, array=np.array)


ACCURACY = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 0.06}
"""Of all numbers, relative to the largest of their kind: some roundings of the type."""
