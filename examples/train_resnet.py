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
import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arguments import (
    limits_of,
    make_checkpoint,
    make_grid,
    make_method,
    most_cycles,
    print_peak_memory,
    print_prediction,
    print_unconverged,
    run,
    word_of,
    write_all,
)
from saved_network import describe, load, require_like
from training_data import load_data
from training_history import Progress, load_history
from training_options import GAMMAS, complete, parser

import pint
from pint.comm import on_root, reduce
from problems import peaks
from problems.classification import accuracy, share
from problems.convolution import ConvolutionalNetwork
from problems.data import Dataset
from problems.resnet import DenseNetwork, Network, Regularisation, classify

LARGE = 10.0
"""Features beyond this saturate first weights of size 1; the built-in data sets are below it."""


@dataclass(frozen=True)
class Setup:
    """Everything that is made of the options before the training starts."""

    comm: Any
    data: Dataset
    network: Network
    functional: pint.ReducedFunctional
    shallower: list[pint.TimeGrid]
    control: pint.Control
    rows: list[dict[str, Any]]
    updates_of_an_epoch: int

    def on_one_rank(self, control: pint.Control) -> pint.Control:
        """Return a control with all layers. Collective."""
        grid = control.space.grid
        alone = self.network.controls(pint.TimeGrid.uniform(float(grid.t[-1]), grid.steps))
        return alone.control(**control.gather())

    def accuracy(self, weights: pint.Control, x: Any, labels: Any) -> float:
        """Return the percentage of examples in the right class, by sequential propagation."""
        own = share(len(x), self.comm)
        found = classify(self.network, weights, x[own])
        return 100.0 * reduce(self.comm, (found == labels[own].argmax(axis=1)).sum())[0] / len(x)

    def accuracies(self, control: pint.Control, state: Any) -> tuple[float, float]:
        """Return training and validation accuracy in per cent. Collective."""
        data, weights, problem = self.data, self.on_one_rank(control), self.functional.problem
        validation = self.accuracy(weights, data.x_test, data.labels_test)
        if problem.examples is not None:  # the state is that of a batch
            return self.accuracy(weights, data.x, data.labels), validation
        training, grid = None, control.space.grid
        if grid.comm.rank == grid.last_rank:
            features = self.network.readout.features(state.points[-1])
            labels, examples = problem.objective.labels, problem.space.comm
            training = accuracy(features, control.shared, labels, examples)
        return grid.comm.bcast(training, root=grid.last_rank), validation


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Make problem and first control; ValueError names the option that does not fit."""
    complete(options)
    rows = on_root(comm, lambda: load_history(options))
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
    regularisation = Regularisation(
        **{name.removeprefix("gamma_"): getattr(options, name) for name in GAMMAS}
    )
    examples = space if space.size > 1 else None
    problem = network.problem(data.x, data.labels, regularisation, batch, options.metric, examples)

    depths = [options.layers]
    while options.start_layers is not None and depths[0] > options.start_layers:
        depths.insert(0, depths[0] // 2)
    shallower = [
        make_grid(options, options.final_time, layers, time, "--start-layers")
        for layers in depths[:-1]
    ]
    deepest = make_grid(options, options.final_time, options.layers, time, "--layers")
    functional = make_functional(options, problem, deepest)
    first = problem.control_space((shallower or [deepest])[0])
    control = first_control(options, network, first)
    an_epoch = 1 if batch is None else -(-len(data.x) // batch)
    return Setup(comm, data, network, functional, shallower, control, rows, an_epoch)


def hint_at_scales(options: argparse.Namespace, data: Dataset) -> None:
    """Print a hint if features that are far from 1 are taken as they are. Not collective."""
    largest = max(float(data.x.max()), -float(data.x.min()))
    if options.normalise is None and data.normalisation is None and largest > LARGE:
        print(
            f"train_resnet.py: hint: features are as large as {largest:.3g}; --normalise scales "
            "them to mean 0, deviation 1 (--no-normalise: no hint)",
            file=sys.stderr,
            flush=True,
        )


def make_functional(
    options: argparse.Namespace, problem: pint.Problem, grid: pint.TimeGrid
) -> pint.ReducedFunctional:
    """Return the reduced functional with the solver of the options."""
    tolerance = 1e-12 if options.tolerance is None else options.tolerance
    return pint.ReducedFunctional(
        problem,
        grid,
        accuracy=pint.Accuracy(most_cycles(options), tolerance, tolerance),
        relaxation=options.relaxation if grid.levels > 1 else "F",
        cycle=options.cycle,
        guess=options.initial_guess,
        storage=options.storage,
        unconverged=options.unconverged,
    )


def first_control(
    options: argparse.Namespace, network: Network, controls: pint.ControlSpace
) -> pint.Control:
    """Return the weights to start from: saved ones, or random ones. Collective."""
    if options.initial_control is None:
        return network.random_control(controls, options.seed)
    path, final_time = options.initial_control, options.final_time
    try:
        layers = on_root(controls.comm, lambda: require_like(path, network, final_time))
        if layers is not None and layers != controls.grid.steps:
            return pint.prolong(load(path).weights, controls)
        return controls.load(path)
    except OSError as error:
        raise ValueError(
            f"argument --initial-control: cannot read {options.initial_control!r}: "
            f"{error.strerror or error}"
        ) from None
    except ValueError as error:
        raise ValueError(f"argument --initial-control: {error}") from None


def make_network(options: argparse.Namespace, data: Dataset) -> Network:
    """Return the network of the options for the data; ValueError names what does not fit."""
    shape, classes = data.x.shape[1:], data.labels.shape[1]
    if options.network == "convolutional":
        opening = options.opening or "replicate"
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
    (features,), opening = shape, options.opening or "trained"
    width = options.width or (features if opening == "pad" else 8)
    if opening == "pad" and width < features:
        raise ValueError(
            f"argument --width: padding {features} features needs at least that width, got {width}"
        )
    return DenseNetwork(features, width, classes, options.activation, options.bias, opening)


def train(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Train, write what was asked for, and return the numbers of the summary. Collective."""
    if setup.comm.rank == 0:
        hint_at_scales(options, setup.data)
    # A row must be in its file before the checkpoint that has it: a killed run leaves no gap.
    interval = 1.0 if options.checkpoint is None else 0.0
    every = setup.updates_of_an_epoch
    progress = Progress(options, setup.comm, setup.accuracies, every, setup.rows, interval)
    method, checkpoint = training_method(options, setup.accuracies), make_checkpoint(options)
    if setup.shallower:
        method = pint.Nested(setup.shallower, method)
    result = pint.minimize(
        setup.functional, setup.control, method, callback=progress, checkpoint=checkpoint
    )
    progress.keep(len(result.history) - 1)
    train_accuracy, validation_accuracy = setup.accuracies(result.control, result.state)
    summary = {
        "objective": result.objective,
        "loss": result.cost,
        "gradient_norm": result.gradient_norm,
        "train_accuracy": train_accuracy,
        "validation_accuracy": validation_accuracy,
        "iterations": result.iterations,
        "status": word_of(result.status),
        "seconds": result.seconds,
        "peak_memory": list(result.peak_memory),
        "solves": result.solves,
        "converged_solves": result.converged_solves,
    }
    if setup.comm.rank == 0:
        print_summary(options, setup, result)
        for name in ("train_accuracy", "validation_accuracy"):
            print(f"{name.replace('_', ' '):20s}{summary[name]:.2f} %")
    drawn = options.plot and setup.on_one_rank(result.control)
    write_all(
        lambda: save(options.save, setup, result.control) if options.save else None,
        progress.write_history,
        lambda: draw_picture(options, setup, drawn, progress.rows) if drawn else None,
    )
    return summary


