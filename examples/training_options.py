"""The options of `train_resnet.py`, their defaults by network and optimiser, its output files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from arguments import (
    History,
    Parser,
    Picture,
    WeightsInput,
    WeightsOutput,
    checkpoint_options,
    fill_defaults,
    integer,
    limit_options,
    number,
    solver_options,
)
from training_data import data_options

GAMMAS = ("gamma_tikhonov", "gamma_opening", "gamma_classification", "gamma_smooth")
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": {"width": None, "final_time": 5.0, "iterations": 200, **dict.fromkeys(GAMMAS, 1e-5)},
    "convolutional": {
        **{"channels": 4, "kernel": 3, "pool": 1, "final_time": 2.0, "iterations": 100},
        **dict.fromkeys(GAMMAS, 1e-4),
    },
}
DEFAULT_METHOD = (
    "; by default sequential on one rank in time without options of cycles, else one-shot"
)
BATCHES: dict[str, Any] = {
    **{"batch": None, "epochs": 10, "decay": 0.0, "schedule": "constant"},
    **{"weight_decay": 0.0, "clip": None, "patience": None},
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "lbfgs": {},
    "sgd": {**BATCHES, "learning_rate": 0.1, "momentum": 0.9},
    "adam": {**BATCHES, "learning_rate": 0.01},
}
"""Defaults by network and optimiser."""


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("train_resnet.py", description="Train a residual network layer-parallel.")
    new.comm = comm
    network_options(new.add_argument_group("network and data").add_argument)
    option = solver_options(new, method=None, note=DEFAULT_METHOD)
    new.set_defaults(relaxation=None)  # see `complete`
    option("--cycle", choices=["V", "F"], default="V", help="kind of multigrid cycle")
    option("--tolerance", type=number(), metavar="R",
           help="residual that ends a solve, also relative to states (mgrit: 1e-12)")  # fmt: skip
    option("--initial-guess", choices=["zero", "constant", "nested"], default="nested",
           help="of the very first solve")  # fmt: skip
    optimiser_options(new.add_argument_group("optimisation").add_argument)
    batch_options(new.add_argument_group("mini-batches (sgd, adam)").add_argument)
    checkpoint_options(new)
    output_options(new.add_argument_group("output").add_argument)
    return new


def network_options(option: Callable[..., Any]) -> None:
    """Add the options of network and data, by the function `option`."""
    data_options(option)
    option("--normalise", action=argparse.BooleanOptionalAction,
           help="features or channels to mean 0, deviation 1 (spectra, indian-pines)")  # fmt: skip
    option("--network", choices=["dense", "convolutional"], default="dense",
           help="kind of layers; convolutional: one-shot with --cycles 1 --relaxation F, unless "
           "given")  # fmt: skip
    option("--layers", type=integer(1), default=32, metavar="N", help="hidden layers")
    option("--start-layers", type=integer(1), metavar="N0",
           help="train so many layers, then twice as many, ..., from the last")  # fmt: skip
    option("--width", type=integer(1), metavar="C",
           help="components of a state (8; padded: the features)")  # fmt: skip
    option("--channels", type=integer(1), help="of a convolutional network's states (4)")
    option("--kernel", type=integer(1), metavar="k", help="k x k convolutions (3)")
    option("--pool", type=integer(1), metavar="p",
           help="classify averages over p x p pixels of the last state (1)")  # fmt: skip
    option("--final-time", type=number(positive=True), metavar="T",
           help="N dt (5; convolutional: 2)")  # fmt: skip
    option("--activation", choices=["tanh", "relu", "smoothrelu"], default="tanh", help="sigma")
    option("--bias", choices=["vector", "scalar"], default="vector", help="biases of a layer")
    option("--opening", choices=["trained", "pad", "replicate"],
           help="how x becomes y_0: trained or pad (dense), replicate or trained (convolutional); "
           "by default the first")  # fmt: skip
    option(
        "--initial-control", type=WeightsInput, metavar="FILE.npz", help="start from saved weights"
    )
    option("--seed", type=integer(0), default=0, help="of data, batches and first weights")


def optimiser_options(option: Callable[..., Any]) -> None:
    """Add the options of objective and optimiser, by the function `option`."""
    option("--optimiser", choices=["lbfgs", "sgd", "adam"], default="lbfgs",
           help="quasi-Newton on all examples; stochastic on batches, for many images")  # fmt: skip
    option("--data-ranks", type=integer(1), default=1, metavar="R",
           help="ranks that divide the examples; the others divide the layers")  # fmt: skip
    option("--iterations", type=integer(0), help="control updates (200; convolutional: 100)")
    option("--gradient-tolerance", type=number(), default=1e-6, help="gradient norm to stop at")
    limit_options(option)
    option("--hessian", choices=["lbfgs", "bfgs", "identity"], default="lbfgs",
           help="quasi-Newton method")  # fmt: skip
    option("--memory", type=integer(1),
           help="pairs that L-BFGS keeps (as many as fit 256 MB a rank, at most 100)")  # fmt: skip
    option("--step", type=number(positive=True), help="first trial step of armijo and none (1)")
    option("--line-search", choices=["wolfe", "armijo", "none"],
           help="step length: wolfe finds its first step; armijo halves --step; none takes it "
           "(wolfe; with --step armijo)")  # fmt: skip
    option("--metric", choices=["time", "euclidean"], default="time", help="of the layers")
    for name in ("tikhonov", "opening", "classification", "smooth"):
        option(f"--gamma-{name}", type=number(), metavar="G",
               help="regulariser (1e-5; convolutional: 1e-4)")  # fmt: skip


def batch_options(option: Callable[..., Any]) -> None:
    """Add the options of stochastic optimisers, by the function `option`."""
    option("--batch", type=integer(1), metavar="b", help="examples of a batch (100)")
    option("--epochs", type=integer(1), help="passes over the examples (10)")
    option("--learning-rate", type=number(positive=True), metavar="R", help="sgd: 0.1, adam: 0.01")
    option("--decay", type=number(), help="rate of epoch e: R / (1 + decay e) (0)")
    option("--momentum", type=number(), help="of sgd, below 1 (0.9)")
    option("--schedule", choices=["constant", "step", "cosine", "warm-up"],
           help="of the learning rate: times 0.1 after each third of the epochs, a cosine to "
           "zero, or a tenth of the epochs to warm up before it")  # fmt: skip
    option("--weight-decay", type=number(), metavar="W",
           help="adam: decoupled, as in AdamW; sgd: added to the gradient (0)")  # fmt: skip
    option("--clip", type=number(positive=True), metavar="C", help="largest norm of a gradient")
    option("--patience", type=integer(1), metavar="E",
           help="end after so many epochs without a better validation accuracy, with the best "
           "weights")  # fmt: skip


def output_options(option: Callable[..., Any], weights: Any = WeightsOutput) -> None:
    """Add the options of the output, by the function `option`."""
    option("--save", type=weights, metavar="FILE.npz",
           help="trained weights; what they belong to is written to FILE.json")  # fmt: skip
    option("--history", type=History, metavar="FILE.csv", help="one row an iteration")
    option("--plot", type=Picture, metavar="FILE.png",
           help="convergence, and plane (two features) or confusion matrix")  # fmt: skip
    option("--quiet", action="store_true", help="print the summary only")


def complete(options: argparse.Namespace) -> None:
    """Set what was not given, in place."""
    fill_defaults(options, options.optimiser, OPTIMISERS)
    fill_defaults(options, options.network, NETWORKS)
    if options.line_search is None:
        options.line_search = "wolfe" if options.step is None else "armijo"
    # One lagged cycle with F-relaxation takes about a fifth of the steps of two with FCF.
    lagged = options.network == "convolutional" and options.method == "one-shot"
    lagged = lagged and options.optimiser == "lbfgs" and options.tolerance is None
    lagged = lagged and options.lagged is not False
    if lagged and options.cycles is None:
        options.cycles = 1
    if options.relaxation is None:
        options.relaxation = ["F"] if lagged and options.cycles == 1 else ["FCF"]
