"""Train a residual network, dense or convolutional, its layers in parallel.

The network is the control problem of `problems.resnet`: minimise over all weights

    J = mean cross-entropy(W y_N + mu) + regularisers,
    y_0 = sigma(W_in x + b_in),   y_{n+1} = y_n + dt sigma(K_n y_n + b_n),   dt = T / N,

by reduced-space L-BFGS with sequential sweeps (``--method sequential``) or with MGRIT solved to
tolerance (``mgrit``), by one-shot MGRIT with a few cycles for each update (``one-shot``), or by SGD
or Adam on mini-batches (``--optimiser``). ``--data-ranks`` divides the examples among ranks, the
others divide the layers.

    python examples/train_resnet.py --history history.csv --plot peaks.png
    mpiexec -n 2 python examples/train_resnet.py --layers 256 --iterations 50
    python examples/train_resnet.py --data digits --network convolutional
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from arguments import (
    Parser,
    check_checkpoint,
    check_outputs,
    checkpoint_options,
    integer,
    make_checkpoint,
    make_grid,
    most_cycles,
    number,
    print_peak_memory,
    run,
    solver_options,
    word_of,
)
from saved_network import describe, description_of
from training_data import data_options, load_data

import pint
from pint.comm import on_root, reduce
from pint.report.files import write_atomically
from problems import peaks
from problems.classification import accuracy, share
from problems.convolution import ConvolutionalNetwork
from problems.data import Dataset
from problems.resnet import DenseNetwork, Network, Regularisation, classify

HISTORY_COLUMNS = (
    "iteration,objective,loss,gradient_norm,state_residual,adjoint_residual,step,"
    "line_search_trials,train_accuracy,validation_accuracy,state_steps,adjoint_steps,seconds"
).split(",")
TABLE_HEAD = "  iter   objective    gradient  state res.  adj. res.      step  train%  valid%"


# Options

OPENINGS = {"dense": ("trained", "pad"), "convolutional": ("replicate", "trained")}
"""By network, the default first."""
GAMMAS = ("gamma_tikhonov", "gamma_opening", "gamma_classification", "gamma_smooth")
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": {"width": None, "final_time": 5.0, "iterations": 200, **dict.fromkeys(GAMMAS, 1e-5)},
    "convolutional": {
        **{"channels": 4, "kernel": 3, "pool": 1, "final_time": 2.0, "iterations": 100},
        **dict.fromkeys(GAMMAS, 1e-4),
    },
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "lbfgs": {},
    "sgd": {"batch": None, "epochs": 10, "learning_rate": 0.1, "decay": 0.0, "momentum": 0.9},
    "adam": {"batch": None, "epochs": 10, "learning_rate": 0.01, "decay": 0.0},
}
"""Defaults; an option that is here for others only has no meaning for a network or optimiser."""


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("train_resnet.py", description="Train a residual network layer-parallel.")
    new.comm = comm
    option = new.add_argument_group("network and data").add_argument
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
    option("--initial-control", metavar="FILE.npz", help="start from saved weights")
    option("--seed", type=integer(0), default=0, help="of data, batches and first weights")

    option = solver_options(new, method="one-shot")
    new.set_defaults(relaxation=None)  # see `fill_defaults`
    option("--cycle", choices=["V", "F"], default="V", help="kind of multigrid cycle")
    option("--tolerance", type=number(), metavar="R",
           help="residual that ends a solve, also relative to states (mgrit: 1e-12)")  # fmt: skip
    option("--initial-guess", choices=["zero", "constant", "nested"], default="nested",
           help="of the very first solve")  # fmt: skip

    option = new.add_argument_group("optimisation").add_argument
    option("--optimiser", choices=["lbfgs", "sgd", "adam"], default="lbfgs",
           help="quasi-Newton on all examples; stochastic on batches (--cycles 1)")  # fmt: skip
    option("--data-ranks", type=integer(1), default=1, metavar="R",
           help="ranks that divide the examples; the others divide the layers")  # fmt: skip
    option("--iterations", type=integer(0), help="control updates (200; convolutional: 100)")
    option("--gradient-tolerance", type=number(), default=1e-6, help="gradient norm to stop at")
    option("--hessian", choices=["lbfgs", "bfgs", "identity"], default="lbfgs",
           help="quasi-Newton method")  # fmt: skip
    option("--memory", type=integer(1), default=20, help="pairs that L-BFGS keeps")
    option("--step", type=number(positive=True), default=1.0, help="first trial step")
    option("--line-search", choices=["armijo", "none"], default="armijo", help="step length")
    option("--metric", choices=["time", "euclidean"], default="time", help="of the layers")
    for name in ("tikhonov", "opening", "classification", "smooth"):
        option(f"--gamma-{name}", type=number(), metavar="G",
               help="regulariser (1e-5; convolutional: 1e-4)")  # fmt: skip

    option = new.add_argument_group("mini-batches (sgd, adam)").add_argument
    option("--batch", type=integer(1), metavar="b", help="examples of a batch (100)")
    option("--epochs", type=integer(1), help="passes over the examples (10)")
    option("--learning-rate", type=number(positive=True), metavar="R", help="sgd: 0.1, adam: 0.01")
    option("--decay", type=number(), help="rate of epoch e: R / (1 + decay e) (0)")
    option("--momentum", type=number(), help="of sgd, below 1 (0.9)")

    checkpoint_options(new)
    option = new.add_argument_group("output").add_argument
    option("--save", metavar="FILE.npz",
           help="trained weights; what they belong to is written to FILE.json")  # fmt: skip
    option("--history", metavar="FILE.csv", help="one row an iteration")
    option("--plot", metavar="FILE.png",
           help="convergence, and plane (two features) or confusion matrix")  # fmt: skip
    option("--quiet", action="store_true", help="print the summary only")
    return new


# Training


def load_history(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of the run that is resumed, none if it has no history file."""
    if not (options.resume and options.history and Path(options.history).is_file()):
        return []
    try:
        with open(options.history, newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file)
        if names != HISTORY_COLUMNS:
            raise ValueError("other columns")
        table = [dict(zip(names, map(_number, row), strict=True)) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"argument --history: {options.history!r} is no history to go on with ({error})"
        ) from None
    return table


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


