"""One convolutional residual step: framework and PyTorch.

    y_1 = y_0 + dt tanh(K * y_0 + b),   k x k kernels on a batch of images of some channels

    python benchmarks/run_all.py convolution_step [--quick]

Compared on one thread, in float64, are

- `pint`: ``ResidualLayers.step`` of a `problems.convolution.ConvolutionalNetwork`, and after it
  ``ResidualLayersAdjoint.vjp`` with what the step has kept, both in place: what a sweep calls for
  a layer;
- `torch`: PyTorch eager, ``conv2d`` without gradients, and with ``autograd``, with respect to y_0,
  K and b. Of its layouts (examples, channels, height, width) and channels last, the faster one.

States and derivatives agree to 1e-12, which is checked first. Target: pint takes at most twice as
long as PyTorch for 64 images of 4 x 28 x 28.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import (
    NOT_INSTALLED,
    Row,
    installed,
    medians,
    options_of,
    plot_bars,
    print_table,
    save,
)

import pint
from problems.convolution import ConvolutionalNetwork
from problems.resnet import ResidualLayersAdjoint

DT = 0.1
TARGETED, TARGET = (64, 4, 28, 3), 2.0
SIZES = (TARGETED, (64, 1, 28, 3), (64, 16, 28, 3), (8, 4, 28, 3), (64, 4, 28, 5))
QUICK = ((3, 2, 6, 3), (2, 1, 5, 5))
PASSES = ("forward", "forward + backward")


@dataclass(frozen=True)
class Case:
    """Arrays in PyTorch's layout: images (B, channels, size, size), kernels, biases, adjoints."""

    y: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    lam: np.ndarray


def make_case(examples: int, channels: int, size: int, kernel: int) -> Case:
    random = np.random.default_rng(0)
    shape = (examples, channels, size, size)
    return Case(
        random.standard_normal(shape),
        random.standard_normal((channels, channels, kernel, kernel)) / kernel,
        random.standard_normal(channels),
        random.standard_normal(shape),
    )


def examples_last(images: np.ndarray) -> np.ndarray:
    """Return a batch of one step."""
    return np.ascontiguousarray(np.moveaxis(images, 0, -1))[None]


class Framework:
    """The step by `pint`; `results` are those of the last call."""

    def __init__(self, case: Case) -> None:
        channels, size = case.y.shape[1:3]
        kernel = case.weight.shape[-1]
        network = ConvolutionalNetwork(
            (channels, size, size), channels, 2, kernel, opening="replicate"
        )
        self.stepper = network.stepper(case.y)
        self.adjoint = ResidualLayersAdjoint(self.stepper)
        self.y, self.lam = examples_last(case.y), examples_last(case.lam)
        self.u = {"weight": case.weight[None], "bias": case.bias[None]}
        self.out, self.transposed, kept = (np.empty_like(self.y) for _ in range(3))
        dt = pint.TimeGrid.uniform(DT, 1).batch(0, range(1), self.y.ndim - 1)
        self.forward_only, self.keeping = dt, dt._replace(kept=kept)

    def forward(self) -> None:
        self.stepper.step(self.forward_only, self.y, self.u, {}, out=self.out)

    def both(self) -> None:
        self.stepper.step(self.keeping, self.y, self.u, {}, out=self.out)
        _, self.derivative, _ = self.adjoint.vjp(
            self.keeping, self.y, self.u, {}, self.lam, out=self.transposed
        )

    def results(self) -> list[np.ndarray]:
        """Return y_1 of the forward pass, and y_1, lambda_0 and derivatives of both."""
        self.forward()
        first = np.moveaxis(self.out[0], -1, 0).copy()
        self.both()
        states = [np.moveaxis(block[0], -1, 0) for block in (self.out, self.transposed)]
        return [first, *states, self.derivative["weight"][0], self.derivative["bias"][0]]


class Torch:
    """The step by PyTorch."""

    def __init__(self, case: Case, channels_last: bool) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def tensor(values: np.ndarray) -> Any:
            made = torch.tensor(values)
            return made.to(memory_format=layout).clone() if values.ndim == 4 else made

        self.lam = tensor(case.lam)
        self.arguments = [tensor(part) for part in (case.y, case.weight, case.bias)]
        for argument in self.arguments:
            argument.requires_grad_(True)

    def step(self) -> Any:
        y, weight, bias = self.arguments
        convolved = self.torch.nn.functional.conv2d(y, weight, bias, padding="same")
        return y + DT * self.torch.tanh(convolved)

    def forward(self) -> Any:
        with self.torch.no_grad():
            return self.step()

    def both(self) -> Any:
        out = self.step()
        return out.detach(), *self.torch.autograd.grad(out, self.arguments, self.lam)

    def results(self) -> list[np.ndarray]:
        return [np.array(part.tolist()) for part in (self.forward(), *self.both())]


def check(results: dict[str, list[np.ndarray]]) -> None:
    """Raise AssertionError unless states and derivatives agree to 1e-12."""
    names = ("state", "state of both", "adjoint", "weight", "bias")
    for program, arrays in results.items():
        for name, one, other in zip(names, results["pint"], arrays, strict=True):
            off = float(np.abs(one - other).max() / np.abs(one).max())
            assert off <= 1e-12, f"{name} of {program}: differs by {off:.1e}"


def measure(size: tuple[int, int, int, int], repeats: int) -> list[Row]:
    """Return the two rows of a size, a step forward and both ways."""
    case = make_case(*size)
    programs: dict[str, Any] = {"pint": Framework(case)}
    if installed("torch"):
        programs |= {"torch": Torch(case, False), "channels last": Torch(case, True)}
    check({name: program.results() for name, program in programs.items()})
    rows = []
    for way, name in zip(PASSES, ("forward", "both"), strict=True):
        functions: dict[str, Callable[[], Any]] = {
            program: getattr(made, name) for program, made in programs.items()
        }
        seconds = medians(functions, repeats)
        examples, channels, pixels, kernel = size
        row: Row = {"images": f"{examples} x {channels} x {pixels} x {pixels}"}
        row |= {"kernel": f"{kernel} x {kernel}", "pass": way, "pint (ms)": 1e3 * seconds["pint"]}
        if "torch" in seconds:
            torch = min(seconds["torch"], seconds["channels last"])
            row |= {"torch (ms)": 1e3 * torch, "pint/torch": seconds["pint"] / torch}
        else:
            row |= {"torch (ms)": NOT_INSTALLED, "pint/torch": ""}
        rows.append(row | {"target": TARGET if size == TARGETED else ""})
    return rows


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table, and write it with a picture; return its rows."""
    options = options_of(__doc__, arguments, repeats=30)
    sizes = QUICK if options.quick else SIZES
    rows = [row for size in sizes for row in measure(size, options.repeats)]
    print_table("A convolutional residual step (milliseconds, medians)", rows)
    save("convolution_step", rows, options.output)
    bars = {
        f"{row['images']}, {row['kernel']}, {row['pass']}: {name}": row[f"{name} (ms)"] / 1e3
        for row in rows
        for name in ("pint", "torch")
        if row[f"{name} (ms)"] != NOT_INSTALLED
    }
    plot_bars(options.output / "convolution_step.png", "A convolutional step", bars)
    return rows


if __name__ == "__main__":
    main()
