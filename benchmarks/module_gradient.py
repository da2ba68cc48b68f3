"""One gradient of a network of PyTorch modules: by sequential steps, and by plain PyTorch.

python benchmarks/module_gradient.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

import pint
from pint.torch import network

CASES = ((200, 32), (200, 1024), (5000, 32), (5000, 256))
WIDTH = 32
REPEATS = 7


class Two(nn.Module):
    """Two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return the rate of change."""
        return self.b(torch.tanh(self.a(y)))


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for examples, layers in CASES:
        x = torch.randn(examples, WIDTH, dtype=torch.float64)
        labels = torch.arange(examples) % 5
        made = network(
            Two().double(), head=nn.Linear(WIDTH, 5).double(), loss=functional.cross_entropy,
            inputs=x, labels=labels, layers=layers, final_time=2.0,
        )  # fmt: skip
        reduced = pint.ReducedFunctional(made, made.grid())
        control = made.start(reduced.controls)
        module = made.module(control)

        def plain(module: nn.Module = module, x: torch.Tensor = x, labels=labels) -> None:
            module.zero_grad()
            functional.cross_entropy(module(x), labels).backward()

        def ours(reduced=reduced, control=control) -> None:
            reduced.value_and_gradient(control)

        both: tuple[list[float], list[float]] = ([], [])
        for _ in range(REPEATS + 1):  # the first one does not count
            for times, way in zip(both, (plain, ours), strict=True):
                times.append(seconds(way))
        a, b = (1e3 * statistics.median(times[1:]) for times in both)
        print(f"| {examples} | {layers} | {a:.3g} | {b:.3g} | {b / a:.2f} |")


if __name__ == "__main__":
    main()
