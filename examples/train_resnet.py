"""Train a dense residual network, its layers in parallel.

The network is the control problem of `problems.resnet`: minimise over all weights

    J = mean cross-entropy(W y_N + mu) + regularisers,
    y_0 = sigma(W_in x + b_in),   y_{n+1} = y_n + dt sigma(K_n y_n + b_n),   dt = T / N,

by reduced-space L-BFGS with sequential sweeps (``--method sequential``) or with MGRIT solved to
tolerance (``mgrit``), or by one-shot MGRIT with a few cycles for each update (``one-shot``).

    python examples/train_resnet.py --history history.csv --plot peaks.png
    mpiexec -n 2 python examples/train_resnet.py --layers 256 --iterations 50
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
from dataclasses import dataclass, field
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

import pint
from pint.comm import on_root
from pint.files import load_arrays, write_atomically
from problems import peaks
from problems.resnet import DenseNetwork, Regularisation, accuracy, check_examples, logits

HISTORY_COLUMNS = (
    "iteration,objective,loss,gradient_norm,state_residual,adjoint_residual,step,"
    "line_search_trials,train_accuracy,validation_accuracy,state_steps,adjoint_steps,seconds"
).split(",")
POINTS_AT_ONCE = 2000  # of the plane that is classified for the picture
TABLE_HEAD = "  iter   objective    gradient  state res.  adj. res.      step  train%  valid%"


# Options


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("train_resnet.py", description="Train a dense residual network layer-parallel.")
    new.comm = comm
    new.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    option = new.add_argument_group("network and data").add_argument
    option("--data", default="peaks", metavar="peaks|FILE.npz",
           help="FILE.npz holds x_train, y_train (one-hot), x_valid, y_valid")  # fmt: skip
    option("--examples", type=integer(1), metavar="B", help="training examples (peaks: 2000)")
    option("--layers", type=integer(1), default=32, metavar="N", help="hidden layers")
    option("--width", type=integer(1), default=8, metavar="C", help="components of a state")
    option("--final-time", type=number(positive=True), default=5.0, metavar="T", help="N dt")
    option("--activation", choices=["tanh", "relu", "smoothrelu"], default="tanh", help="sigma")
    option("--bias", choices=["vector", "scalar"], default="vector", help="biases of a layer")
    option("--opening", choices=["trained", "pad"], default="trained", help="how x becomes y_0")
    option("--initial-control", metavar="FILE.npz", help="start from saved weights")
    option("--seed", type=integer(0), default=0, help="of the peaks data and the first weights")

    option = solver_options(new, method="one-shot")
    option("--cycle", choices=["V", "F"], default="V", help="kind of multigrid cycle")
    option("--tolerance", type=number(), metavar="R",
           help="residual that ends a solve, also relative to states (mgrit: 1e-12)")  # fmt: skip
    option("--initial-guess", choices=["zero", "constant", "nested"], default="nested",
           help="of the very first solve")  # fmt: skip

    option = new.add_argument_group("optimisation").add_argument
    option("--iterations", type=integer(0), default=200, help="control updates")
    option("--gradient-tolerance", type=number(), default=1e-6, help="gradient norm to stop at")
    option("--hessian", choices=["lbfgs", "bfgs", "identity"], default="lbfgs",
           help="quasi-Newton method")  # fmt: skip
    option("--memory", type=integer(1), default=20, help="pairs that L-BFGS keeps")
    option("--step", type=number(positive=True), default=1.0, help="first trial step")
    option("--line-search", choices=["armijo", "none"], default="armijo", help="step length")
    option("--metric", choices=["time", "euclidean"], default="time", help="of the layers")
    for name in ("tikhonov", "opening", "classification", "smooth"):
        option(f"--gamma-{name}", type=number(), default=1e-5, metavar="G", help="regulariser")

    checkpoint_options(new)
    option = new.add_argument_group("output").add_argument
    option("--save", metavar="FILE.npz", help="the trained weights")
    option("--history", metavar="FILE.csv", help="one row an iteration")
    option("--plot", metavar="FILE.png", help="classified plane (two features) and convergence")
    option("--quiet", action="store_true", help="print the summary only")
    return new


# Data


@dataclass(frozen=True)
class Data:
    """Examples as rows, labels one-hot."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray


