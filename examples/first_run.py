"""Train a deep network sequentially and layer-parallel, and say what the machine gains by it.

What ``make train`` runs, on as many ranks as there are cores. The network is that of
`train_resnet.py` on the *peaks* data. From the same first weights as many L-BFGS updates are done

- sequentially, by one rank, on a grid of one level;
- layer-parallel by all ranks: one-shot, one lagged MGRIT cycle with F-relaxation for each solve.

A table compares the time of an update, without validation (the median), and the objectives and
accuracies that are reached, with exact states. Then the performance model predicts updates on more
ranks of this machine's speed. A slow machine trains with fewer examples, unless ``--examples`` says
how many; where that is not enough, sequential training ends after ``--time-limit``, and both
methods do the updates that were possible until then.

    python examples/first_run.py --layers 512
    mpiexec -n 4 python examples/first_run.py --history history.csv --plot peaks.png
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import Any

from arguments import FAILURES, History, Parser, Picture, integer, number, run
from train_resnet import Setup, draw_picture
from training_history import Progress

import pint
from pint.comm import alike, on_root
from problems import data
from problems.resnet import DenseNetwork, Regularisation

FINAL_TIME, WIDTH, GAMMA = 5.0, 8, 1e-5
MOST, LEAST = 2000, 500
"""Examples on a fast machine, and on a slow one."""
RANKS = (2, 16, 64, 256)
"""To predict for, where they are more than there are."""
LATENCY, BANDWIDTH = 2e-6, 1e10
"""Of the network between them: seconds, and bytes a second."""
VALIDATION = 10_000
"""Examples: the standard deviation of an accuracy near 90 % is 0.3 points then."""


def parser(comm: Any) -> Parser:
    """Return the parser of all options."""
    new = Parser("first_run.py", description="Sequential and layer-parallel training compared.")
    new.comm = comm
    option = new.add_argument_group("network and training").add_argument
    option("--layers", type=integer(2), default=1024, metavar="N", help="of the deep network")
    option("--examples", type=integer(1), metavar="B",
           help=f"to train with ({MOST}; on a slow machine fewer, {LEAST} at least)")  # fmt: skip
    option("--updates", type=integer(2), default=200, help="of each method")
    option("--time-limit", type=number(positive=True), default=40.0, metavar="S",
           help="of sequential training, seconds; then both methods do fewer updates")  # fmt: skip
    option("--coarsening", type=integer(2), default=16, metavar="m", help="of the layers")
    option("--seed", type=integer(0), default=0, help="of data and first weights")
    option = new.add_argument_group("output").add_argument
    option("--history", type=History, metavar="FILE.csv", help="one row an update, layer-parallel")
    option("--plot", type=Picture, metavar="FILE.png", help="convergence and classified plane")
    new.set_defaults(data="peaks", quiet=True, resume=False, method="one-shot", optimiser="lbfgs")
    return new


def set_up(options: argparse.Namespace, comm: Any) -> Setup:
    """Return network, data and the layer-parallel functional; ValueError names a wrong option."""
    if options.examples is not None:
        return posed(options, comm)
    options.examples = MOST
    setup = posed(options, comm)
    options.examples = on_root(comm, lambda: fitting(options, setup))
    return setup if options.examples == MOST else posed(options, comm)


def posed(options: argparse.Namespace, comm: Any) -> Setup:
    """Return the set-up with the examples of the options."""
    found = data.load(
        "peaks", examples=options.examples, test_examples=VALIDATION, seed=options.seed
    )
    network = DenseNetwork(2, WIDTH, found.labels.shape[1])
    regularisation = Regularisation(GAMMA, GAMMA, GAMMA, GAMMA)
    problem = network.problem(found.x, found.labels, regularisation)
    try:
        grid = pint.TimeGrid.uniform(FINAL_TIME, options.layers, options.coarsening, 2, comm)
        functional = pint.ReducedFunctional(problem, grid, relaxation="F")
    except ValueError as error:
        raise ValueError(f"argument --layers/--coarsening: {error}") from None
    start = network.random_control(functional.controls, options.seed)
    return Setup(comm, found, network, functional, [], start, [], 1)


def alone(setup: Setup) -> Setup:
    """Return the set-up of the same network on one rank and one level. Not collective."""
    comm = pint.SerialComm()
    grid = pint.TimeGrid.uniform(FINAL_TIME, setup.functional.grid.steps, comm=comm)
    functional = pint.ReducedFunctional(setup.functional.problem, grid)
    return replace(setup, comm=comm, functional=functional)


def fitting(options: argparse.Namespace, setup: Setup) -> int:
    """Return the examples to train with in the time limit, by the time of a gradient of most."""
    functional = alone(setup).functional
    start = setup.network.random_control(functional.controls, options.seed)
    functional.value_and_gradient(start)  # the first one takes memory
    begin = time.perf_counter()
    functional.value_and_gradient(start)
    seconds, examples = (time.perf_counter() - begin) * options.updates, MOST
    while examples > LEAST and seconds * examples / MOST > options.time_limit:
        examples //= 2
    return examples


@dataclass
class Timed:
    """Callback around another one, whose own time it leaves out.

    It ends the run after an update that leaves no more of the time `limit`, in seconds.
    """

    inner: Any = None
    limit: float = math.inf
    seconds: list[float] = field(default_factory=list)
    left: float | None = None

    def __call__(self, *shown: Any) -> bool:
        """Note the time since the last call ended; returns whether the run should end."""
        if self.left is not None:
            self.seconds.append(time.perf_counter() - self.left)
        if self.inner is not None:
            self.inner(*shown)
        self.left = time.perf_counter()
        return sum(self.seconds) >= self.limit


@dataclass(frozen=True)
class Trained:
    """What a method has reached.

    `update` is the median time of an update, `seconds` the time of all of them, both without
    validation; `weights` are by field, all layers.
    """

    ranks: int
    update: float
    seconds: float
    objective: float
    training: float
    validation: float
    updates: int
    status: pint.Status
    message: str
    weights: dict[str, Any]


def trained(setup: Setup, start: dict[str, Any], method: Any, watch: Timed) -> Trained:
    """Train from a start; collective on the ranks of the set-up."""
    control = setup.functional.control(**start)
    result = pint.minimize(setup.functional, control, method, callback=watch)
    accuracies = setup.accuracies(result.control, result.state)
    return Trained(
        setup.comm.size,
        statistics.median(watch.seconds) if watch.seconds else result.seconds,
        sum(watch.seconds),
        result.objective,
        *accuracies,
        result.iterations,
        result.status,
        result.message,
        result.control.gather(),
    )


def work(options: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """Train twice, print the table and the prediction, and write the files. Collective."""
    comm = setup.comm
    start = setup.control.gather()
    watch, limits = Timed(limit=options.time_limit), {"gradient_tolerance": 0.0}
    method = pint.ReducedSpace(iterations=options.updates, **limits)
    sequential = on_root(comm, lambda: trained(alone(setup), start, method, watch))
    every = max(options.updates // 8, 1)
    progress = Progress(options, comm, setup.accuracies, every)
    lagged = pint.Lagged(cycles=1, iterations=sequential.updates, **limits)
    parallel = trained(setup, start, lagged, Timed(progress))
    progress.write_history()
    control = setup.functional.control(**parallel.weights)
    # The least leaves out what other programs on a busy machine add; the network is assumed.
    costs = pint.model.measure(setup.functional.problem, control, seconds=0.05, average=min)
    costs = costs.with_network(LATENCY, BANDWIDTH)
    found = {
        ranks: pint.model.suggest(costs, options.layers, ranks, largest_stride=64).best
        for ranks in RANKS
        if ranks > comm.size
    }
    if comm.rank == 0:
        print_table(options, sequential, parallel)
        print_predictions(found)
        if options.plot:
            weights = alone(setup).functional.control(**parallel.weights)
            draw_picture(options, setup, weights, progress.rows)
    for one in (sequential, parallel):
        if one.status in FAILURES:
            name = f"training on {one.ranks} rank(s)"
            raise alike(pint.NumericalError(f"{name} has failed: {one.message}"))
    numbers = {
        name: {key: value for key, value in vars(one).items() if key != "weights"}
        for name, one in (("sequential", sequential), ("parallel", parallel))
    }
    return {
        **numbers,
        "predicted": {ranks: one.gain for ranks, one in found.items()},
    }


def print_table(options: argparse.Namespace, sequential: Trained, parallel: Trained) -> None:
    """Print both methods, and which is faster."""
    print(
        f"\n{options.layers} layers, {options.examples} examples: {sequential.updates} updates each"
    )
    limit = f"sequential training has {options.time_limit:g} s"
    if "examples" not in options.given and options.examples < MOST:
        print(f"(not {MOST} examples: {limit})")
    if sequential.seconds >= options.time_limit:
        print(f"(not {options.updates} updates: {limit})")
    print(f"{'':16s}{'ranks':>6s}{'s/update':>10s}{'updates':>9s}{'seconds':>9s}{'objective':>11s}"
          f"{'training':>11s}{'validation':>12s}")  # fmt: skip
    for name, one in (("sequential", sequential), ("layer-parallel", parallel)):
        print(
            f"{name:16s}{one.ranks:6d}{one.update:10.4f}{one.updates:9d}{one.seconds:9.1f}{one.objective:11.5f}"
            f"{one.training:9.2f} %{one.validation:10.2f} %"
        )
    ratio = sequential.update / parallel.update
    ranks = f"{parallel.ranks} rank" + "s" * (parallel.ranks > 1)
    print(f"An update on {ranks} is {ratio:.2f} times as fast as a sequential one on one rank.")
    if parallel.ranks == 1:
        print("One rank has nobody to share the layers with: the gain begins with two.")
    elif ratio < 1:
        print("That is slower: each rank needs a core that no other program uses.")


def print_predictions(found: dict[int, pint.model.Prediction]) -> None:
    """Print what ranks of this machine's speed would gain."""
    print(
        "Predicted for more ranks of this machine's speed, with messages of 2 microseconds, an "
        "update\nagainst a sequential one:"
    )
    for ranks, one in found.items():
        if one.configuration.levels == 1:
            print(f"  {ranks:4d} ranks: no gain")
            continue
        factors = ", ".join(str(factor) for factor in one.configuration.coarsening)
        print(
            f"  {ranks:4d} ranks: {one.gain:5.1f} times as fast, {one.seconds:.4f} s "
            f"({one.configuration.levels} levels, coarsening {factors})"
        )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the program; returns the numbers of the table and the predicted gains."""
    return run(arguments, parser, set_up, work, sizes="--layers/--examples")


if __name__ == "__main__":
    main()
