"""One gradient of a deep network on a device: layer-parallel, and by loops over the layers.

    python benchmarks/run_all.py device [--quick]
    python benchmarks/device.py [--device cuda] [--quick]

N layers ``y + dt b(tanh(a(y)))`` of width 32, B examples, T = 2, cross entropy of a linear head.
All ways compute the loss and the gradient of all weights on the device, by these loops:

- `eager`: plain PyTorch, layer after layer, and `backward`;
- `compiled`: the same with the layer compiled by `torch.compile`;
- `CUDA graph`: the same, all kernels of loss and gradient recorded and launched as one graph;
- `CPU`: the fastest of plain PyTorch on the CPU (all threads) and of pint's sequential steps there;

and layer-parallel on two levels, m the power of 2 next to sqrt(N), where all intervals of a
relaxation are one batched launch, so that some 2 sqrt(N) launches follow each other instead of N:

- `lagged`: one update of `pint.Lagged`, a cycle of states and one of adjoints that continue those
  of the control before;
- `2 cycles`: two V-cycles of states and two of adjoints from there.

These are approximate: `lagged error` and `2 cycles error` are the relative errors of the gradient
where the weights have changed by 1 % since the solves before. Seconds, medians; the device has
finished its work. Without a GPU, or with ``--device cpu``, all of it runs on the CPU.

A second table has the relative error of a gradient on two levels by type of the states, N = 64.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from measuring import NOT_INSTALLED, Row, installed, options_of, plot_lines, print_table, save

import pint
from pint.equations import Cycles, Lagged

WIDTH, CLASSES = 32, 5
LAYERS, EXAMPLES = (32, 128, 512, 1024, 4096), (16, 256, 4096)
ON_CPU = (128, 1024), (16, 256)
"""Layers and examples by default without a GPU: the others take minutes and much memory there."""
LONG = 1.0
"""Ways that take so many seconds are timed once."""

OPTIONS = {
    "--device": {"default": None, "help": "cuda, cuda:1, cpu; by default a GPU if there is one"},
    "--dtype": {"default": "float32", "help": "of states: float32 or float64"},
    "--layers": {"type": int, "nargs": "+", "help": "values of N"},
    "--examples": {"type": int, "nargs": "+", "help": "values of B"},
    "--no-compile": {"action": "store_true", "help": "leave `torch.compile` out"},
}


class Case:
    """A network of N layers with B examples, with states on a device.

    Attributes
    ----------
    module : torch.nn.Module
        Plain PyTorch there, with the same weights.
    again : callable
        Makes the network with states of another type, tensors.
    """

    def __init__(self, layers: int, examples: int, device: str, dtype: str) -> None:
        import torch
        from module_kinds import Two
        from torch import nn

        from pint.torch import network

        torch.manual_seed(0)
        kind = getattr(torch, dtype)
        self.layers, self.device = layers, device
        x = torch.randn(examples, WIDTH, dtype=kind)
        labels = torch.arange(examples) % CLASSES
        parts: dict[str, Any] = {
            "head": nn.Linear(WIDTH, CLASSES).to(kind), "loss": nn.functional.cross_entropy,
            "inputs": x, "labels": labels, "layers": layers, "final_time": 2.0,
        }  # fmt: skip
        block = Two(WIDTH).to(kind)
        self.again = lambda dtype: network(block, **parts, device=device, dtype=dtype)
        # The CPU's own states are arrays of numpy.
        self.on_cpu = network(block, **parts)
        self.network = self.on_cpu if device == "cpu" else self.again(dtype)
        self.start = self.on_cpu.start(self.on_cpu.control_space(self.on_cpu.grid()))
        self.module = self.on_cpu.module(self.start).to(device)
        self.given, self.labels = x.to(device), labels.to(device)

    def plain(self) -> None:
        """Compute loss and gradient by plain PyTorch."""
        from torch.nn import functional

        self.module.zero_grad(set_to_none=True)
        functional.cross_entropy(self.module(self.given), self.labels).backward()

    def compiled(self) -> Callable[[], None]:
        """Return `plain` with the layer compiled; it is compiled in the first call."""
        import torch
        from torch.nn import functional

        size = 2.0 / self.layers
        # Else a few sizes count as too many ways to call the one function, and it is not compiled.
        torch._dynamo.reset()
        layer = torch.compile(
            lambda y, a, b, c, d: torch.add(
                y, functional.linear(torch.tanh(functional.linear(y, a, b)), c, d), alpha=size
            )
        )
        weights = [tuple(block.parameters()) for block in self.module.blocks]

        def call() -> None:
            self.module.zero_grad(set_to_none=True)
            y = self.given
            for own in weights:
                y = layer(y, *own)
            functional.cross_entropy(self.module.head(y), self.labels).backward()

        return call

    def graph(self) -> Callable[[], None]:
        """Return the replay of `plain`, recorded as one CUDA graph."""
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries prepare themselves in the first calls
                self.plain()
        torch.cuda.current_stream().wait_stream(side)
        self.module.zero_grad(set_to_none=True)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            self.plain()
        return recorded.replay

    def sequential(self) -> Callable[[], pint.Control]:
        """Return pint's sequential gradient on the CPU."""
        reduced = pint.ReducedFunctional(self.on_cpu, self.on_cpu.grid())
        return lambda: reduced.derivative(self.start)