def save(path: str, setup: Setup, control: pint.Control) -> None:
    """Write weights and their description. Collective."""
    control.save(path)
    if setup.comm.rank == 0:
        describe(path, setup.network, setup.functional.grid, setup.data)


def training_method(options: argparse.Namespace, accuracies: Callable[..., Any]) -> Any:
    """Return the method of optimisation that the options name.

    `accuracies` of a control and a state are those of training and validation, in per cent.
    """
    if options.optimiser != "lbfgs":
        decay, validation = options.weight_decay, None
        if options.patience is not None:
            validation = functools.partial(validation_error, accuracies)
        return pint.Stochastic(
            pint.sgd(options.momentum, decay)
            if options.optimiser == "sgd"
            else pint.adam(weight_decay=decay),
            cycles=options.cycles or "adaptive",
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            decay=options.decay,
            schedule=schedule_of(options),
            clip=options.clip,
            seed=options.seed,
            validation=validation,
            patience=options.patience,
            **limits_of(options),
        )
    hessians = {
        "lbfgs": pint.lbfgs(options.memory),
        "bfgs": pint.bfgs(),
        "identity": pint.identity(),
    }
    searches = {"wolfe": pint.wolfe(), "armijo": pint.armijo(), "none": pint.fixed_step()}
    return make_method(
        options,
        iterations=options.iterations,
        gradient_tolerance=options.gradient_tolerance,
        relative_gradient_tolerance=options.relative_gradient_tolerance,
        **limits_of(options),
        hessian=hessians[options.hessian],
        line_search=searches[options.line_search],
        step=options.step,
    )