@dataclass
class Progress:
    """Callback: accuracies, the table on the terminal, and the history file.

    The file is rewritten as a whole at most every `interval` seconds, and at the end. With
    mini-batches the accuracies are those after the last whole epoch.
    """

    options: argparse.Namespace
    setup: Setup
    rows: list[dict[str, Any]] = field(default_factory=list)
    interval: float = 1.0
    written: float = -math.inf
    known: tuple[float, float] = (math.nan, math.nan)

    def __post_init__(self) -> None:
        self.comm = self.setup.comm

    def keep(self, iterations: int) -> None:
        """Drop later rows: the file of a killed run may be ahead of its checkpoint."""
        self.rows = [row for row in self.rows if row["iteration"] <= iterations]

    def accuracies(self, control: pint.Control, state: Any) -> tuple[float, float]:
        """Return training and validation accuracy in per cent. Collective."""
        data, weights = self.setup.data, self.setup.on_one_rank(control)
        validation = self.accuracy(weights, data.x_test, data.labels_test)
        if self.options.optimiser != "lbfgs":  # the state is that of a batch
            return self.accuracy(weights, data.x, data.labels), validation
        training, problem = None, self.setup.functional.problem
        if control.space.comm.rank == control.space.grid.last_rank:
            features = self.setup.network.classified(state.trajectory[-1])
            labels, examples = problem.objective.labels, problem.space.comm
            training = accuracy(features, control.shared, labels, examples)
        return control.space.comm.bcast(training, root=control.space.grid.last_rank), validation

    def accuracy(self, weights: pint.Control, x: np.ndarray, labels: np.ndarray) -> float:
        """Return the percentage of examples in the right class, by sequential propagation."""
        own = share(len(x), self.comm)
        found = classify(self.setup.network, weights, x[own])
        return 100.0 * reduce(self.comm, (found == labels[own].argmax(axis=1)).sum())[0] / len(x)

    def __call__(self, iterate: Any, control: pint.Control, state: Any) -> None:
        row = {name: getattr(iterate, name, None) for name in HISTORY_COLUMNS}
        row["loss"] = iterate.cost
        if iterate.iteration % self.setup.updates_of_an_epoch == 0:
            self.known = self.accuracies(control, state)
        row["train_accuracy"], row["validation_accuracy"] = self.known
        self.keep(iterate.iteration - 1)
        self.rows.append(row)
        if self.comm.rank > 0:
            return
        if not self.options.quiet:
            if self.written < 0:  # the first call
                print(TABLE_HEAD)
            print(
                f"{iterate.iteration:6d}  {iterate.objective:10.6f}  {iterate.gradient_norm:10.3e}"
                f"  {iterate.state_residual:10.3e}  {iterate.adjoint_residual:9.2e}"
                f"  {iterate.step:8.2e}  {row['train_accuracy']:6.2f}"
                f"  {row['validation_accuracy']:6.2f}",
                flush=True,
            )
        if iterate.seconds > self.written + self.interval:
            with contextlib.suppress(OSError):  # a full disk ends no training; `train` reports it
                self.write_history()
            self.written = iterate.seconds

    def write_history(self) -> None:
        """Write all rows so far to the history file."""
        if self.options.history is None or self.comm.rank > 0:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_atomically(self.options.history, lambda file: file.write(text.getvalue().encode()))


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the training starts."""

    comm: Any
    data: Dataset
    network: Network
    functional: pint.ReducedFunctional
    shallower: list[pint.ReducedFunctional]
    control: pint.Control
    rows: list[dict[str, Any]]
    updates_of_an_epoch: int

    def on_one_rank(self, control: pint.Control) -> pint.Control:
        """Return a control with all layers. Collective."""
        grid = control.space.grid
        alone = self.network.controls(pint.TimeGrid.uniform(float(grid.t[-1]), grid.steps))
        return alone.control(**control.gather())


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and first control; ValueError names the option that does not fit."""
    fill_defaults(options)
    on_root(comm, lambda: check_files(options))
    on_root(comm, lambda: check_checkpoint(options))
    rows = on_root(comm, lambda: load_history(options))
    check_options(options, comm)
    flat = options.network == "dense"
    data = on_root(comm, lambda: load_data(options, flat, options.normalise))
    network = make_network(options, data)
    time, space = pint.split(comm, options.data_ranks)
    batch = None
    if options.optimiser != "lbfgs":
        batch = options.batch or min(100, len(data.x))
        if batch > len(data.x):
            raise ValueError(
                f"argument --batch: there are {len(data.x)} examples, fewer than {batch}"
            )

    def functional(layers: int, option: str) -> pint.ReducedFunctional:
        grid = make_grid(options, options.final_time, layers, time, option)
        controls = network.controls(grid, options.metric, space if space.size > 1 else None)
        regularisation = Regularisation(
            **{name.removeprefix("gamma_"): getattr(options, name) for name in GAMMAS}
        )
        problem = network.problem(controls, data.x, data.labels, regularisation, batch)
        tolerance = 1e-12 if options.tolerance is None else options.tolerance
        return pint.ReducedFunctional(
            problem,
            accuracy=pint.Accuracy(most_cycles(options), tolerance, tolerance),
            relaxation=options.relaxation if grid.levels > 1 else "F",
            cycle=options.cycle,
            guess=options.initial_guess,
            storage=options.storage,
        )

    depths = [options.layers]
    while options.start_layers is not None and depths[0] > options.start_layers:
        depths.insert(0, depths[0] // 2)
    shallower = [functional(layers, "--start-layers") for layers in depths[:-1]]
    deepest = functional(options.layers, "--layers")
    first = (shallower or [deepest])[0].problem.controls
    try:
        control = (
            first.load(options.initial_control)
            if options.initial_control is not None
            else network.random_control(first, options.seed)
        )
    except OSError as error:
        raise ValueError(
            f"argument --initial-control: cannot read {options.initial_control!r}: "
            f"{error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ValueError(f"argument --initial-control: {error}") from None
    an_epoch = 1 if batch is None else -(-len(data.x) // batch)
    return Setup(comm, data, network, deepest, shallower, control, rows, an_epoch)


def fill_defaults(options: argparse.Namespace) -> None:
    """Set what was not given, in place; ValueError if what was given has no meaning."""
    for choice, defaults in ((options.optimiser, OPTIMISERS), (options.network, NETWORKS)):
        for name in sorted({name for others in defaults.values() for name in others}):
            if name in defaults[choice]:
                if getattr(options, name) is None:
                    setattr(options, name, defaults[choice][name])
            elif getattr(options, name) is not None:
                option = name.replace("_", "-")
                raise ValueError(f"argument --{option}: has no meaning for {choice}")
    # One lagged cycle with F-relaxation takes about a fifth of the steps of two with FCF.
    lagged = options.network == "convolutional" and options.method == "one-shot"
    lagged = lagged and options.optimiser == "lbfgs" and options.tolerance is None
    lagged = lagged and options.lagged is not False
    if lagged and options.cycles is None:
        options.cycles = 1
    if options.relaxation is None:
        options.relaxation = ["F"] if lagged and options.cycles == 1 else ["FCF"]


def check_files(options: argparse.Namespace) -> None:
    """Raise ValueError if a result could not be written later, or over another one."""
    check_outputs(options, "save", "history", "plot")
    paths = [path for path in (options.save, options.history, options.plot) if path is not None]
    if options.save is not None:
        try:
            description = str(description_of(options.save))
        except ValueError as error:
            raise ValueError(f"argument --save: {error}") from None
        check_outputs(argparse.Namespace(save=description, plot=None), "save")
        paths.append(description)
    if len(set(map(os.path.realpath, paths))) < len(paths):
        raise ValueError(
            "argument --save: two of the files to be written are the same; what is saved is "
            "described in a file with .json in the place of .npz"
        )


def check_options(options: argparse.Namespace, comm: Any) -> None:
    """Raise ValueError if options do not fit each other."""
    if options.optimiser == "sgd" and options.momentum >= 1:
        raise ValueError(f"argument --momentum: must be below 1, got {options.momentum}")
    if options.cycles == "adaptive" and options.tolerance is not None:
        raise ValueError("argument --tolerance: needs a number of --cycles, not adaptive")
    if options.lagged and options.tolerance is not None:
        raise ValueError("argument --lagged: needs a number of cycles, without --tolerance")
    if comm.size % options.data_ranks:
        raise ValueError(
            f"argument --data-ranks: must divide the number of ranks, {comm.size}, got "
            f"{options.data_ranks}"
        )
    if options.optimiser != "lbfgs":
        if options.method == "mgrit" or options.cycles == "adaptive":
            raise ValueError(
                f"argument --optimiser: {options.optimiser} takes --method sequential, or one-shot "
                "with a number of --cycles"
            )
        if options.checkpoint is not None:
            raise ValueError("argument --checkpoint: needs --optimiser lbfgs")
    if options.start_layers is not None:
        depth = options.layers
        while depth > options.start_layers and depth % 2 == 0:
            depth //= 2
        if depth != options.start_layers:
            raise ValueError(
                f"argument --start-layers: {options.layers} is not {options.start_layers} times a "
                "power of two"
            )
        if options.checkpoint is not None:
            raise ValueError("argument --checkpoint: is for one depth, without --start-layers")


def make_network(options: argparse.Namespace, data: Dataset) -> Network:
    """Return the network of the options for the data; ValueError names what does not fit."""
    shape, classes = data.x.shape[1:], data.labels.shape[1]
    opening = options.opening or OPENINGS[options.network][0]
    if opening not in OPENINGS[options.network]:
        raise ValueError(f"argument --opening: {opening} is not for {options.network} networks")
    if options.network == "convolutional":
        if len(shape) != 3:
            raise ValueError(
                "argument --network: convolutional needs images, the examples have the shape "
                f"{shape}"
            )
        try:
            return ConvolutionalNetwork(
                shape, options.channels, classes, options.kernel, options.activation,
                options.bias, opening, options.pool,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"argument --channels/--kernel/--pool: {error}") from None
    (features,) = shape
    width = options.width or (features if opening == "pad" else 8)
    if opening == "pad" and width < features:
        raise ValueError(
            f"argument --width: padding {features} features needs at least that width, got {width}"
        )
    return DenseNetwork(features, width, classes, options.activation, options.bias, opening)


def train(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Train, write what was asked for, and return the numbers of the summary. Collective."""
    # A row must be in its file before the checkpoint that has it, lest a killed run leave a gap.
    interval = 1.0 if options.checkpoint is None else 0.0
    progress = Progress(options, setup, setup.rows, interval)
    control = setup.control
    if setup.shallower:
        results = pint.minimize_nested(setup.shallower, control, partial(optimise, options))
        control = pint.prolong(results[-1].control, setup.functional.problem.controls)
    result = optimise(options, setup.functional, control, progress)
    if options.save:
        result.control.save(options.save)
        grid = setup.functional.problem.grid
        if setup.comm.rank == 0:
            describe(options.save, setup.network, grid, setup.data)
    progress.keep(result.iterations)
    progress.write_history()
    train_accuracy, validation_accuracy = progress.accuracies(result.control, result.state)
    summary = {
        "objective": result.objective,
        "loss": result.cost,
        "gradient_norm": result.gradient_norm,
        "train_accuracy": train_accuracy,
        "validation_accuracy": validation_accuracy,
        "iterations": result.iterations,
        "status": word_of(result.status),
        "seconds": result.history[-1].seconds,
        "peak_memory": list(result.peak_memory),
    }
    if setup.comm.rank == 0:
        print_summary(options, setup, result)
        for name in ("train_accuracy", "validation_accuracy"):
            print(f"{name.replace('_', ' '):20s}{summary[name]:.2f} %")
    if options.plot:
        weights = setup.on_one_rank(result.control)
        if setup.comm.rank == 0:
            draw_picture(options, setup, weights, progress.rows)
    return summary


def optimise(
    options: argparse.Namespace,
    functional: pint.ReducedFunctional,
    control: pint.Control,
    callback: Progress | None = None,
) -> pint.Result:
    """Train the network of one depth. Collective."""
    if options.optimiser != "lbfgs":
        rule = pint.sgd(options.momentum) if options.optimiser == "sgd" else pint.adam()
        method = pint.Stochastic(functional, rule, options.cycles or 1)
        return method.solve(
            control,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            decay=options.decay,
            seed=options.seed,
            callback=callback,
        )
    hessians = {
        "lbfgs": pint.lbfgs(options.memory),
        "bfgs": pint.bfgs(),
        "identity": pint.identity(),
    }
    settings: dict[str, Any] = {
        "iterations": options.iterations,
        "gradient_tolerance": options.gradient_tolerance,
        "hessian": hessians[options.hessian],
        "line_search": pint.armijo() if options.line_search == "armijo" else pint.fixed_step(),
        "step": options.step,
        "callback": callback,
        "checkpoint": make_checkpoint(options),
    }
    if options.method == "one-shot":
        cycles, tolerance = options.cycles or 2, options.tolerance
        one_shot = pint.OneShot(functional, cycles, tolerance, lagged=options.lagged)
        return one_shot.solve(control, **settings)
    return pint.minimize(functional, control, **settings)


def print_summary(options: argparse.Namespace, setup: Setup, result: pint.Result) -> None:
    """Print what was reached, all of it evaluated with exact states and adjoints."""
    seconds, grid = result.history[-1].seconds, setup.functional.problem.grid
    updates = result.iterations / seconds if seconds > 0 else math.nan
    how = options.method
    if options.optimiser != "lbfgs":
        how = f"{options.optimiser}, {how}"
    shared = f" x {options.data_ranks} for the examples" if options.data_ranks > 1 else ""
    print(f"{how}: {grid.steps} layers on {grid.comm.size} rank(s){shared}, {grid.levels} level(s)")
    ended = options.optimiser != "lbfgs" and result.status is pint.Status.ITERATION_LIMIT
    print(f"{'status':20s}{'All epochs are done.' if ended else result.status.value}")
    print(f"{'objective':20s}{result.objective:.10g} (state solved exactly)")
    print(f"{'loss':20s}{result.cost:.10g}")
    print(f"{'gradient norm':20s}{result.gradient_norm:.3e}")
    print(f"{'updates':20s}{result.iterations} in {seconds:.2f} s ({updates:.1f} a second)")
    print_peak_memory(result)


def draw_picture(
    options: argparse.Namespace, setup: Setup, weights: pint.Control, rows: list[dict[str, Any]]
) -> None:
    """Draw the trained network and its history; needs matplotlib. Not collective."""
    from training_picture import draw

    data = setup.data
    draw(
        options.plot,
        rows,
        (data.x, data.labels),
        (data.x_test, data.labels_test),
        found=lambda x: classify(setup.network, weights, x),
        true=peaks.classify if options.data == "peaks" else None,
        names=data.classes,
    )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, train, sizes="--layers/--width/--examples")


if __name__ == "__main__":
    main()