def load_data(options: argparse.Namespace) -> Data:
    """Return the data set that the options name; ValueError says what is wrong with it."""
    if options.data == "peaks":
        examples = options.examples or 2000
        try:
            return Data(
                *peaks.generate(examples, options.seed),
                *peaks.generate(max(500, examples // 4), options.seed + 1_000_000),
            )
        except ValueError as error:
            raise ValueError(f"argument --examples: {error}") from None
    try:
        arrays = load_arrays(options.data)
    except OSError as error:
        raise ValueError(
            f"argument --data: cannot read {options.data!r}: {error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ValueError(f"argument --data: {error}") from None
    names = ("x_train", "y_train", "x_valid", "y_valid")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"argument --data: {options.data!r} has no array {', '.join(missing)}")
    for name in names:
        if arrays[name].ndim != 2 or not arrays[name].size or arrays[name].dtype.kind not in "iuf":
            raise ValueError(
                f"argument --data: {name} must be a matrix of real numbers, not empty, "
                f"got shape {arrays[name].shape} of {arrays[name].dtype}"
            )
    with np.errstate(over="ignore"):  # infinity is reported below
        x_train, y_train, x_valid, y_valid = (arrays[name].astype(float) for name in names)
    if options.examples and options.examples > len(x_train):
        raise ValueError(
            f"argument --examples: {options.data!r} has {len(x_train)}, not {options.examples}"
        )
    count = options.examples or len(x_train)
    for x, y, part in ((x_train, y_train, "train"), (x_valid, y_valid, "valid")):
        try:
            check_examples(x, y, x_train.shape[1], y_train.shape[1])
        except ValueError as error:
            message = str(error).replace("`x`", f"x_{part}").replace("`labels`", f"y_{part}")
            raise ValueError(f"argument --data: {options.data!r}: {message}") from None
    return Data(x_train[:count], y_train[:count], x_valid, y_valid)


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


# Training


@dataclass
class Progress:
    """Callback: accuracies, the table on the terminal, and the history file.

    The file is rewritten as a whole at most every `interval` seconds, and at the end.
    """

    options: argparse.Namespace
    data: Data
    validation: pint.ReducedFunctional
    rows: list[dict[str, Any]] = field(default_factory=list)
    interval: float = 1.0
    written: float = -math.inf

    def __post_init__(self) -> None:
        self.comm = self.validation.comm
        self.state = self.validation.new_state()

    def keep(self, iterations: int) -> None:
        """Drop later rows: the file of a killed run may be ahead of its checkpoint."""
        self.rows = [row for row in self.rows if row["iteration"] <= iterations]

    def accuracies(self, control: pint.Control, state: Any) -> tuple[float, float]:
        """Return training and validation accuracy in per cent. Collective."""
        self.validation.propagate(self.state, control)
        both = None
        last_rank = control.space.grid.last_rank
        if self.comm.rank == last_rank:
            both = (
                accuracy(state.trajectory[-1], control.shared, self.data.y_train.T),
                accuracy(self.state.trajectory[-1], control.shared, self.data.y_valid.T),
            )
        return self.comm.bcast(both, root=last_rank)

    def __call__(self, iterate: Any, control: pint.Control, state: Any) -> None:
        row = {name: getattr(iterate, name, None) for name in HISTORY_COLUMNS}
        row["loss"] = iterate.cost
        row["train_accuracy"], row["validation_accuracy"] = self.accuracies(control, state)
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

    data: Data
    network: DenseNetwork
    functional: pint.ReducedFunctional
    validation: pint.ReducedFunctional
    control: pint.Control
    rows: list[dict[str, Any]]


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and first control; ValueError names the option that does not fit."""
    on_root(comm, lambda: check_outputs(options, "save", "history", "plot"))
    on_root(comm, lambda: check_checkpoint(options))
    rows = on_root(comm, lambda: load_history(options))
    if options.cycles == "adaptive" and options.tolerance is not None:
        raise ValueError("argument --tolerance: needs a number of --cycles, not adaptive")
    if options.lagged and options.tolerance is not None:
        raise ValueError("argument --lagged: needs a number of cycles, without --tolerance")
    data = on_root(comm, lambda: load_data(options))
    grid = make_grid(options, options.final_time, options.layers, comm, "--layers")
    features, classes = data.x_train.shape[1], data.y_train.shape[1]
    if options.opening == "pad" and options.width < features:
        raise ValueError(
            f"argument --width: padding {features} features needs at least that width, "
            f"got {options.width}"
        )
    network = DenseNetwork(
        features, options.width, classes, options.activation, options.bias, options.opening
    )
    controls = network.controls(grid, options.metric)
    regularisation = Regularisation(
        options.gamma_tikhonov,
        options.gamma_opening,
        options.gamma_classification,
        options.gamma_smooth,
    )
    tolerance = 1e-12 if options.tolerance is None else options.tolerance
    solver: dict[str, Any] = {
        "accuracy": pint.Accuracy(most_cycles(options), tolerance, tolerance),
        "relaxation": options.relaxation if grid.levels > 1 else "F",
        "cycle": options.cycle,
        "guess": options.initial_guess,
        "storage": options.storage,
    }
    problem = network.problem(controls, data.x_train, data.y_train, regularisation)
    validation = network.problem(controls, data.x_valid, data.y_valid)
    try:
        control = (
            controls.load(options.initial_control)
            if options.initial_control is not None
            else network.random_control(controls, options.seed)
        )
    except OSError as error:
        raise ValueError(
            f"argument --initial-control: cannot read {options.initial_control!r}: "
            f"{error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ValueError(f"argument --initial-control: {error}") from None
    return Setup(
        data,
        network,
        pint.ReducedFunctional(problem, **solver),
        pint.ReducedFunctional(validation, **solver),
        control,
        rows,
    )


def train(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Train, write what was asked for, and return the numbers of the summary. Collective."""
    # A row must be in its file before the checkpoint that has it, lest a killed run leave a gap.
    interval = 1.0 if options.checkpoint is None else 0.0
    progress = Progress(options, setup.data, setup.validation, setup.rows, interval)
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
        "callback": progress,
        "checkpoint": make_checkpoint(options),
    }
    if options.method == "one-shot":
        method = pint.OneShot(
            setup.functional, options.cycles or 2, options.tolerance, lagged=options.lagged
        )
        result = method.solve(setup.control, **settings)
    else:
        result = pint.minimize(setup.functional, setup.control, **settings)
    if options.save:
        result.control.save(options.save)
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
    if setup.functional.comm.rank == 0:
        print_summary(options, setup, result)
        for name in ("train_accuracy", "validation_accuracy"):
            print(f"{name.replace('_', ' '):20s}{summary[name]:.2f} %")
    if options.plot:
        gathered = result.control.gather()
        if setup.functional.comm.rank == 0:
            draw_picture(options, setup, gathered, progress.rows)
    return summary


def print_summary(options: argparse.Namespace, setup: Setup, result: pint.Result) -> None:
    """Print what was reached, all of it evaluated with exact states and adjoints."""
    seconds, grid = result.history[-1].seconds, setup.functional.problem.grid
    updates = result.iterations / seconds if seconds > 0 else math.nan
    print(
        f"{options.method}: {grid.steps} layers on {grid.comm.size} rank(s), {grid.levels} level(s)"
    )
    print(f"{'status':20s}{result.status.value}")
    print(f"{'objective':20s}{result.objective:.10g} (state solved exactly)")
    print(f"{'loss':20s}{result.cost:.10g}")
    print(f"{'gradient norm':20s}{result.gradient_norm:.3e}")
    print(f"{'updates':20s}{result.iterations} in {seconds:.2f} s ({updates:.1f} a second)")
    print_peak_memory(result)


def draw_picture(
    options: argparse.Namespace,
    setup: Setup,
    control: dict[str, np.ndarray],
    rows: list[dict[str, Any]],
) -> None:
    """Draw the trained network and its history; needs matplotlib. Not collective."""
    from training_picture import draw

    network, data = setup.network, setup.data
    controls = network.controls(pint.TimeGrid.uniform(options.final_time, options.layers))
    weights = controls.control(**control)

    def found(points: np.ndarray) -> np.ndarray:
        if len(points) > POINTS_AT_ONCE:  # all layers of all points would fill the memory
            parts = np.array_split(points, math.ceil(len(points) / POINTS_AT_ONCE))
            return np.concatenate([found(part) for part in parts])
        some_labels = np.eye(network.classes)[np.zeros(len(points), dtype=int)]
        functional = pint.ReducedFunctional(network.problem(controls, points, some_labels))
        state = functional.new_state()
        functional.propagate(state, weights)
        return logits(state.trajectory[-1], weights.shared).argmax(axis=0)

    true = peaks.classify if options.data == "peaks" else None
    draw(options.plot, rows, data.x_train, data.y_train, found=found, true=true)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, train, sizes="--layers/--width/--examples")


if __name__ == "__main__":
    main()