def validation_error(accuracies: Callable[..., Any], control: pint.Control) -> float:
    """Return the percentage of validation examples in a wrong class. Collective."""
    return 100.0 - float(accuracies(control, None)[1])


def schedule_of(options: argparse.Namespace) -> Any:
    """Return the schedule of the learning rate, None for a constant one."""
    epochs, schedules = options.epochs, pint.schedules
    if options.schedule == "step":
        return schedules.step(math.ceil(epochs / 3))
    if options.schedule == "cosine":
        return schedules.cosine(epochs)
    if options.schedule == "warm-up":
        first = math.ceil(epochs / 10)
        return schedules.warm_up(first, schedules.cosine(max(1, epochs - first)))
    return None


def method_name(options: argparse.Namespace) -> str:
    """Return optimiser and method in words."""
    named = options.optimiser != "lbfgs"
    return f"{options.optimiser}, {options.method}" if named else str(options.method)


def print_summary(options: argparse.Namespace, setup: Setup, result: pint.Result) -> None:
    """Print what was reached, all of it evaluated with exact states and adjoints."""
    grid = setup.functional.grid
    own = result.seconds - sum(stage.seconds for stage in result.stages)
    updates = result.iterations / own if own > 0 else math.nan
    how = method_name(options)
    shared = f" x {options.data_ranks} for the examples" if options.data_ranks > 1 else ""
    print(f"{how}: {grid.steps} layers on {grid.comm.size} rank(s){shared}, {grid.levels} level(s)")
    for stage in result.stages:
        depth = f"{stage.grid.steps} layers"
        print(f"{depth:20s}{stage.iterations} updates in {stage.seconds:.2f} s")
    ended = options.optimiser != "lbfgs" and result.status is pint.Status.ITERATION_LIMIT
    print(f"{'status':20s}{'All epochs are done.' if ended else result.message}")
    print(f"{'objective':20s}{result.objective:.10g} (state solved exactly)")
    print(f"{'loss':20s}{result.cost:.10g}")
    print(f"{'gradient norm':20s}{result.gradient_norm:.3e}")
    print(f"{'updates':20s}{result.iterations} in {own:.2f} s ({updates:.1f} a second)")
    print_unconverged(result)
    print_peak_memory(result)
    if setup.comm.size == 1 and not options.quiet:
        print_prediction(options, result)


def draw_picture(
    options: argparse.Namespace, setup: Setup, weights: pint.Control, rows: list[dict[str, Any]]
) -> None:
    """Draw the trained network and its history, on the first rank; needs matplotlib."""
    if setup.comm.rank > 0:
        return
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
        title=(
            f"{options.data}, {setup.functional.grid.steps} layers, {method_name(options)}: "
            f"J = {rows[-1]['objective']:.4g}, {rows[-1]['validation_accuracy']:.1f} % validated"
        ),
    )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of its summary."""
    return run(arguments, parser, set_up, train, sizes="--layers/--width/--examples")


if __name__ == "__main__":
    main()