class Parallel:
    """Solves on two levels that each continue those for a control that differs by 1 %."""

    def __init__(self, case: Case, how: Cycles | Lagged) -> None:
        steps = case.layers
        factor = 2 ** round(np.log2(steps) / 2)
        grid = case.network.grid(coarsening=factor, levels=2)
        self.reduced = pint.ReducedFunctional(case.network, grid, relaxation="F", guess="coarse")
        self.start, other = (
            pint.Control(self.reduced.controls, case.start.vector.copy()) for _ in range(2)
        )
        change = np.random.default_rng(0).standard_normal(other.vector.size)
        scale = np.linalg.norm(other.vector) / np.linalg.norm(change)
        other.vector[...] += 0.01 * scale * change
        self.controls, self.how = [self.start, other], how
        self.state, self.next = self.reduced.state.new(), self.reduced.state.new()
        self.adjoint = self.reduced.adjoint.new()
        first = Cycles(pint.Accuracy(4))
        self.reduced.state.solve(self.state, other, first)
        self.reduced.adjoint.solve(self.adjoint, self.state, first)
        self()
        self()  # `start` and `other` once each

    def __call__(self) -> pint.Control:
        """Return the derivative at the other control than before."""
        reduced, how = self.reduced, self.how
        if isinstance(how, Lagged):
            reduced.state.solve(self.next, self.controls[0], Lagged(1, None, self.state))
        else:
            reduced.state.copy_guess(self.state, self.next)
            reduced.state.solve(self.next, self.controls[0], how)
        self.state, self.next = self.next, self.state
        reduced.adjoint.solve(self.adjoint, self.state, how)
        self.controls.reverse()
        return reduced.derivative_of(self.state, self.adjoint)


def seconds(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Return the median time of calls, the first left out, with the device's work done."""
    import torch

    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
        if len(times) > 1 and times[-1] > LONG:
            break
    return statistics.median(times[1:])


def compared(layers: int, examples: int, options: Any) -> Row:
    """Return the row of one size; the gradients of all exact ways are compared first."""
    device, repeats = options.device, options.repeats
    case = Case(layers, examples, device, options.dtype)
    row: Row = {"N": layers, "B": examples}
    on_gpu = device.startswith("cuda")
    exact = case.sequential()
    reference = exact().vector
    ways: dict[str, Callable[[], Callable[[], Any]]] = {"eager": lambda: case.plain}
    if not options.no_compile:
        ways["compiled"] = case.compiled
    if on_gpu:
        ways["CUDA graph"] = case.graph
    for name, make in ways.items():
        call = make()
        row[name] = seconds(call, repeats, device)
        call()
        require_same(name, case, reference, options.dtype)
    cpu = case if device == "cpu" else Case(layers, examples, "cpu", options.dtype)
    loops = {"PyTorch": seconds(cpu.plain, repeats, "cpu"), "pint": seconds(exact, repeats, "cpu")}
    row["CPU"] = min(loops.values())
    for name, how in (("lagged", Lagged(1)), ("2 cycles", Cycles(pint.Accuracy(2)))):
        parallel = Parallel(case, how)
        row[name] = seconds(parallel, repeats, device)
        while parallel.controls[0] is not parallel.start:
            parallel()
        found = parallel().vector
        row[f"{name} error"] = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
    return row


def require_same(name: str, case: Case, reference: np.ndarray, dtype: str) -> None:
    """Raise AssertionError unless the weights' gradients are those of pint's sequential steps."""
    import torch

    control = pint.Control(case.start.space, reference)
    for block in ("a.weight", "b.bias"):
        found = torch.stack(
            [dict(one.named_parameters())[block].grad for one in case.module.blocks]
        )
        expected = control[f"block.{block}"]
        error = float(np.abs(found.cpu().numpy() - expected).max() / np.abs(expected).max())
        accuracy = 1e-10 if dtype == "float64" else 1e-3
        assert error < accuracy, f"gradient of {name}, {block}: {error}"


def by_type(device: str, examples: int) -> list[Row]:
    """Return the precision of each type, and the error of the gradient with states of it."""
    case = Case(64, examples, device, "float64")
    reference = case.sequential()().vector
    rows = []
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        made = case.again(dtype)
        reduced = pint.ReducedFunctional(made, made.grid(coarsening=8, levels=2))
        control = pint.Control(reduced.controls, case.start.vector)
        error = np.linalg.norm(reduced.derivative(control).vector - reference)
        rows.append(
            {
                "states": dtype,
                "rounding": reduced.space.precision,
                "tolerance": reduced.accuracy.relative,
                "gradient error": float(error / np.linalg.norm(reference)),
            }
        )
    return rows


def described(device: str) -> str:
    """Return the name of what is computed on."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{platform.processor() or platform.machine()}, {threads} threads: no GPU"


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Print the table and write it; return its rows."""
    options = options_of(__doc__, arguments, repeats=5, more=OPTIONS)
    if not installed("torch"):
        rows: list[Row] = [{"N": NOT_INSTALLED}]
        print_table("States on a device: no PyTorch", rows)
        return rows
    import torch

    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    layers, examples = ON_CPU if options.device == "cpu" else (LAYERS, EXAMPLES)
    sizes = [(n, b) for b in options.examples or examples for n in options.layers or layers]
    if options.quick:
        sizes = [(8, 4), (16, 4)]
        options.no_compile = True
    rows = [compared(*size, options) for size in sizes]
    title = f"Loss and gradient, seconds, {options.dtype}, on {described(options.device)}"
    print_table(title, rows)
    print_table("Error of the gradient by type of the states", by_type(options.device, sizes[0][1]))
    save("device", rows, options.output)
    fewest = sizes[0][1]
    names = [name for name in rows[0] if name not in ("N", "B") and "error" not in name]
    lines = {name: {row["N"]: row[name] for row in rows if row["B"] == fewest} for name in names}
    plot_lines(options.output / "device.png", f"B = {fewest}", "N", lines)
    return rows


if __name__ == "__main__":
    main()
