"""Train a residual network of PyTorch modules, its layers in parallel.

Layer n is ``y + dt block(y; weights_n)``. The block is one of `problems.modules`, or your own: with
``--module FILE.py:NAME``, NAME(shape, classes, width) returns opening, block and head, three
`torch.nn.Module`, for examples of a shape.

    python examples/train_module.py --module attention --data digits
    mpiexec -n 2 python examples/train_module.py --module dense --layers 256 --optimiser lbfgs
    python examples/train_module.py --module my_layers.py:gated --data my_data.npz
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arguments import (
    Code,
    ModulesOutput,
    Numbers,
    Parser,
    checkpoint_options,
    fill_defaults,
    integer,
    is_installed,
    make_checkpoint,
    make_grid,
    number,
    run,
    solver_options,
    summary_of,
    write_all,
    write_json,
)
from train_resnet import make_functional, print_summary, training_method
from training_data import data_options, load_data
from training_history import Progress, load_history
from training_options import (
    DEFAULT_METHOD,
    OPTIMISERS,
    batch_options,
    optimiser_options,
    output_options,
)

import pint
from pint.comm import on_root
from pint.report.files import write_atomically
from problems.data import Dataset

BUILT_IN = ("attention", "convolutional", "dense")
ADAM = {**OPTIMISERS["adam"], "epochs": 14, "learning_rate": 0.005}
"""Defaults of Adam, which also follows a cosine unless `--schedule` or `--decay` is given."""
MEANINGLESS = ("--data-ranks", "--metric", "--gamma")
"""Options of `train_resnet.py` that a network of modules does not have."""


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("train_module.py", description="Train a network of PyTorch modules.")
    new.comm = comm
    option = new.add_argument_group("network and data").add_argument
    data_options(option)
    option("--module", type=module_name, default="attention", metavar="NAME|FILE.py:NAME",
           help=f"{', '.join(BUILT_IN)}, or a maker of opening, block and head")  # fmt: skip
    option("--layers", type=integer(1), default=16, metavar="N", help="of the block")
    option("--width", type=integer(1), default=16, metavar="C", help="features of a state")
    option("--final-time", type=number(positive=True), default=2.0, metavar="T", help="N dt")
    option("--precision", choices=["float32", "float64", "bfloat16"], default="float32",
           help="of states; bfloat16 with weights of float32")  # fmt: skip
    option("--device", metavar="NAME", help="of states, such as cuda (default: arrays of numpy)")
    option("--seed", type=integer(0), default=0, help="of data, batches and first weights")
    option = solver_options(new, method=None, note=DEFAULT_METHOD)
    option("--cycle", choices=["V", "F"], default="V", help="kind of multigrid cycle")
    option("--tolerance", type=number(), metavar="R", help="residual that ends a solve")
    option("--initial-guess", choices=["zero", "constant", "nested"], default="nested",
           help="of the very first solve")  # fmt: skip
    optimiser_options(_some(new.add_argument_group("optimisation").add_argument))
    batch_options(new.add_argument_group("mini-batches (sgd, adam)").add_argument)
    checkpoint_options(new)
    output_options(new.add_argument_group("output").add_argument, ModulesOutput)
    new.add_argument("--json", type=Numbers, metavar="FILE.json", help="the numbers of the result")
    new.set_defaults(optimiser="adam", data="digits", data_ranks=1)
    return new


def _some(option: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that adds options, but for those without a meaning here."""

    def add(name: str, **settings: Any) -> None:
        if not name.startswith(MEANINGLESS):
            option(name, **settings)

    return add


def module_name(text: str) -> str:
    """Argument type: the name of a network, or ``FILE.py:NAME``."""
    return text if text in BUILT_IN else Code(text)


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the training starts."""

    comm: Any
    data: Dataset
    network: Any
    functional: pint.ReducedFunctional
    control: pint.Control
    tensors: dict[str, Any]
    rows: list[dict[str, Any]]

    def accuracies(self, control: pint.Control, state: Any) -> tuple[float, float]:
        """Return training and validation accuracy in per cent. Collective."""
        import torch

        module, found = self.network.module(control).eval(), []
        with torch.no_grad():
            for part in ("", "_test"):
                classes = module(self.tensors[f"x{part}"]).argmax(dim=1).numpy()
                labels = getattr(self.data, f"labels{part}").argmax(axis=1)
                found.append(100.0 * float((classes == labels).mean()))
        return found[0], found[1]


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make network and first weights; ValueError names the option that does not fit."""
    if not is_installed("torch"):
        raise ValueError("argument --module: needs PyTorch: pip install torch")
    import torch

    from pint.torch import network

    if options.optimiser == "adam" and options.schedule is None and options.decay is None:
        options.schedule = "cosine"
    fill_defaults(options, options.optimiser, {**OPTIMISERS, "adam": ADAM})
    if options.line_search is None:
        options.line_search = "wolfe" if options.step is None else "armijo"
    rows = on_root(comm, lambda: load_history(options))
    data = on_root(comm, lambda: load_data(options, flat=False))
    torch.set_num_threads(1)
    half = options.precision == "bfloat16"
    own = {"device": options.device or "cpu", "dtype": "bfloat16"} if half else {}
    if options.device is not None:
        own["device"] = options.device
        try:
            pint.TorchSpace(1, options.device)
        except (TypeError, ValueError) as error:
            raise ValueError(f"argument --device: {error}") from None
    precision = "float32" if half else options.precision
    dtype = getattr(torch, precision)
    torch.manual_seed(options.seed)
    opening, block, head = _made(options, data)
    tensors = {
        part: torch.from_numpy(getattr(data, part).astype(precision)) for part in ("x", "x_test")
    }
    batch = None
    if options.optimiser != "lbfgs":
        batch = options.batch or min(100, len(data.x))
        if batch > len(data.x):
            raise ValueError(f"argument --batch: there are {len(data.x)} examples")
    try:
        made = network(
            block.to(dtype), opening=opening.to(dtype), head=head.to(dtype),
            loss=torch.nn.functional.cross_entropy, inputs=tensors["x"],
            labels=torch.from_numpy(np.asarray(data.labels.argmax(axis=1))),
            layers=options.layers, final_time=options.final_time, batch_size=batch, **own,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ValueError(f"argument --module: {error}") from None
    grid = make_grid(options, options.final_time, options.layers, comm, "--layers")
    solves = argparse.Namespace(**vars(options))
    if options.tolerance is None and options.precision != "float64":
        solves.tolerance = 0.0625 if half else 1e-6  # rounding keeps residuals above less
    functional = make_functional(solves, made, grid)
    control = made.start(functional.controls, options.seed)
    return Setup(comm, data, made, functional, control, tensors, rows)


def _made(options: argparse.Namespace, data: Dataset) -> Any:
    """Return opening, block and head of the options; ValueError says what is wrong."""
    import torch

    shape, classes = tuple(data.x.shape[1:]), data.labels.shape[1]
    if options.module in BUILT_IN:
        from problems.modules import MAKERS

        maker: Any = MAKERS[options.module]
    else:
        maker = _own(options.module)
    try:
        parts = tuple(maker(shape, classes, options.width))
    except Exception as error:  # what the user's file does is its own affair
        raise ValueError(f"argument --module: {options.module}: {error}") from None
    if len(parts) != 3 or not all(isinstance(part, torch.nn.Module) for part in parts):
        raise ValueError(
            f"argument --module: {options.module} must return opening, block and head, three "
            "`torch.nn.Module`"
        )
    return parts


def _own(name: str) -> Any:
    """Return the maker in a user's file."""
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py") or not attribute:
        raise ValueError(f"argument --module: {', '.join(BUILT_IN)} or FILE.py:NAME, not {name!r}")
    if not Path(path).is_file():
        raise ValueError(f"argument --module: there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
        return getattr(found, attribute)
    except Exception as error:  # what the user's file does is its own affair
        raise ValueError(f"argument --module: {name}: {error}") from None


def train(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Train, write what was asked for, and return the numbers of the summary. Collective."""
    every = -(-setup.functional.problem.examples.count // options.batch) if options.batch else 1
    # A row must be in its file before the checkpoint that has it: a killed run leaves no gap.
    interval = 1.0 if options.checkpoint is None else 0.0
    progress = Progress(options, setup.comm, setup.accuracies, every, setup.rows, interval)
    method, checkpoint = training_method(options, setup.accuracies), make_checkpoint(options)
    result = pint.minimize(
        setup.functional, setup.control, method, callback=progress, checkpoint=checkpoint
    )
    progress.keep(len(result.history) - 1)
    train_accuracy, validation_accuracy = setup.accuracies(result.control, None)
    weights = setup.network.state_dicts(result.control)
    summary = summary_of(result, None) | {
        "loss": result.cost,
        "train_accuracy": train_accuracy,
        "validation_accuracy": validation_accuracy,
    }
    del summary["control"]
    if setup.comm.rank == 0:
        print_summary(options, setup, result)
        for name in ("train_accuracy", "validation_accuracy"):
            print(f"{name.replace('_', ' '):20s}{summary[name]:.2f} %")
        write_all(
            lambda: _save(options.save, weights) if options.save else None,
            progress.write_history,
            lambda: write_json(options.json, summary),
            lambda: _draw(options, progress.rows, validation_accuracy) if options.plot else None,
        )
    return summary


def _save(path: str, weights: dict[str, Any]) -> None:
    """Write weights as PyTorch reads them. Not collective."""
    import torch

    write_atomically(path, lambda file: torch.save(weights, file))


def _draw(options: argparse.Namespace, rows: list[dict[str, Any]], validation: float) -> None:
    """Draw loss and accuracies; needs matplotlib. Not collective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    numbers = [row["iteration"] for row in rows]
    above.semilogy(numbers, [row["loss"] for row in rows])
    above.set_ylabel("loss of the batch" if options.batch else "loss")
    for name in ("train_accuracy", "validation_accuracy"):
        below.plot(numbers, [row[name] for row in rows], label=name.replace("_", " "))
    below.set_xlabel("update")
    below.set_ylabel("%")
    below.legend(loc="lower right")
    above.set_title(
        f"{options.module}, {options.layers} layers, {options.data}, {options.optimiser}, "
        f"{options.method}: {validation:.1f} % validated"
    )
    kind = options.plot.rpartition(".")[2]
    write_atomically(options.plot, lambda file: figure.savefig(file, format=kind, dpi=120))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, train, sizes="--layers/--width/--examples")


if __name__ == "__main__":
    main()
